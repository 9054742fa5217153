/** The API key method: one secret for one machine, which an operator makes, rotates and revokes, and which says by its looks what it is. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import type { LoginRenewal, TokenParams } from '#core/login-types.ts'
import type { EngineDef, HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { sanitizePolicyNames } from '#policies/names.ts'
import { allowedFrom } from '#tokens/cidr.ts'
import { field, inPath, listNames, optional, pageFields, path, reads, text, writes } from '../fields.ts'
import { describeTokenParams, noTokenParams, readTokenParams, tokenFields } from '../token-params.ts'
import { fits, hashOf, keyTable, secretIsGood, type ApiKey } from './keys.ts'
import { newId, newSecret, parseKey, printKey } from './shape.ts'

/** One less than a token may have: it also says the key's id. */
const metadataPairsMax = 63
const metadataKeyBytesMax = 128
const metadataValueBytesMax = 512
const nameBytesMax = 256
/** How long the key before a rotation may stay good. */
const graceSecondsMax = 2_592_000

const changeFields = {
  name: field('string', 'What it is for, for people.'),
  metadata: field(
    'string-map',
    'What is known of it: becomes metadata of its tokens. At most 63 pairs, keys of 128 and values of 512 bytes.',
  ),
  ttl: field('duration', 'How long the key is good from now on; 0: until it is revoked.'),
  ...tokenFields,
}
const idField = inPath('Its id: what stands between hfk_ and the next _.')
const idOf = (context: HandlerContext): string => text(context, 'id')

export function createApikey(): EngineDef {
  const paths: readonly PathDef[] = [
    path(
      'login',
      'Log in with an API key.',
      { unauthenticated: true, fields: { key: field('string', 'The key.', { sensitive: true }) } },
      { update: { ...writes('Log in', login), login: { aliasOf: (context) => parseKey(text(context, 'key'))?.id ?? null } } },
    ),
    path(
      'key',
      'API keys.',
      { fields: { ...pageFields, ...changeFields } },
      {
        list: reads('List the ids', (context) => listNames(context, 'keys')),
        update: writes('Make one, which is told once', create),
      },
    ),
    path(
      'key/:id',
      'An API key: what its tokens get.',
      { fields: { ...changeFields, id: idField } },
      { read: reads('Read, without the key', describe), update: writes('Change', change), delete: writes('Revoke', revoke) },
      'Tokens that it has got live on until they end, and can no longer be renewed.',
    ),
    path(
      'key/:id/rotate',
      'Another secret for the key.',
      { fields: { id: idField, grace: field('duration', 'How long the secret before it stays good; not at all unless said.') } },
      { update: writes('Rotate', rotate) },
      'Tokens that the secret before has got live on until they end, and can be renewed only as long as it is good.',
    ),
  ]
  return { type: 'apikey', kind: 'auth', description: 'API keys, for machines', paths: () => paths, renewLogin }
}

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

function read(context: HandlerContext, before: ApiKey | null): Pick<ApiKey, 'name' | 'metadata' | 'expiresMs' | 'token'> {
  const metadata = optional<Record<string, string>>(context, 'metadata') ?? before?.metadata ?? {}
  checkMetadata(metadata)
  const name = optional<string>(context, 'name') ?? before?.name ?? ''
  if (Buffer.byteLength(name) > nameBytesMax) throw bad(`name expected at most ${nameBytesMax} bytes`)
  const ttl = optional<number>(context, 'ttl')
  if (ttl !== undefined && ttl < 0) throw bad('ttl cannot be negative')
  const expiresMs = ttl === undefined ? (before?.expiresMs ?? null) : ttl === 0 ? null : context.nowMs + ttl * 1_000
  return {
    name,
    metadata,
    expiresMs,
    token: readTokenParams(context, before?.token ?? noTokenParams),
  }
}

/** What could not become a token's would be found out by each login. */
function checkMetadata(metadata: Readonly<Record<string, string>>): void {
  const pairs = Object.entries(metadata)
  if (pairs.length > metadataPairsMax || Object.hasOwn(metadata, 'key_id'))
    throw bad(`metadata expected at most ${metadataPairsMax} pairs, none of them key_id`)
  const long = pairs.some(
    ([key, value]) => Buffer.byteLength(key) > metadataKeyBytesMax || Buffer.byteLength(value) > metadataValueBytesMax,
  )
  if (long) throw bad(`metadata expected keys of at most ${metadataKeyBytesMax} and values of at most ${metadataValueBytesMax} bytes`)
}

async function create(context: HandlerContext): Promise<LogicalResponse> {
  const parts = { id: newId(context.random), secret: newSecret(context.random) }
  const record = {
    ...read(context, null),
    hash: hashOf(parts.secret),
    previous: null,
    createdMs: context.nowMs,
    rotatedMs: context.nowMs,
  }
  keyTable.write(context.storage, parts.id, record)
  return { data: { id: parts.id, key: printKey(parts), expiration: timeOf(record.expiresMs) } }
}

/** @throws ERR_NOT_FOUND. */
async function existing(context: HandlerContext): Promise<ApiKey> {
  const key = await keyTable.read(context.storage, idOf(context))
  if (key === null) throw new HoldfastError('ERR_NOT_FOUND', 'there is no API key of this id')
  return key
}

async function change(context: HandlerContext): Promise<null> {
  const key = await existing(context)
  keyTable.write(context.storage, idOf(context), { ...key, ...read(context, key) })
  return null
}

async function rotate(context: HandlerContext): Promise<LogicalResponse> {
  const key = await existing(context)
  const grace = optional<number>(context, 'grace') ?? 0
  if (grace < 0 || grace > graceSecondsMax) throw bad(`grace expected 0 to ${graceSecondsMax} seconds, got ${grace}`)
  const secret = newSecret(context.random)
  const previous = grace === 0 ? null : { hash: key.hash, untilMs: context.nowMs + grace * 1_000 }
  keyTable.write(context.storage, idOf(context), { ...key, hash: hashOf(secret), previous, rotatedMs: context.nowMs })
  return { data: { id: idOf(context), key: printKey({ id: idOf(context), secret }), expiration: timeOf(key.expiresMs) } }
}

async function revoke(context: HandlerContext): Promise<null> {
  keyTable.delete(context.storage, idOf(context))
  return null
}

const timeOf = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())

async function describe(context: HandlerContext): Promise<LogicalResponse | null> {
  const key = await keyTable.read(context.storage, idOf(context))
  return (
    key && {
      data: {
        name: key.name,
        metadata: key.metadata,
        creation_time: timeOf(key.createdMs),
        rotation_time: timeOf(key.rotatedMs),
        expiration: timeOf(key.expiresMs),
        previous_good_until: timeOf(key.previous?.untilMs ?? null),
        ...describeTokenParams(key.token),
      },
    }
  )
}

/** A key that is unknown, revoked, expired or mistyped is answered alike. */
async function login(context: HandlerContext): Promise<LogicalResponse> {
  const given = text(context, 'key').trim()
  if (given === '') throw bad('missing key')
  const parts = parseKey(given)
  const key = parts && (await keyTable.read(context.storage, parts.id))
  if (parts === null || !fits(key, parts.secret, context.nowMs)) throw new HoldfastError('ERR_BAD_CREDENTIALS', 'invalid API key')
  if (!allowedFrom(key.token.boundCidrs, context.request.clientAddress)) {
    throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
  }
  return {
    login: {
      alias: { name: parts.id, metadata: key.metadata },
      displayName: key.name || parts.id,
      metadata: { ...key.metadata, key_id: parts.id },
      token: key.token,
      internal: { id: parts.id, hash: hashOf(parts.secret) },
    },
  }
}

/** The secret must be good still: by what was got with one that leaked, and was rotated therefore, somebody would stay in for good. */
async function renewLogin({ storage, token, internal, nowMs }: LoginRenewal): Promise<TokenParams> {
  const key = await keyTable.read(storage, internal['id'] ?? '')
  if (key === null || (key.expiresMs !== null && key.expiresMs <= nowMs)) throw bad('the API key is no longer good, not renewing')
  if (!secretIsGood(key, { hash: internal['hash'], madeMs: token.creationTimeMs }, nowMs))
    throw bad('the API key was rotated, not renewing')
  const names = sanitizePolicyNames(key.token.policies, !key.token.noDefaultPolicy)
  if (names.join() !== token.policies.join()) throw bad('policies have changed, not renewing')
  return key.token
}
