/** Secret ids: making them, looking them up, destroying them. The id itself is in the answer that made it, and nowhere else. */
import { HoldfastError } from '#base/errors.ts'
import { randomUuid } from '#base/random.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { parseCidr, withinCidrs } from '#tokens/cidr.ts'
import { field, maxTtlSeconds, optional, page, pageFields, path, reads, text, writes } from '../fields.ts'
import { existingRole, nameField, notNegative } from './roles.ts'
import { addSecretId, findByAccessor, findSecretId, hasExpired, removeSecretId, type FoundSecretId, type Role } from './store.ts'

const makeFields = {
  ...nameField,
  metadata: field('any', "Shown with the tokens of its logins: an object of strings, its JSON, or 'key=value,...'."),
  cidr_list: field('list', 'From where it can be used: within what the role says.'),
  token_bound_cidrs: field('list', 'From where the tokens of its logins can be used: within what the role says.'),
  num_uses: field('int', "How often it can be used; the role's when absent, and no more."),
  ttl: field('duration', "How long it is good; the role's when absent, and no longer."),
}
const secretIdField = field('string', 'The secret id.', { sensitive: true })
const accessorField = field('string', 'Its accessor.')

/** Pairs, and bytes of keys and values, that a token's metadata holds besides `role_name`. */
const metadataMax = { pairs: 63, keyBytes: 128, valueBytes: 512 }

export function secretIdPaths(): PathDef[] {
  const byId = { ...nameField, secret_id: secretIdField }
  const byAccessor = { ...nameField, secret_id_accessor: accessorField }
  return [
    path(
      'role/:role_name/secret-id',
      'Make a secret id, or list the accessors of those that are out.',
      { fields: { ...makeFields, ...pageFields } },
      {
        update: writes('Make', async (context) => make(context, randomUuid(context.random))),
        list: reads('List accessors', listAccessors),
      },
      'With X-Vault-Wrap-TTL it is delivered in a wrapping token, which opens once.',
    ),
    path(
      'role/:role_name/custom-secret-id',
      "Make a secret id of the caller's choosing.",
      { fields: { ...makeFields, secret_id: secretIdField } },
      { update: writes('Make', async (context) => make(context, required(context, 'secret_id'))) },
    ),
    path('role/:role_name/secret-id/lookup', 'What is known of a secret id.', { fields: byId }, { update: reads('Look up', lookup) }),
    path(
      'role/:role_name/secret-id/destroy',
      'Destroy a secret id.',
      { fields: byId },
      { update: writes('Destroy', destroy), delete: writes('Destroy', destroy) },
    ),
    path(
      'role/:role_name/secret-id-accessor/lookup',
      'What is known of a secret id, by its accessor.',
      { fields: byAccessor },
      { update: reads('Look up', lookupAccessor) },
    ),
    path(
      'role/:role_name/secret-id-accessor/destroy',
      'Destroy a secret id, by its accessor.',
      { fields: byAccessor },
      { update: writes('Destroy', destroyAccessor), delete: writes('Destroy', destroyAccessor) },
    ),
  ]
}

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

function required(context: HandlerContext, name: string): string {
  const value = text(context, name).trim()
  if (value === '') throw bad(`missing ${name}`)
  return value
}

async function make(context: HandlerContext, secretId: string): Promise<LogicalResponse> {
  const role = await existingRole(context)
  if (!role.bindSecretId) throw bad('bind_secret_id is not set on the role')
  const { nowMs } = context
  const accessor = randomUuid(context.random)
  const numUses = chooseUses(context, role)
  const ttlSeconds = Math.min(chooseTtl(context, role), maxTtlSeconds(context.mount))
  await addSecretId(context.storage, role, secretId, {
    accessor,
    numUses,
    ttlSeconds,
    createdMs: nowMs,
    updatedMs: nowMs,
    expiresMs: ttlSeconds > 0 ? nowMs + ttlSeconds * 1_000 : null,
    metadata: readMetadata(context.fields.metadata),
    cidrs: narrower(context, 'cidr_list', role.secretIdBoundCidrs),
    tokenCidrs: narrower(context, 'token_bound_cidrs', role.token.boundCidrs),
  })
  return {
    data: { secret_id: secretId, secret_id_accessor: accessor, secret_id_num_uses: numUses, secret_id_ttl: ttlSeconds },
  }
}

function chooseUses(context: HandlerContext, { secretIdNumUses }: Role): number {
  const asked = notNegative(context, 'num_uses')
  if (asked === undefined) return secretIdNumUses
  if (secretIdNumUses > 0 && (asked === 0 || asked > secretIdNumUses)) {
    throw bad("num_uses cannot be higher than the role's secret_id_num_uses")
  }
  return asked
}

function chooseTtl(context: HandlerContext, { secretIdTtlSeconds }: Role): number {
  const asked = notNegative(context, 'ttl')
  if (asked === undefined) return secretIdTtlSeconds
  if (secretIdTtlSeconds > 0 && (asked === 0 || asked > secretIdTtlSeconds)) {
    throw bad("ttl cannot be longer than the role's secret_id_ttl")
  }
  return asked
}

/** The networks in the field `name`. @throws ERR_BAD_REQUEST where the role's would be left. */
function narrower(context: HandlerContext, name: string, ofRole: readonly string[]): string[] {
  const asked = optional<string[]>(context, name) ?? []
  asked.forEach(parseCidr)
  if (ofRole.length > 0 && !withinCidrs(asked, ofRole)) {
    throw bad(`failed to verify subset relationship between CIDR blocks on the role and CIDR blocks on the secret ID: ${name}`)
  }
  return asked
}

function readMetadata(value: unknown): Record<string, string> {
  if (value === undefined || value === '') return {}
  const pairs = typeof value === 'string' ? parseMetadata(value) : value
  if (typeof pairs !== 'object' || pairs === null || Array.isArray(pairs)) throw notMetadata()
  const entries = Object.entries(pairs as Record<string, unknown>)
  if (entries.length > metadataMax.pairs) throw bad(`metadata expected at most ${metadataMax.pairs} pairs, got ${entries.length}`)
  return Object.fromEntries(entries.map(([key, item]) => [key, readValue(key, item)]))
}

const notMetadata = (): HoldfastError => bad('failed to parse metadata: expected an object of strings, its JSON, or key=value,...')

function readValue(key: string, value: unknown): string {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') throw notMetadata()
  const textValue = String(value)
  if (Buffer.byteLength(key) > metadataMax.keyBytes || Buffer.byteLength(textValue) > metadataMax.valueBytes) {
    throw bad(`metadata expected keys of at most ${metadataMax.keyBytes} bytes and values of ${metadataMax.valueBytes}, got a longer one`)
  }
  return textValue
}

function parseMetadata(given: string): unknown {
  const trimmed = given.trim()
  if (trimmed.startsWith('{')) {
    try {
      return JSON.parse(trimmed) as unknown
    } catch {
      throw notMetadata()
    }
  }
  const pairs = trimmed.split(',').map((pair) => pair.trim())
  if (!pairs.every((pair) => pair.indexOf('=') > 0)) throw notMetadata()
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')).trim(), pair.slice(pair.indexOf('=') + 1).trim()]))
}

async function listAccessors(context: HandlerContext): Promise<LogicalResponse> {
  const { uid } = await existingRole(context)
  return { data: { keys: await context.storage.list(`accessors/${uid}`, page(context)) } }
}

/** As the peers print a time that is none. */
const neverText = '0001-01-01T00:00:00Z'

function describe(found: FoundSecretId | null, nowMs: number): LogicalResponse | null {
  if (found === null || hasExpired(found, nowMs)) return null
  const { record } = found
  return {
    data: {
      secret_id_accessor: record.accessor,
      secret_id_num_uses: record.numUses,
      secret_id_ttl: record.ttlSeconds,
      creation_time: formatRfc3339(record.createdMs),
      expiration_time: record.expiresMs === null ? neverText : formatRfc3339(record.expiresMs),
      last_updated_time: formatRfc3339(record.updatedMs),
      metadata: record.metadata,
      cidr_list: record.cidrs,
      token_bound_cidrs: record.tokenCidrs,
    },
  }
}

async function lookup(context: HandlerContext): Promise<LogicalResponse | null> {
  const role = await existingRole(context)
  return describe(await findSecretId(context.storage, role, required(context, 'secret_id')), context.nowMs)
}

async function destroy(context: HandlerContext): Promise<null> {
  const role = await existingRole(context)
  const found = await findSecretId(context.storage, role, required(context, 'secret_id'))
  if (found !== null) removeSecretId(context.storage, role.uid, found)
  return null
}

async function byAccessor(context: HandlerContext, role: Role): Promise<FoundSecretId> {
  const accessor = required(context, 'secret_id_accessor')
  const found = await findByAccessor(context.storage, role, accessor)
  if (found !== null) return found
  throw new HoldfastError('ERR_NOT_FOUND', `failed to find accessor entry for secret_id_accessor: ${JSON.stringify(accessor.slice(0, 64))}`)
}

async function lookupAccessor(context: HandlerContext): Promise<LogicalResponse | null> {
  return describe(await byAccessor(context, await existingRole(context)), context.nowMs)
}

async function destroyAccessor(context: HandlerContext): Promise<null> {
  const role = await existingRole(context)
  removeSecretId(context.storage, role.uid, await byAccessor(context, role))
  return null
}
