import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'

export interface Options {
  readonly minutes: number
  readonly nodes: number
  readonly seed: number
  readonly json: string | null
  /** Kinds that need not be possible here. */
  readonly without: readonly string[]
  /** Only these kinds; all if empty. */
  readonly only: readonly string[]
  /** Loopback, no root, no packages: the same on every machine. */
  readonly plain: boolean
  /** The last commit instead of the tree as it lies there. */
  readonly head: boolean
}

export const usage = `npm run chaos -- --minutes N --nodes 3|5 [--seed S] [--json FILE] [--without KIND,...] [--only KIND,...] [--plain] [--head]
  --without  kinds of fault that this machine need not be able to make ("power cut,clock jump")
  --only     nothing but these kinds
  --plain    loopback and no packages, as on a machine without root
  --head     the last commit instead of the files as they are`

/** @throws Error with a sentence for the user. */
export function readOptions(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      minutes: { type: 'string', default: '2' },
      nodes: { type: 'string', default: '3' },
      seed: { type: 'string' },
      json: { type: 'string' },
      without: { type: 'string', default: '' },
      only: { type: 'string', default: '' },
      plain: { type: 'boolean', default: false },
      head: { type: 'boolean', default: false },
    },
  })
  const minutes = Number(values.minutes)
  const nodes = Number(values.nodes)
  const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed)
  if (!(minutes > 0 && minutes <= 24 * 60)) throw new Error(`--minutes expected more than 0 and at most 1440, got ${values.minutes}`)
  if (nodes !== 3 && nodes !== 5) throw new Error(`--nodes expected 3 or 5, got ${values.nodes}`)
  if (!Number.isSafeInteger(seed) || seed < 0) throw new Error(`--seed expected an integer from 0 on, got ${values.seed}`)
  const names = (list: string): string[] =>
    list
      .split(',')
      .map((name) => name.trim())
      .filter(Boolean)
  return {
    minutes,
    nodes,
    seed,
    json: values.json ?? null,
    without: names(values.without),
    only: names(values.only),
    plain: values.plain,
    head: values.head,
  }
}
