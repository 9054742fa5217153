/** Secrets engines and login methods: listing, mounting, tuning, moving, removing. One set of handlers for both tables. */
import { HoldfastError } from '#base/errors.ts'
import { parseDurationSeconds } from '#base/duration.ts'
import { lifetimes } from '#base/lifetimes.ts'
import { aside } from '#core/aside.ts'
import { readFields } from '#core/fields.ts'
import type { Leasing } from '#core/leasing.ts'
import { checkMountPath, fullPath, newMount, writeMounts } from '#core/mounts.ts'
import { beginMove, readMove } from '#core/remount.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import { transactionStorage } from '#core/storage.ts'
import { scheduleSweep } from '#core/sweep.ts'
import type { EngineDef, HandlerContext, LogicalResponse, MountConfig, MountEntry, PathDef } from '#core/types.ts'
import { answer, field, inPath, optional, path, reads, text, writes } from './table.ts'
import { describeLockout, tunedLockout } from './lockout-tuning.ts'
import type { SystemServices } from './types.ts'

type Table = MountEntry['table']

const protectedPaths: ReadonlySet<string> = new Set(['sys/', 'cubbyhole/', 'identity/', 'auth/token/'])

/** `kv-v2` is what people write instead of `kv` with version=2. */
const aliases: Readonly<Record<string, { readonly type: string; readonly options: Readonly<Record<string, string>> }>> = {
  'kv-v2': { type: 'kv', options: { version: '2' } },
  'kv-v1': { type: 'kv', options: { version: '1' } },
  generic: { type: 'kv', options: { version: '1' } },
}

const tuneFields = {
  default_lease_ttl: field('string', 'TTL of leases and tokens that ask for none; 0 or "system": the system\'s.'),
  max_lease_ttl: field('string', 'Longest TTL; 0 or "system": the system\'s.'),
  description: field('string', 'What people read in lists.'),
  options: field('string-map', "The engine's options, such as version for kv."),
  audit_non_hmac_request_keys: field('list', 'Request keys whose values stay readable in the audit.'),
  audit_non_hmac_response_keys: field('list', 'Response keys whose values stay readable in the audit.'),
  listing_visibility: field('string', 'Whether it is listed to those without a token.', { enum: ['', 'hidden', 'unauth'] }),
  passthrough_request_headers: field('list', 'Headers handed to the engine.'),
  allowed_response_headers: field('list', 'Headers that the engine may answer.'),
  token_type: field('string', 'Type of the tokens that a login method makes.', {
    enum: ['', 'default', 'default-service', 'default-batch', 'service', 'batch'],
  }),
  force_no_cache: field('bool', 'Accepted and shown.'),
  user_lockout_config: field(
    'map',
    'Of a login method: lockout_threshold, lockout_duration, lockout_counter_reset_duration, lockout_disable.',
  ),
  max_read_age: field('string', 'How old a read may be that asks for bounded or stale consistency; 0: none may.'),
}

const tuneDef: PathDef = path('tune', 'Tuning', { fields: tuneFields }, {})

export function mountPaths(services: SystemServices): PathDef[] {
  return [...tablePaths(services, 'secret', 'mounts'), ...tablePaths(services, 'auth', 'auth'), ...remountPaths(services)]
}

function tablePaths(services: SystemServices, table: Table, name: string): PathDef[] {
  const sudo = table === 'auth' ? { sudo: true } : {}
  const pathField = { path: inPath('Where it is mounted.', table === 'auth' ? 'people' : 'secret') }
  const enableFields = {
    ...pathField,
    type: field('string', 'The type of engine or login method.'),
    description: field('string', 'What people read in lists.', { default: '' }),
    config: field('map', 'Tuning, as at the tune path.', { default: {} }),
    options: field('string-map', "The engine's options, such as version for kv."),
    local: field('bool', 'Not replicated to other clusters.', { default: false }),
    seal_wrap: field('bool', 'Accepted; everything is sealed alike.', { default: false }),
    external_entropy_access: field('bool', 'Accepted and ignored.', { default: false }),
    plugin_name: field('string', 'The type, by its old name.', { deprecated: true }),
    plugin_version: field('string', 'Accepted and ignored.'),
  }
  return [
    path(name, 'What is mounted.', { injected: true }, { read: reads('List', async (context) => answer(listMounts(context, table))) }),
    path(
      `${name}/:path*`,
      'One mount.',
      { injected: true, fields: enableFields, ...sudo },
      {
        read: reads('Read', async (context) => answer(describeMount(findMount(context, table)))),
        update: writes(
          'Mount',
          (context) => enable(services, context, table),
          table === 'auth' ? { type: 'userpass' } : { type: 'kv', options: { version: '2' } },
        ),
        delete: writes('Unmount; its data is deleted', (context) => disable(services, context, table)),
      },
    ),
    path(
      `${name}/:path*/tune`,
      "A mount's tuning.",
      { injected: true, fields: { ...pathField, ...tuneFields }, ...sudo },
      {
        read: reads('Read the tuning', async (context) => answer(describeTuning(services, findMount(context, table)))),
        update: writes('Change the tuning', (context) => tune(services, context, table), { default_lease_ttl: '1h' }),
      },
    ),
  ]
}

const wantedPath = (context: HandlerContext): string => `${text(context, 'path').replace(/\/+$/, '')}/`

function lookupMount(context: HandlerContext, table: Table): MountEntry | null {
  return scopeOf(context).mounts.find(table, wantedPath(context))
}

function findMount(context: HandlerContext, table: Table): MountEntry {
  const mount = lookupMount(context, table)
  if (mount) return mount
  const what = table === 'auth' ? 'No auth engine at' : 'No secret engine mount at'
  throw new HoldfastError('ERR_BAD_REQUEST', `${what} ${wantedPath(context)}`)
}

function listMounts(context: HandlerContext, table: Table): Record<string, unknown> {
  const entries = scopeOf(context).mounts.entries.filter((mount) => mount.table === table)
  return Object.fromEntries(entries.map((mount) => [mount.path, describeMount(mount)] as const).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

export function describeMount(mount: MountEntry): Record<string, unknown> {
  return {
    accessor: mount.accessor,
    config: mount.config,
    deprecation_status: 'supported',
    description: mount.description,
    external_entropy_access: false,
    local: mount.local,
    options: mount.options,
    plugin_version: '',
    running_plugin_version: '',
    running_sha256: '',
    seal_wrap: mount.sealWrap,
    type: mount.type,
    uuid: mount.uuid,
  }
}

/** TTLs as they are in force: the system's where the mount sets none. */
function describeTuning(services: SystemServices, mount: MountEntry): Record<string, unknown> {
  const { default_lease_ttl: defaultTtl, max_lease_ttl: maxTtl, user_lockout_config: tuned, ...rest } = mount.config
  const lockout = tuned === undefined ? null : services.lockout.settings(mount)
  return {
    ...rest,
    default_lease_ttl: defaultTtl || lifetimes.defaultSeconds,
    description: mount.description,
    max_lease_ttl: maxTtl || lifetimes.maxSeconds,
    ...(mount.options ? { options: mount.options } : {}),
    ...(mount.table === 'auth' ? { token_type: mount.config.token_type ?? 'default-service' } : {}),
    ...(lockout === null ? {} : describeLockout(lockout)),
  }
}

function engineOf(services: SystemServices, table: Table, type: string): EngineDef {
  const engine = services.engines.find((candidate) => candidate.kind === table && candidate.type === type)
  if (engine && !['system', 'cubbyhole', 'identity'].includes(type) && !(table === 'auth' && type === 'token')) return engine
  const known = services.engines.filter((candidate) => candidate.kind === table).map((candidate) => candidate.type)
  throw new HoldfastError('ERR_BAD_REQUEST', `plugin not found in the catalog: ${JSON.stringify(type.slice(0, 64))}`, {
    hint: `this build has ${known.toSorted().join(', ')}`,
  })
}

async function enable(services: SystemServices, context: HandlerContext, table: Table): Promise<null> {
  const transaction = transactionOf(context)
  const { mounts } = scopeOf(context)
  const asked = text(context, 'type') || text(context, 'plugin_name')
  if (asked === '') throw new HoldfastError('ERR_BAD_REQUEST', 'backend type must be specified as a string')
  const alias = aliases[asked]
  const engine = engineOf(services, table, alias?.type ?? asked)
  const given = optional<Record<string, string>>(context, 'options')
  const options = given || alias ? { ...given, ...alias?.options } : null
  engine.checkOptions?.(options)
  const path = checkMountPath(mounts, table, text(context, 'path'))
  await checkNoNamespace(services, context, table, path)
  const mount = newMount(context.random, {
    path,
    namespaceId: context.mount.namespaceId,
    table,
    type: engine.type,
    description: text(context, 'description'),
    options,
    local: optional<boolean>(context, 'local') === true,
    sealWrap: optional<boolean>(context, 'seal_wrap') === true,
    config: tunedConfig(emptyConfig, configFields(optional<Record<string, unknown>>(context, 'config') ?? {})),
  })
  writeMounts(transaction, mount.namespaceId, [...mounts.entries, mount])
  await engine.onMount?.(transactionStorage(transaction, { namespace: mount.namespaceId, mount: mount.uuid }), mount, context.random)
  return null
}

/** A path leads either into a namespace or to a mount: the request's way (core/place.ts) asks the mounts first. */
async function checkNoNamespace({ namespaces }: SystemServices, context: HandlerContext, table: Table, path: string): Promise<void> {
  if (table === 'auth') return
  const [first = ''] = path.split('/')
  const inTheWay = await namespaces.child(scopeOf(context).view, context.mount.namespaceId, first)
  if (inTheWay !== null) throw new HoldfastError('ERR_MOUNT_EXISTS', `path is already in use by the namespace at ${first}/`)
}

/**
 * What the engine has lent goes back while it is there to take it. Tokens of a login method end by themselves with its mount.
 * @throws ERR_BAD_REQUEST when it can't be taken back: then the mount stays.
 */
async function takeBackLeases(leasing: Leasing, context: HandlerContext, mount: MountEntry): Promise<void> {
  if (mount.table === 'auth') return
  const { path, namespaceId } = mount
  const lent = async (): Promise<boolean> => (await leasing.store.idsBelow(transactionOf(context), namespaceId, path, 1)).length > 0
  if (!(await lent())) return
  await aside(context, `take back ${path}`, () => leasing.revokeBelow(namespaceId, path, { force: false, wait: true }))
  // Lent since by somebody who was quicker.
  if (await lent()) throw new HoldfastError('ERR_BUSY', `expected no leases below ${path}, got some`, { hint: 'try again in a moment' })
}

/** The table changes at once; the data, which nothing reaches any more, is deleted in bounded steps by a job of the leader. */
async function disable({ identity, tokens, quotas, leasing }: SystemServices, context: HandlerContext, table: Table): Promise<null> {
  const transaction = transactionOf(context)
  const { mounts } = scopeOf(context)
  const full = fullPath({ table, path: wantedPath(context) })
  if (protectedPaths.has(full)) throw new HoldfastError('ERR_BAD_REQUEST', `cannot unmount "${full}"`)
  const mount = lookupMount(context, table)
  if (!mount) return null
  await takeBackLeases(leasing, context, mount)
  writeMounts(
    transaction,
    mount.namespaceId,
    mounts.entries.filter((entry) => entry !== mount),
  )
  scheduleSweep(transaction, { namespace: mount.namespaceId, mount: mount.uuid }, '')
  await quotas.store.drop(transaction, { mountUuid: mount.uuid })
  if (table === 'auth') tokens.mountGone(transaction, mount.uuid, mount.namespaceId)
  await identity.dropMount(transaction, mount.accessor, mount.namespaceId)
  return null
}

async function tune(services: SystemServices, context: HandlerContext, table: Table): Promise<null> {
  const mount = findMount(context, table)
  const asked = optional<Record<string, string>>(context, 'options')
  const options = asked ? { ...mount.options, ...asked } : mount.options
  if (asked) {
    services.engines.find((engine) => engine.kind === table && engine.type === mount.type)?.checkOptions?.(options)
    if (mount.options?.version === '2' && options?.version !== '2') {
      throw new HoldfastError('ERR_BAD_REQUEST', 'cannot downgrade mount from version 2')
    }
  }
  const changed: MountEntry = {
    ...mount,
    options,
    description: optional<string>(context, 'description') ?? mount.description,
    config: tunedConfig(mount.config, context.fields),
  }
  const { entries } = scopeOf(context).mounts
  writeMounts(
    transactionOf(context),
    mount.namespaceId,
    entries.map((entry) => (entry === mount ? changed : entry)),
  )
  return null
}

const emptyConfig: MountConfig = { default_lease_ttl: 0, max_lease_ttl: 0, force_no_cache: false }

/** `config` of a mount request is an object inside the body: read by the schema of the tuning. */
const configFields = (config: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> =>
  readFields(tuneDef, {}, { body: config, query: {} }, 'update').fields

const leaseTtl = (name: string, value: unknown, otherwise: number): number => {
  if (value === undefined) return otherwise
  return value === 'system' ? 0 : parseDurationSeconds(value, { what: name })
}

function tunedConfig(config: MountConfig, fields: Readonly<Record<string, unknown>>): MountConfig {
  const tuned: MountConfig = {
    ...config,
    default_lease_ttl: leaseTtl('default_lease_ttl', fields.default_lease_ttl, config.default_lease_ttl),
    max_lease_ttl: leaseTtl('max_lease_ttl', fields.max_lease_ttl, config.max_lease_ttl),
    ...(fields.max_read_age === undefined ? {} : { max_read_age: parseDurationSeconds(fields.max_read_age, { what: 'max_read_age' }) }),
    force_no_cache: (fields.force_no_cache as boolean | undefined) ?? config.force_no_cache,
    ...(fields.user_lockout_config === undefined ? {} : { user_lockout_config: tunedLockout(config, fields.user_lockout_config) }),
    ...pick<Partial<MountConfig>>(fields, [
      'audit_non_hmac_request_keys',
      'audit_non_hmac_response_keys',
      'listing_visibility',
      'passthrough_request_headers',
      'allowed_response_headers',
      'token_type',
    ]),
  }
  const max = tuned.max_lease_ttl || lifetimes.maxSeconds
  if (tuned.default_lease_ttl > max) {
    throw new HoldfastError(
      'ERR_BAD_REQUEST',
      `default_lease_ttl expected at most max_lease_ttl (${max} seconds), got ${tuned.default_lease_ttl}`,
    )
  }
  return tuned
}

function pick<T>(fields: Readonly<Record<string, unknown>>, names: readonly string[]): T {
  return Object.fromEntries(names.filter((name) => fields[name] !== undefined).map((name) => [name, fields[name]])) as T
}

function remountPaths(services: SystemServices): PathDef[] {
  const fields = {
    from: field('string', 'Where it is mounted now.', { required: true, example: 'secret' }),
    to: field('string', 'Where it is to be mounted.', { required: true, example: 'moved' }),
  }
  return [
    path(
      'remount',
      'Move a mount. Its data stays where it is: only the name changes.',
      { injected: true, sudo: true, fields },
      {
        update: writes('Move', (context) => remount(services, context)),
      },
      'What the mount has lent is taken back first, since it is known by the old name: then the move goes on in the background, and remount/status tells how far ' +
        'it is. Where nothing is lent it is done when it is answered. Within one namespace.',
    ),
    path(
      'remount/status/:migration_id',
      'How a move is getting on.',
      { fields: { migration_id: inPath('From the answer to remount.') } },
      {
        read: reads('Status', async (context) => {
          const id = text(context, 'migration_id')
          const move = await readMove(scopeOf(context).view, context.mount.namespaceId, id)
          if (move === null) return null
          const { source, target, status, reason } = move
          const info = { source_mount: source, target_mount: target, status, ...(reason === '' ? {} : { reason }) }
          return answer({ migration_id: id, migration_info: info })
        }),
      },
    ),
  ]
}

const isAuthPath = (mountPath: string): boolean => mountPath.startsWith('auth/')

async function remount(services: SystemServices, context: HandlerContext): Promise<LogicalResponse> {
  const clean = (name: string): string => text(context, name).replace(/^\/+|\/+$/g, '')
  const [from, to] = [clean('from'), clean('to')]
  const table: Table = isAuthPath(from) ? 'auth' : 'secret'
  if (isAuthPath(from) !== isAuthPath(to)) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'cannot remount between auth methods and secrets engines')
  }
  if (protectedPaths.has(`${from}/`)) throw new HoldfastError('ERR_BAD_REQUEST', `cannot remount "${from}/"`)
  const { mounts } = scopeOf(context)
  const below = (mountPath: string): string => (table === 'auth' ? mountPath.slice('auth/'.length) : mountPath)
  const mount = mounts.find(table, `${below(from)}/`)
  if (!mount) throw new HoldfastError('ERR_BAD_REQUEST', `no matching mount at "${from}/"`)
  const id = await beginMove(transactionOf(context), services, context.random, {
    mount,
    mounts,
    source: `${from}/`,
    target: `${to}/`,
  })
  return answer({ migration_id: id })
}
