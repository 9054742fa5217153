/** Routes of named keys of identity tokens. */
import { aside } from '#core/aside.ts'
import type { FieldSchema, HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { answer, field, inPath, inQuery, optional, path, reads, text, writes } from '../../sys/table.ts'
import { bad } from '../common.ts'
import { pageOf } from '../../kv/list.ts'
import {
  allRoles,
  keyFolder,
  keysMax,
  readKey,
  signatureAlgorithms,
  writeKey,
  deleteSecret,
  type NamedKey,
  type SignatureAlgorithm,
} from './records.ts'
import { clients } from './provider/records.ts'
import { beginKey, makePair, retired, rotate, type KeyPair } from './rotation.ts'

const daySeconds = 86_400
const rotationSecondsMin = 60
const secondsMax = 10 * 365 * daySeconds
/** Verification of so many periods: what is published stays bounded. */
const verificationPeriodsMax = 10
const clientIdsMax = 1_024
/** Made when it is first named, and usable by every role. */
export const defaultKey = 'default'

export const nameField: FieldSchema = inPath('Its name.', 'ada')
export const pageFields = { after: inQuery('string', 'Names after this one.'), limit: inQuery('any', 'At most so many.') }

/** @throws ERR_BAD_REQUEST for what is no name. */
export function nameOf(context: HandlerContext): string {
  const name = text(context, 'name')
  if (/^\w(?:[\w.-]{0,126}\w)?$/.test(name)) return name
  throw bad('name expected 1 to 128 letters, digits, and dots, dashes and underscores between them')
}

/** Two pairs for `name`, made while nothing else of the request waits. */
export const freshPairs = (
  context: HandlerContext,
  name: string,
  algorithm: SignatureAlgorithm,
): Promise<{ signing: KeyPair; next: KeyPair }> =>
  aside(context, `make keys ${algorithm} for ${name}`, async () => ({
    signing: await makePair(algorithm),
    next: await makePair(algorithm),
  }))

const rulesBefore = { algorithm: 'RS256', rotationSeconds: daySeconds, verificationSeconds: daySeconds, allowedClientIds: [] } as const

/** The named key; the default one is made where it is not there yet. null: there is none. */
export async function keyOrDefault(context: HandlerContext, name: string): Promise<NamedKey | null> {
  const found = await readKey(context.storage, name)
  if (found !== null || name !== defaultKey) return found
  const pairs = await freshPairs(context, name, rulesBefore.algorithm)
  beginKey(context.storage, name, { ...rulesBefore, allowedClientIds: ['*'] }, pairs, context.nowMs)
  return readKey(context.storage, name)
}

async function show(context: HandlerContext): Promise<LogicalResponse | null> {
  const key = await readKey(context.storage, nameOf(context))
  return (
    key &&
    answer({
      rotation_period: key.rotationSeconds,
      verification_ttl: key.verificationSeconds,
      algorithm: key.algorithm,
      allowed_client_ids: key.allowedClientIds,
    })
  )
}

async function save(context: HandlerContext): Promise<null> {
  const name = nameOf(context)
  const before = await readKey(context.storage, name)
  const fallback = { ...rulesBefore, allowedClientIds: name === defaultKey ? ['*'] : [] }
  const rules = readRules(context, before ?? fallback)
  if (before === null && (await context.storage.list(keyFolder)).length >= keysMax)
    throw bad(`expected at most ${keysMax} keys in a namespace`)
  if (before !== null) await checkUsers(context, name, rules.verificationSeconds)
  if (before === null || before.algorithm !== rules.algorithm) {
    const pairs = await freshPairs(context, name, rules.algorithm)
    const kept = before === null ? [] : retired(before, context.nowMs, before.verificationSeconds)
    beginKey(context.storage, name, rules, pairs, context.nowMs, kept)
    if (before !== null) for (const kid of [before.signingKid, before.nextKid]) deleteSecret(context.storage, name, kid)
    return null
  }
  const dueMs = context.nowMs + rules.rotationSeconds * 1_000
  writeKey(context.storage, name, { ...before, ...rules, nextRotationMs: Math.min(before.nextRotationMs, dueMs) })
  return null
}

type Rules = Pick<NamedKey, 'algorithm' | 'rotationSeconds' | 'verificationSeconds' | 'allowedClientIds'>

function readRules(context: HandlerContext, before: Rules): Rules {
  const rules: Rules = {
    algorithm: (optional<string>(context, 'algorithm') ?? before.algorithm) as SignatureAlgorithm,
    rotationSeconds: optional<number>(context, 'rotation_period') ?? before.rotationSeconds,
    verificationSeconds: optional<number>(context, 'verification_ttl') ?? before.verificationSeconds,
    allowedClientIds: [...new Set(optional<string[]>(context, 'allowed_client_ids') ?? before.allowedClientIds)],
  }
  if (rules.rotationSeconds < rotationSecondsMin) throw bad('rotation_period must be at least one minute')
  if (rules.rotationSeconds > secondsMax) throw bad(`rotation_period expected at most ${secondsMax} seconds`)
  checkVerification(rules.verificationSeconds, rules.rotationSeconds)
  if (rules.allowedClientIds.length > clientIdsMax || rules.allowedClientIds.some((id) => id === '' || id.length > 256)) {
    throw bad(`allowed_client_ids expected at most ${clientIdsMax} ids, or "*"`)
  }
  return rules
}

function checkVerification(verificationSeconds: number, rotationSeconds: number): void {
  if (verificationSeconds < 0) throw bad('verification_ttl expected a time, got a negative one')
  if (verificationSeconds > verificationPeriodsMax * rotationSeconds) {
    throw bad(`verification_ttl cannot be longer than ${verificationPeriodsMax}x rotation_period`)
  }
}

/** A token is verified for as long as it is good: no role or client may promise longer than its key keeps. */
async function checkUsers(context: HandlerContext, name: string, verificationSeconds: number): Promise<void> {
  const longer = (await allRoles(context.storage)).filter((role) => role.key === name && role.ttlSeconds > verificationSeconds)
  const waiting = (await clients.all(context.storage)).filter(
    ([, client]) => client.key === name && client.idTokenSeconds > verificationSeconds,
  )
  if (waiting.length > 0) {
    throw bad(
      `unable to update key ${JSON.stringify(name)} because it is currently referenced by one or more clients with an id_token_ttl greater than ${verificationSeconds} seconds`,
    )
  }
  if (longer.length === 0) return
  throw bad(
    `unable to update key ${JSON.stringify(name)} because it is currently referenced by one or more roles with a token ttl greater than ${verificationSeconds} seconds`,
  )
}

async function remove(context: HandlerContext): Promise<null> {
  const name = nameOf(context)
  if (name === defaultKey) throw bad('deletion of key "default" not allowed')
  const holders = (await allRoles(context.storage)).filter((role) => role.key === name).map((role) => role.name)
  if (holders.length > 0) {
    throw bad(
      `unable to delete key ${JSON.stringify(name)} because it is currently referenced by these roles: ${holders.slice(0, 16).join(', ')}`,
    )
  }
  const apps = (await clients.all(context.storage)).filter(([, client]) => client.key === name).map(([app]) => app)
  if (apps.length > 0) {
    throw bad(
      `unable to delete key ${JSON.stringify(name)} because it is currently referenced by these clients: ${apps.slice(0, 16).join(', ')}`,
    )
  }
  const key = await readKey(context.storage, name)
  if (key === null) return null
  context.storage.delete(`${keyFolder}/${name}`)
  for (const kid of [key.signingKid, key.nextKid]) deleteSecret(context.storage, name, kid)
  return null
}

async function turn(context: HandlerContext): Promise<null> {
  const name = nameOf(context)
  const key = await readKey(context.storage, name)
  if (key === null) throw bad(`no named key found at ${JSON.stringify(name)}`)
  const verificationSeconds = optional<number>(context, 'verification_ttl') ?? key.verificationSeconds
  checkVerification(verificationSeconds, key.rotationSeconds)
  const fresh = await aside(context, `make a key ${key.algorithm} for ${name}`, () => makePair(key.algorithm))
  rotate(context.storage, name, key, fresh, context.nowMs, verificationSeconds)
  return null
}

const fields = {
  name: nameField,
  rotation_period: field('duration', 'How long one pair of keys signs: 24h unless said, a minute at least.', { example: '24h' }),
  verification_ttl: field(
    'duration',
    'How long what a pair has signed can be verified after its turn: 24h unless said, 10 periods at most.',
  ),
  allowed_client_ids: field('list', 'Audiences whose roles may use it; "*" for all. None unless said.'),
  algorithm: field('string', 'Of the signatures: RS256 unless said.', { enum: signatureAlgorithms }),
}

export const keyPaths = (): PathDef[] => [
  path(
    'oidc/key',
    'Names of the keys that sign identity tokens.',
    { fields: pageFields },
    {
      list: reads('List', async (context) =>
        answer({ keys: await context.storage.list(keyFolder, pageOf(context.fields.after, context.fields.limit)) }),
      ),
    },
  ),
  path(
    'oidc/key/:name',
    'A key that signs identity tokens: pairs that take turns.',
    { fields, exists: async (context) => (await readKey(context.storage, nameOf(context))) !== null },
    {
      create: writes('Make', save, { rotation_period: '24h' }),
      update: writes('Change', save),
      read: reads('Read', show),
      delete: writes('Delete, with what is verified by it', remove),
    },
    'The key "default", usable by every role, is made when a role first names it. Another algorithm begins with new pairs at once.',
  ),
  path(
    'oidc/key/:name/rotate',
    "The next pair's turn, now.",
    { fields: { name: nameField, verification_ttl: field('duration', 'For what was signed until now: as the key says, unless said.') } },
    { update: writes('Rotate', turn) },
  ),
]
