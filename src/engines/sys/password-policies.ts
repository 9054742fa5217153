/** Policies for passwords that engines make: how long they are, of which characters. Kept in the mount's own storage. */
import { HoldfastError } from '#base/errors.ts'
import { blocksOf, parseHcl, toPlain, refuseAt, type HclObject } from '#base/hcl.ts'
import type { RandomSource } from '#base/random.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { answer, field, inPath, path, reads, text, writes } from './table.ts'

/** Fewer are guessed; more than this no system takes. */
const lengthMin = 4
const lengthMax = 100
const rulesMax = 32
const charsetMax = 1_024
const code = 'ERR_BAD_REQUEST'

interface Rule {
  readonly charset: readonly string[]
  readonly min: number
}

/** How passwords of a policy are made. */
export interface PasswordPolicy {
  readonly length: number
  readonly rules: readonly Rule[]
}

/** @throws ERR_BAD_REQUEST that names line and key. */
export function parsePasswordPolicy(source: string): PasswordPolicy {
  const root = parseHcl(source, { charsMax: 64 * 1024, depthMax: 8, code })
  for (const item of root.items) {
    if (item.key !== 'length' && item.key !== 'rule')
      refuseAt(item, '"length" or "rule"', `key ${JSON.stringify(item.key.slice(0, 64))}`, code)
  }
  const { length } = toPlain(root) as { length?: unknown }
  if (!Number.isInteger(length) || (length as number) < lengthMin || (length as number) > lengthMax) {
    throw new HoldfastError(code, `length expected ${lengthMin} to ${lengthMax}, got something else`)
  }
  const blocks = blocksOf(root, 'rule', 1, code)
  if (blocks.length === 0 || blocks.length > rulesMax) {
    throw new HoldfastError(code, `expected 1 to ${rulesMax} rules, got ${blocks.length}`, {
      hint: 'rule "charset" { charset = "abcdefghij" min-chars = 1 }',
    })
  }
  const rules = blocks.map(({ labels: [kind], body, line, column }) => {
    if (kind !== 'charset') refuseAt({ line, column }, 'rule "charset"', `rule ${JSON.stringify(kind!.slice(0, 64))}`, code)
    return ruleOf(body)
  })
  const least = rules.reduce((sum, { min }) => sum + min, 0)
  if (least > (length as number)) throw new HoldfastError(code, `expected min-chars of all rules to be at most length, got ${least}`)
  return { length: length as number, rules }
}

function ruleOf(body: HclObject): Rule {
  const { charset, 'min-chars': min = 0 } = toPlain(body) as { charset?: unknown; 'min-chars'?: unknown }
  for (const item of body.items) {
    if (item.key !== 'charset' && item.key !== 'min-chars') refuseAt(item, '"charset" or "min-chars"', 'another key', code)
  }
  const characters = typeof charset === 'string' ? [...new Set(charset)] : []
  if (characters.length < 2 || characters.length > charsetMax) {
    refuseAt(body, `a charset of 2 to ${charsetMax} different characters`, `${characters.length}`, code)
  }
  if (characters.some((character) => /\p{C}|\p{Zl}|\p{Zp}/u.test(character)))
    refuseAt(body, 'printable characters in the charset', 'others', code)
  if (!Number.isInteger(min) || (min as number) < 0 || (min as number) > lengthMax)
    refuseAt(body, `min-chars of 0 to ${lengthMax}`, 'something else', code)
  return { charset: characters, min: min as number }
}

/** At least 0, below `bound`, without bias. */
function below(random: RandomSource, bound: number): number {
  const ceiling = 0x1_0000_0000 - (0x1_0000_0000 % bound)
  for (;;) {
    const drawn = Buffer.from(random.bytes(4)).readUInt32BE(0)
    if (drawn < ceiling) return drawn % bound
  }
}

/** What each rule demands, the rest of all characters together, and then shuffled. */
export function generatePassword({ length, rules }: PasswordPolicy, random: RandomSource): string {
  const all = [...new Set(rules.flatMap(({ charset }) => charset))]
  const draw = (characters: readonly string[]): string => characters[below(random, characters.length)]!
  const password = rules.flatMap(({ charset, min }) => Array.from({ length: min }, () => draw(charset)))
  while (password.length < length) password.push(draw(all))
  for (let at = password.length - 1; at > 0; at -= 1) {
    const other = below(random, at + 1)
    ;[password[at], password[other]] = [password[other]!, password[at]!]
  }
  return password.join('')
}

interface Stored {
  readonly version: 1
  readonly policy: string
}

const example =
  'length = 20\nrule "charset" { charset = "abcdefghijklmnopqrstuvwxyz" }\nrule "charset" { charset = "0123456789" min-chars = 1 }'
const stored = (name: string): string => `password-policies/${name.toLowerCase()}`

export function passwordPolicyPaths(): PathDef[] {
  const name = inPath('Its name.', 'digits')
  const find = (context: HandlerContext): Promise<Stored | null> => context.storage.getJson<Stored>(stored(text(context, 'name')))
  return [
    path(
      'policies/password',
      'Names of the password policies.',
      {},
      {
        list: reads('List', async (context) => answer({ keys: await context.storage.list('password-policies') })),
      },
    ),
    path(
      'policies/password/:name',
      'One password policy.',
      { fields: { name, policy: field('string', 'HCL or JSON, as it is or as base64.', { required: true, example }) } },
      {
        read: reads('Read', async (context) => {
          const found = await find(context)
          return found && answer({ policy: found.policy })
        }),
        update: writes('Write', write),
        delete: writes('Delete', async (context) => {
          context.storage.delete(stored(text(context, 'name')))
          return null
        }),
      },
    ),
    path(
      'policies/password/:name/generate',
      'A password by a policy.',
      { fields: { name } },
      {
        read: reads('Generate', async (context): Promise<LogicalResponse | null> => {
          const found = await find(context)
          return found && answer({ password: generatePassword(parsePasswordPolicy(found.policy), context.random) })
        }),
      },
    ),
  ]
}

async function write(context: HandlerContext): Promise<null> {
  const given = text(context, 'policy')
  const base64 = given.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(given)
  const policy = base64 ? Buffer.from(given, 'base64').toString('utf8') : given
  if (!/^[\w.-]{1,128}$/.test(text(context, 'name'))) {
    throw new HoldfastError(code, 'name expected 1 to 128 letters, digits, dots, dashes or underscores, got something else')
  }
  parsePasswordPolicy(policy)
  context.storage.putJson(stored(text(context, 'name')), { version: 1, policy } satisfies Stored)
  return null
}
