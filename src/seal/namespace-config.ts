/** The seal that a namespace is asked for with, as text: `seal "shamir" { shares = 5 threshold = 3 }`, or the same in JSON. */
import { HoldfastError } from '#base/errors.ts'
import { blocksOf, parseHcl, refuseAt, toPlain, type HclObject } from '#base/hcl.ts'
import { checkShareCounts } from './shamir.ts'

const textMax = 1024 * 1024
const known: ReadonlySet<string> = new Set(['shares', 'threshold', 'pgp_keys', 'secret_shares', 'secret_threshold'])

export interface NamespaceSealSpec {
  readonly shares: number
  readonly threshold: number
  /** Base64 or armored, one a share; none: the shares are answered as they are. */
  readonly pgpKeys: readonly string[]
}

/** @throws ERR_BAD_REQUEST naming the place. */
export function parseNamespaceSeal(text: string): NamespaceSealSpec {
  if (text.length > textMax) throw bad(`seal expected at most ${textMax} characters, got ${text.length}`)
  const document = parseHcl(text, { code: 'ERR_BAD_REQUEST' })
  const blocks = blocksOf(document, 'seal', 1, 'ERR_BAD_REQUEST')
  const [block] = blocks
  if (block === undefined || blocks.length !== 1) throw bad(`seal expected one block 'seal "shamir"', got ${blocks.length}`)
  if (document.items.some(({ key }) => key !== 'seal')) throw bad("seal expected a block 'seal' and nothing else, got more")
  const [kind = ''] = block.labels
  if (kind !== 'shamir') throw bad('seal of a namespace expected "shamir", got another kind', 'auto seals are for the whole cluster')
  return specOf(block.body)
}

function specOf(body: HclObject): NamespaceSealSpec {
  for (const item of body.items) if (!known.has(item.key)) refuseAt(item, 'shares, threshold or pgp_keys', 'another key', 'ERR_BAD_REQUEST')
  const plain = toPlain(body) as Record<string, unknown>
  const shares = count(plain, 'shares')
  const threshold = count(plain, 'threshold')
  const { pgp_keys: pgpKeys = [] } = plain
  if (!Array.isArray(pgpKeys) || !pgpKeys.every((key) => typeof key === 'string'))
    throw bad('pgp_keys expected a list of strings, got something else')
  checkShareCounts(shares, threshold)
  return { shares, threshold, pgpKeys }
}

/** As `shares`, or as the cluster's own are called. */
function count(plain: Record<string, unknown>, name: string): number {
  const value = plain[name] ?? plain[`secret_${name}`]
  const number = typeof value === 'string' && /^\d{1,3}$/.test(value) ? Number(value) : value
  if (typeof number !== 'number')
    throw bad(`${name} of a namespace's seal expected a number, got ${value === undefined ? 'none' : 'something else'}`)
  return number
}

function bad(message: string, hint = 'seal "shamir" { shares = 5 threshold = 3 }'): HoldfastError {
  return new HoldfastError('ERR_BAD_REQUEST', message, { hint })
}
