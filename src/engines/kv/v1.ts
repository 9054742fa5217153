/** Version 1: one free-form JSON object a path, overwritten whole. Its `ttl` is a hint to readers, answered as lease_duration. */
import { parseDurationSeconds } from '#base/duration.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { lifetimes } from '#base/lifetimes.ts'
import type { HandlerContext, LogicalResponse, MountEntry, OperationDef, PathDef } from '#core/types.ts'
import { keysResponse, listKeys, pageOf, scanKeys } from './list.ts'
import { keyPath } from './record.ts'
import type { KeyRecord, PlainRecord, SecretData } from './record.ts'

const pathOf = (context: HandlerContext): string => (context.fields['path'] as string | undefined) ?? ''

/** @throws ERR_BAD_REQUEST on a record of version 2: a mount can't go back. */
async function load(context: HandlerContext): Promise<SecretData | null> {
  const path = pathOf(context)
  if (path === '') return null
  const record = await context.storage.getJson<PlainRecord | KeyRecord>(keyPath(path))
  if (record === null) return null
  if (record.format === 1) return record.data
  throw new HoldfastError('ERR_BAD_REQUEST', 'cannot downgrade mount from version "2"', {
    hint: 'tune the mount back to version 2: this path holds a versioned secret',
  })
}

/** Seconds of the secret's own `ttl` (or `lease`), else of the mount. What can't be read as a duration counts as absent. */
function leaseSeconds(data: SecretData, mount: MountEntry): number {
  const fallback = mount.config.default_lease_ttl || lifetimes.defaultSeconds
  const asked = data['ttl'] ?? data['lease']
  if (asked === undefined) return fallback
  try {
    return parseDurationSeconds(asked)
  } catch (error) {
    if (isHoldfastError(error)) return fallback
    throw error
  }
}

async function read(context: HandlerContext): Promise<LogicalResponse | null> {
  const data = await load(context)
  return data === null ? null : { data, renewable: false, leaseSeconds: leaseSeconds(data, context.mount) }
}

async function write(context: HandlerContext): Promise<null> {
  const path = pathOf(context)
  if (path === '') throw new HoldfastError('ERR_BAD_REQUEST', 'missing path')
  if (Object.keys(context.data).length === 0) throw new HoldfastError('ERR_BAD_REQUEST', 'missing data fields')
  const record: PlainRecord = { format: 1, createdMs: context.nowMs, data: context.data }
  context.storage.putJson(keyPath(path), record)
  return null
}

async function remove(context: HandlerContext): Promise<null> {
  const path = pathOf(context)
  if (path !== '') context.storage.delete(keyPath(path))
  return null
}

// `after` and `limit` are read by hand: declared as fields they would be taken out of the secrets that use these names.
const page = (context: HandlerContext) => pageOf(context.request.query['after'], context.request.query['limit'])

async function list(context: HandlerContext): Promise<LogicalResponse | null> {
  return keysResponse(await listKeys(context.storage, pathOf(context), page(context)))
}

async function scan(context: HandlerContext): Promise<LogicalResponse> {
  return { data: { keys: await scanKeys(context.storage, pathOf(context), page(context)) } }
}

const writing: OperationDef = {
  summary: 'Store a secret at this path, replacing what was there.',
  writes: true,
  handler: write,
  example: { username: 'app', ttl: '1h' },
}

export const pathsV1: readonly PathDef[] = [
  {
    pattern: ':path*?',
    fields: { path: { type: 'string', in: 'path', description: 'Location of the secret.', example: 'team/database' } },
    freeForm: true,
    exists: async (context) => (await load(context)) !== null,
    operations: {
      read: { summary: 'Read the secret at this path.', writes: false, handler: read },
      create: writing,
      update: writing,
      delete: { summary: 'Delete the secret at this path.', writes: true, handler: remove },
      list: { summary: 'List the secrets and folders below this path (query: after, limit).', writes: false, handler: list },
      scan: { summary: 'List all secrets below this path, at any depth.', writes: false, handler: scan },
    },
    help: {
      synopsis: 'Stores arbitrary key-value pairs, one set a path.',
      description:
        'The body of a write is kept as it is and answered by a read. A key named ttl is a hint for readers how long the value ' +
        'may be kept: it becomes the lease_duration of the answer. Nothing is revoked when it has passed.',
    },
  },
]
