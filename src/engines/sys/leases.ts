/** Leases: looking them up, prolonging, ending them; by one, below a prefix, by force. Each request sees those of its own namespace alone. */
import { HoldfastError } from '#base/errors.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { Leasing } from '#core/leasing.ts'
import type { FieldSchema, HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { isIrrevocable, type SecretLease } from '#leases/records.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { answer, effects, field, flag, inPath, inQuery, optional, path, reads, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

/** Irrevocable leases that one answer shows, unless it is asked for more. */
const irrevocableShownMax = 10_000

const idField = field('string', 'The lease, as it was answered with the secret.')
const syncField = field('bool', 'Answer when it is taken back; otherwise it is taken back after the answer.', { default: true })

export function leasePaths({ leasing }: Pick<SystemServices, 'leasing'>): PathDef[] {
  return [
    ...lookupPaths(leasing),
    ...['leases/', ''].flatMap((folder) => [...renewPaths(leasing, folder), ...revokePaths(leasing, folder)]),
    ...irrevocablePaths(leasing),
    path(
      'leases/tidy',
      'Look for whatever has ended and is still there.',
      {},
      {
        update: effects('Tidy', async () => {
          leasing.expirer.nudge()
          return {
            status: 202,
            warnings: ['Tidy operation successfully started. Any information from the operation will be printed to the server logs.'],
          }
        }),
      },
      'The leader does so by itself twice a minute.',
    ),
  ]
}

const namespaceOf = (context: HandlerContext): string => context.mount.namespaceId

function leaseId(context: HandlerContext): string {
  const id = text(context, 'lease_id') || text(context, 'url_lease_id')
  if (id === '') throw new HoldfastError('ERR_BAD_REQUEST', 'lease_id must be specified')
  return id
}

function lookupPaths(leasing: Leasing): PathDef[] {
  const pages = { after: inQuery('string', 'Names after this one.'), limit: inQuery('int', 'At most so many.') }
  const list = async (context: HandlerContext): Promise<LogicalResponse> => {
    const [after, limit] = [optional<string>(context, 'after'), optional<number>(context, 'limit')]
    const options = { ...(after === undefined ? {} : { after }), ...(limit === undefined ? {} : { limit }) }
    return answer({ keys: await leasing.store.list(scopeOf(context).view, namespaceOf(context), text(context, 'prefix'), options) })
  }
  return [
    path(
      'leases/lookup',
      'What a lease is.',
      { fields: { lease_id: idField } },
      { update: reads('Look up', (context) => lookup(leasing, context)) },
    ),
    path(
      'leases/lookup/:prefix*?',
      'Leases below a path, a level at a time.',
      { sudo: true, fields: { prefix: inPath('The path that was asked, or a part of it.', 'auth/token/create'), ...pages } },
      { list: reads('List', list) },
      'Tokens are among them, below the path that made them.',
    ),
  ]
}

async function lookup(leasing: Leasing, context: HandlerContext): Promise<LogicalResponse> {
  const { view } = scopeOf(context)
  const found = await leasing.store.load(view, namespaceOf(context), leaseId(context))
  if (found?.kind === 'token') {
    const token = await leasing.token(view, found)
    if (token !== null) return answer(describeToken(found.id, token, context.nowMs))
  }
  if (found?.kind === 'secret') {
    // What could not be taken back is shown with its reason, and is not good.
    if (isIrrevocable(found))
      return answer({ ...describe(found, context.nowMs), renewable: false, revoke_error: found.ending?.error ?? '' })
    const lease = await leasing.good(view, namespaceOf(context), found.id)
    if (lease !== null) return answer(describe(lease, context.nowMs))
  }
  throw new HoldfastError('ERR_BAD_REQUEST', 'invalid lease', { hint: 'it has ended, was revoked, or is of another namespace' })
}

const ttlOf = (expireTimeMs: number | null, nowMs: number): number =>
  expireTimeMs === null ? 0 : Math.max(0, Math.ceil((expireTimeMs - nowMs) / 1_000))
const timeOf = (timeMs: number | null): string | null => (timeMs === null ? null : formatRfc3339(timeMs))

const describe = (lease: SecretLease, nowMs: number) => ({
  id: lease.id,
  issue_time: formatRfc3339(lease.issueTimeMs),
  expire_time: formatRfc3339(lease.expireTimeMs),
  last_renewal: timeOf(lease.lastRenewalTimeMs),
  renewable: lease.renewable,
  ttl: ttlOf(lease.expireTimeMs, nowMs),
  // The id is the request's path and a random name: clients tell by it which role lent this.
  path: lease.id.slice(0, lease.id.lastIndexOf('/')),
})

const describeToken = (id: string, token: TokenEntry, nowMs: number) => ({
  id,
  issue_time: formatRfc3339(token.creationTimeMs),
  expire_time: timeOf(token.expireTimeMs),
  last_renewal: timeOf(token.lastRenewalTimeMs),
  renewable: token.renewable,
  ttl: ttlOf(token.expireTimeMs, nowMs),
  path: token.path,
})

type Fields = Readonly<Record<string, FieldSchema>>

/** The same with the lease in the body, and at the end of the path. */
const both = (name: string, fields: Fields): { readonly pattern: string; readonly fields: Fields }[] => [
  { pattern: name, fields: { lease_id: idField, ...fields } },
  { pattern: `${name}/:url_lease_id*`, fields: { lease_id: idField, url_lease_id: inPath('The lease.'), ...fields } },
]

function renewPaths(leasing: Leasing, folder: string): PathDef[] {
  const increment = field('duration', 'For how long, counted from now.', { default: 0 })
  return both(`${folder}renew`, { increment }).map(({ pattern, fields }) =>
    path(
      pattern,
      'Prolong a lease.',
      { fields },
      {
        update: writes('Renew', (context) =>
          leasing.renew(
            transactionOf(context),
            namespaceOf(context),
            leaseId(context),
            Math.max(0, optional<number>(context, 'increment') ?? 0),
            context,
          ),
        ),
      },
      'What is granted is bounded by what the engine allows; a warning says so.',
    ),
  )
}

function revokePaths(leasing: Leasing, folder: string): PathDef[] {
  const revokeBelow = async (context: HandlerContext, force: boolean): Promise<LogicalResponse | null> => {
    const wait = flag(context, 'sync')
    await leasing.revokeBelow(namespaceOf(context), text(context, 'prefix'), { force, wait })
    return wait ? null : { status: 202 }
  }
  const prefix = inPath('The path that was asked, or a part of it: whole segments.', 'auth/people/login')
  return [
    ...both(`${folder}revoke`, { sync: syncField }).map(({ pattern, fields }) =>
      path(
        pattern,
        'End a lease, and have taken back what it is of.',
        { fields },
        {
          update: effects('Revoke', async (context) => {
            const wait = flag(context, 'sync')
            await leasing.revoke(namespaceOf(context), leaseId(context), wait)
            return wait ? null : { status: 202 }
          }),
        },
        'It is good no more from the answer on, in either case. One that does not exist has ended already.',
      ),
    ),
    path(
      `${folder}revoke-prefix/:prefix*`,
      'End all leases below a path, tokens too.',
      { sudo: true, fields: { prefix, sync: syncField } },
      { update: effects('Revoke', (context) => revokeBelow(context, false)) },
      'None of the leases is good from the first moment on, however many they are.',
    ),
    path(
      `${folder}revoke-force/:prefix*`,
      'The same, and off the books even where an engine can not take it back.',
      { sudo: true, fields: { prefix, sync: syncField } },
      { update: effects('Revoke by force', (context) => revokeBelow(context, true)) },
      'For when what they are of is gone for good. What is still there stays in use, and nobody will ever take it back.',
    ),
  ]
}

function irrevocablePaths(leasing: Leasing): PathDef[] {
  const type = inQuery('string', "Only 'irrevocable'.")
  const isAsked = (context: HandlerContext): boolean => text(context, 'type').toLowerCase() === 'irrevocable'
  const accessors = (context: HandlerContext): ReadonlyMap<string, string> =>
    new Map(scopeOf(context).mounts.entries.map(({ uuid, accessor }) => [uuid, accessor]))
  const load = async (context: HandlerContext, max: number): Promise<SecretLease[]> => {
    const { view } = scopeOf(context)
    const leases: SecretLease[] = []
    for (const id of await leasing.store.irrevocable(view, namespaceOf(context), max)) {
      const lease = await leasing.store.load(view, namespaceOf(context), id)
      if (lease?.kind === 'secret') leases.push(lease)
    }
    return leases
  }
  return [
    path(
      'leases',
      'Leases that could not be taken back.',
      { sudo: true, fields: { type, limit: inQuery('string', `At most so many, or 'none'; ${irrevocableShownMax} otherwise.`) } },
      {
        read: reads('List', async (context) => {
          if (!isAsked(context)) return null
          const found = await load(context, limitOf(text(context, 'limit')))
          const mounts = accessors(context)
          const leases = found.map((lease) => ({
            lease_id: lease.id,
            mount_id: mounts.get(lease.mountUuid) ?? '',
            error: lease.ending?.error ?? '',
          }))
          const count = await leasing.store.irrevocableCount(scopeOf(context).view, namespaceOf(context))
          return answer({ lease_count: count, leases })
        }),
      },
    ),
    path(
      'leases/count',
      'How many leases could not be taken back, by mount.',
      { fields: { type } },
      {
        read: reads('Count', async (context) => {
          if (!isAsked(context)) return null
          const counts: Record<string, number> = {}
          const mounts = accessors(context)
          const found = await load(context, Number.MAX_SAFE_INTEGER)
          for (const { mountUuid } of found) counts[mounts.get(mountUuid) ?? ''] = (counts[mounts.get(mountUuid) ?? ''] ?? 0) + 1
          return answer({ lease_count: found.length, counts })
        }),
      },
    ),
  ]
}

function limitOf(asked: string): number {
  if (asked === '') return irrevocableShownMax
  if (asked.toLowerCase() === 'none') return Number.MAX_SAFE_INTEGER
  const limit = Number(asked)
  if (Number.isSafeInteger(limit) && limit > 0) return limit
  throw new HoldfastError('ERR_BAD_REQUEST', `limit expected a positive number or 'none', got ${JSON.stringify(asked.slice(0, 32))}`)
}
