/** Commands that are one request: a row of a table each, so that what the server can do has a name without a file of its own. */
import { accepted } from '#client/answer.ts'
import type { Method } from '#client/types.ts'
import { fieldFlag, given, printWritten, trimSlashes } from './common.ts'
import { readPairs } from './pairs.ts'
import { RefusedError, type Command, type CommandContext, type FlagSpec } from './types.ts'

export interface Simple {
  /** 'quota rate-limit read'. */
  readonly name: string
  readonly synopsis: string
  readonly description?: string
  /** Arguments as help shows them; each word that stands in `api` as {WORD} is put there. */
  readonly args?: string
  /** KEY=VALUE behind the arguments become the body. */
  readonly pairs?: boolean
  readonly method: Method | 'LIST'
  readonly api: string
  readonly query?: Readonly<Record<string, string>>
  /** Flags that become fields of the body, under their name with underscores. */
  readonly flags?: Readonly<Record<string, FlagSpec>>
  readonly examples: readonly string[]
  /** What is said when the answer has no content. */
  readonly done?: string
}

function wordsOf(args: string): readonly string[] {
  return args.split(' ').filter((word) => word !== '')
}

function fieldsOf(context: CommandContext, flags: Readonly<Record<string, FlagSpec>>): Record<string, unknown> {
  const { flags: asked } = context
  const valueOf = (name: string, { type }: FlagSpec): unknown => {
    if (!asked.has(name)) return undefined
    if (type === 'bool') return asked.bool(name)
    if (type === 'int') return asked.int(name)
    if (type === 'list') return asked.list(name)
    return type === 'map' ? asked.map(name) : asked.string(name)
  }
  return given(Object.fromEntries(Object.entries(flags).map(([name, spec]) => [name.replaceAll('-', '_'), valueOf(name, spec)])))
}

async function run(simple: Simple, context: CommandContext): Promise<void> {
  const words = wordsOf(simple.args ?? '')
  const path = words.reduce((api, word, at) => api.replace(`{${word}}`, () => trimSlashes(context.args[at] ?? '')), simple.api)
  const client = await context.client()
  if (simple.method === 'LIST') {
    const secret = await client.list(path)
    const keys = secret?.data?.['keys']
    if (!Array.isArray(keys)) throw new RefusedError(`nothing found at ${path}`)
    return await context.output.list(keys.map(String))
  }
  if (simple.method === 'GET') {
    const secret = await client.read(path, simple.query ?? {})
    if (secret === null) throw new RefusedError(`nothing found at ${path}`)
    return await context.output.secret('data' in secret ? secret : { ...secret, data: secret })
  }
  const pairs = simple.pairs === true ? await readPairs(context.args.slice(words.length), context.io) : {}
  const body = { ...pairs, ...fieldsOf(context, simple.flags ?? {}) }
  const answer = await client.raw({ method: simple.method, path, ...(simple.method === 'DELETE' ? {} : { body }) })
  await printWritten(context, accepted(answer, { method: simple.method, url: path }), simple.done ?? 'Done.')
}

export const simpleCommand = (simple: Simple): Command => {
  const count = wordsOf(simple.args ?? '').length
  return {
    path: simple.name.split(' '),
    synopsis: simple.synopsis,
    args: `${simple.args ?? ''}${simple.pairs === true ? ' [KEY=VALUE ... | @FILE | -]' : ''}`.trim(),
    argsMin: count,
    argsMax: simple.pairs === true ? Infinity : count,
    ...(simple.description === undefined ? {} : { description: simple.description }),
    examples: simple.examples,
    flags: { ...(simple.method === 'LIST' ? {} : fieldFlag), ...simple.flags },
    run: async (context) => await run(simple, context),
  }
}
