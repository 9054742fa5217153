/** Quotas: rate limits, lease counts, and what a request may be; each by namespace, mount or path. */
import { HoldfastError } from '#base/errors.ts'
import { fullPath } from '#core/mounts.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { FieldSchema, HandlerContext, LogicalResponse, MountEntry, PathDef } from '#core/types.ts'
import { rootNamespace } from '#namespaces/record.ts'
import { groupings, type Grouping, type QuotaKind, type QuotaKinds, type Scope } from '#quotas/types.ts'
import { answer, field, flag, inPath, inQuery, optional, path, reads, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

type Services = Pick<SystemServices, 'quotas' | 'namespaces'>

const about = {
  'rate-limit':
    'A rate limit lets each client through so often in an interval, over the whole cluster. Of all that fit a request the most specific one counts, and no other: a ' +
    'namespace above (where inheritable), its namespace, its mount, its path, the role of its login. Who goes beyond it is answered 429 with Retry-After.',
  'lease-count':
    'A lease count refuses what would make one lease more (a login, a token, a dynamic secret, a wrapped answer) where a namespace or mount has so many. Those that are there stay, ' +
    'whatever the quota says.',
  'request-limits':
    'What a request in a namespace, or to a mount, may be: how large, how deep its JSON, how long it may take. Never more than the listener allows.',
} as const

const path_ = field(
  'string',
  'Namespace, mount or path below a mount, from this namespace down: "team/", "auth/userpass", "kv/data/app/*". Empty: all of this namespace.',
  {
    default: '',
    example: 'auth/userpass',
  },
)
const inheritable = field(
  'bool',
  'Of a namespace: it holds in those below too, where these have none. The default for the one that it is written in.',
)

const rateFields: Readonly<Record<string, FieldSchema>> = {
  type: field('string', 'Of the quota; it is in the path.', { deprecated: true }),
  name: inPath('Its name.', 'everybody'),
  path: path_,
  rate: field('any', 'Requests in an interval, more than 0; parts of one are allowed.', { example: 100 }),
  interval: field('duration', 'What the rate is counted by; 1s where it is absent.', { example: '1s' }),
  block_interval: field('duration', 'How long a client is shut out that goes beyond the rate; 0: until there is room again.', {
    example: '30s',
  }),
  inheritable,
  role: field('string', 'Of a login method: this role only. Then path must be its mount.', { default: '' }),
  group_by: field('string', 'Who is counted together: a client address, everybody, or an entity (and who has none by the second word).', {
    default: 'ip',
    enum: groupings,
  }),
  secondary_rate: field('any', 'With entity_then_*: the rate of requests without an entity; as rate where it is absent.'),
  burst: field('any', 'What may be asked at once; what an interval allows where it is absent.'),
}

const leaseFields: Readonly<Record<string, FieldSchema>> = {
  type: field('string', 'Of the quota; it is in the path.', { deprecated: true }),
  name: inPath('Its name.', 'everybody'),
  path: path_,
  max_leases: field('int', 'Leases and tokens together, more than 0.', { required: true, example: 10_000 }),
  inheritable,
}

const requestFields: Readonly<Record<string, FieldSchema>> = {
  name: inPath('Its name.', 'everybody'),
  path: path_,
  max_request_bytes: field('int', 'Of a body; 0: as the listener says. Beyond it 413.', { default: 0, example: 65_536 }),
  max_json_depth: field('int', 'Levels of a JSON body; 0: as the listener says. Beyond it 400.', { default: 0, example: 16 }),
  max_duration: field('duration', 'From the request to its answer; 0: as the listener says. Beyond it 503.', {
    default: 0,
    example: '10s',
  }),
  inheritable,
}

const pageFields = { after: inQuery('string', 'Names after this one.'), limit: inQuery('int', 'At most so many.') }

export function quotaPaths(services: Services): PathDef[] {
  return [
    ...kindPaths(
      services,
      'rate-limit',
      rateFields,
      rateQuotaOf,
      ({ rate, intervalSeconds, blockSeconds, groupBy, secondaryRate, burst, role }) => ({
        type: 'rate-limit',
        role,
        rate,
        interval: intervalSeconds,
        block_interval: blockSeconds,
        group_by: groupBy,
        secondary_rate: secondaryRate,
        burst,
      }),
    ),
    ...kindPaths(services, 'lease-count', leaseFields, leaseQuotaOf, ({ leasesMax, role }) => ({
      type: 'lease-count',
      role,
      max_leases: leasesMax,
    })),
    ...kindPaths(services, 'request-limits', requestFields, requestQuotaOf, ({ bodyBytesMax, jsonDepthMax, durationSecondsMax }) => ({
      type: 'request-limits',
      max_request_bytes: bodyBytesMax,
      max_json_depth: jsonDepthMax,
      max_duration: durationSecondsMax,
    })),
    configPath(services),
  ]
}

type Read<K extends QuotaKind> = (context: HandlerContext, scope: Scope) => QuotaKinds[K]
type Shown<K extends QuotaKind> = (quota: QuotaKinds[K]) => Readonly<Record<string, unknown>>

const examples: Readonly<Record<QuotaKind, Readonly<Record<string, unknown>>>> = {
  'rate-limit': { rate: 10_000 },
  'lease-count': { max_leases: 100_000 },
  'request-limits': { max_request_bytes: 1_048_576 },
}

function kindPaths<K extends QuotaKind>(
  services: Services,
  kind: K,
  fields: Readonly<Record<string, FieldSchema>>,
  read: Read<K>,
  shown: Shown<K>,
): PathDef[] {
  const { store } = services.quotas
  return [
    path(
      `quotas/${kind}`,
      'Names of these quotas.',
      { fields: pageFields },
      {
        list: reads('List', async (context) => {
          const after = optional<string>(context, 'after') ?? ''
          const limit = optional<number>(context, 'limit') ?? 0
          const names = (await store.list(scopeOf(context).view, kind, ownerOf(context))).filter((name) => name > after)
          return answer({ keys: limit > 0 ? names.slice(0, limit) : names })
        }),
      },
      about[kind],
    ),
    path(
      `quotas/${kind}/:name`,
      'One quota.',
      { fields },
      {
        read: reads('Read', async (context) => {
          const quota = await store.get(scopeOf(context).view, kind, text(context, 'name'), ownerOf(context))
          if (quota === null) return null
          const { name, inheritable: inherits } = quota
          return answer({ name, path: await pathOf(services, context, quota), inheritable: inherits, ...shown(quota) })
        }),
        update: writes(
          'Write',
          async (context) => {
            const scope = await scopeFor(services, context, kind)
            await store.put(transactionOf(context), kind, read(context, scope))
            return null
          },
          examples[kind],
        ),
        delete: writes('Delete', async (context) => {
          await store.delete(transactionOf(context), kind, text(context, 'name'), ownerOf(context))
          return null
        }),
      },
      about[kind],
    ),
  ]
}

const bad = (message: string, hint?: string): HoldfastError =>
  new HoldfastError('ERR_BAD_REQUEST', message, hint === undefined ? {} : { hint })

/** The namespace that these quotas are of. Those of one above hold besides, and can be seen and changed only there. */
const ownerOf = (context: HandlerContext): string => scopeOf(context).namespace.id

/** From the path as it is written to ids. It only goes down: no other namespace than this one and those in it can be named. */
async function scopeFor({ namespaces }: Services, context: HandlerContext, kind: QuotaKind): Promise<Scope> {
  const { view, mountsOf, line: above } = scopeOf(context)
  const owner = ownerOf(context)
  const asked = text(context, 'path')
    .trim()
    .replace(/^\/+|\/+$/g, '')
  const { line, rest } = await namespaces.walk(view, above, asked)
  const namespace = line.at(-1)!
  const role = text(context, 'role')
  const wholeNamespace = rest === ''
  const inherits = optional<boolean>(context, 'inheritable') ?? (wholeNamespace && namespace.id === owner)
  if (!wholeNamespace && inherits) throw bad('inheritable expected with the path of a namespace, got the path of a mount')
  const scope = {
    ...(owner === rootNamespace.id ? {} : { owner }),
    namespaceId: namespace.id,
    mountUuid: null,
    suffix: '',
    role: '',
    inheritable: inherits,
  }
  if (wholeNamespace) {
    if (role !== '') throw noRoles('')
    return scope
  }
  const route = (await mountsOf(namespace.id)).route(rest)
  if (route === null)
    throw bad(`invalid mount path ${JSON.stringify(rest)}`, 'a quota holds for a namespace, a mount, or a path below a mount')
  if (kind === 'lease-count' && route.rest !== '')
    throw bad('lease-count quota expected the path of a namespace or mount, got one below a mount')
  checkRole(context, route.mount, route.rest, role)
  return { ...scope, mountUuid: route.mount.uuid, suffix: route.rest, role }
}

const noRoles = (mountPath: string): HoldfastError =>
  bad(`Mount path ${JSON.stringify(mountPath)} is not a valid auth method and therefore unsuitable for use with role-based quotas`)

function checkRole(context: HandlerContext, mount: MountEntry, suffix: string, role: string): void {
  if (role === '') return
  if (suffix !== '') {
    throw bad(
      'Quotas cannot contain both a path suffix and a role. If a role is provided, path must be a valid auth mount with a concept of roles',
    )
  }
  if (mount.table !== 'auth') throw noRoles(fullPath(mount))
  const defs = scopeOf(context).engineOf(mount)?.paths(mount) ?? []
  const hasRoles = defs.some(({ operations }) => Object.values(operations).some((operation) => operation?.login?.roleOf !== undefined))
  if (!hasRoles) throw bad(`Mount path ${JSON.stringify(fullPath(mount))} does not support use with role-based quotas`)
}

/** As it would be written now in this namespace: mounts and namespaces may have moved. */
async function pathOf({ namespaces }: Services, context: HandlerContext, { namespaceId, mountUuid, suffix }: Scope): Promise<string> {
  const { view, mountsOf, namespace: owner } = scopeOf(context)
  const full = (await namespaces.byId(view, namespaceId))?.path ?? owner.path
  const namespace = full.startsWith(owner.path) ? full.slice(owner.path.length) : full
  if (mountUuid === null) return namespace
  const mount = (await mountsOf(namespaceId)).entries.find(({ uuid }) => uuid === mountUuid)
  return mount === undefined ? namespace : `${namespace}${fullPath(mount)}${suffix}`
}

/** Rates beyond it are none. */
const rateMax = 1e9
const secondsMax = 366 * 24 * 3_600

/** A number as JSON or as text; `otherwise` where it is absent. */
function numberOf(context: HandlerContext, name: string, otherwise: number): number {
  const value = optional<unknown>(context, name)
  if (value === undefined || value === '') return otherwise
  const number = typeof value === 'number' || (typeof value === 'string' && /^\s*[\d.]+\s*$/.test(value)) ? Number(value) : Number.NaN
  if (!(number >= 0 && number <= rateMax)) throw bad(`'${name}' is invalid`, `a number from 0 to ${rateMax}`)
  return number
}

function secondsOf(context: HandlerContext, name: string, otherwise: number): number {
  const seconds = optional<number>(context, name) ?? otherwise
  if (seconds < 0 || seconds > secondsMax) throw bad(`'${name}' is invalid`, 'a duration of at most a year')
  return seconds
}

function rateQuotaOf(context: HandlerContext, scope: Scope): QuotaKinds['rate-limit'] {
  const rate = numberOf(context, 'rate', 0)
  if (rate <= 0) throw bad("'rate' is invalid", 'requests in an interval, more than 0')
  const groupBy = text(context, 'group_by') as Grouping
  const secondaryRate = numberOf(context, 'secondary_rate', 0)
  if (secondaryRate > 0 && !groupBy.startsWith('entity')) throw bad('secondary_rate expected with a group_by of entities, got another')
  return {
    name: text(context, 'name'),
    ...scope,
    rate,
    intervalSeconds: secondsOf(context, 'interval', 1) || 1,
    blockSeconds: secondsOf(context, 'block_interval', 0),
    groupBy,
    secondaryRate,
    burst: numberOf(context, 'burst', 0),
  }
}

function leaseQuotaOf(context: HandlerContext, scope: Scope): QuotaKinds['lease-count'] {
  const leasesMax = optional<number>(context, 'max_leases') ?? 0
  if (leasesMax <= 0) throw bad("'max_leases' is invalid", 'more than 0')
  return { name: text(context, 'name'), ...scope, leasesMax }
}

function requestQuotaOf(context: HandlerContext, scope: Scope): QuotaKinds['request-limits'] {
  const whole = (name: string): number => {
    const value = optional<number>(context, name) ?? 0
    if (value < 0) throw bad(`'${name}' is invalid`, '0 or more')
    return value
  }
  const quota = {
    name: text(context, 'name'),
    ...scope,
    bodyBytesMax: whole('max_request_bytes'),
    jsonDepthMax: whole('max_json_depth'),
    durationSecondsMax: secondsOf(context, 'max_duration', 0),
  }
  if (quota.bodyBytesMax + quota.jsonDepthMax + quota.durationSecondsMax > 0) return quota
  throw bad('expected one of max_request_bytes, max_json_depth and max_duration, got none')
}

const configFields = {
  rate_limit_exempt_paths: field(
    'list',
    'Paths, from the root down, that no rate limit holds for; a * at the end means all that begin so.',
    {
      default: [],
      example: ['sys/internal/ui/mounts'],
    },
  ),
  enable_rate_limit_audit_logging: field('bool', 'Record refused requests in the audit. A flood of them is then a flood of records.', {
    default: false,
  }),
  enable_rate_limit_response_headers: field('bool', 'Say X-RateLimit-Limit, -Remaining and -Reset in every answer, not in refusals only.', {
    default: false,
  }),
}

function configPath({ quotas: { store } }: Services): PathDef {
  return path(
    'quotas/config',
    'What holds for all rate limits.',
    { rootNamespaceOnly: true, fields: configFields },
    {
      read: reads('Read', async (context): Promise<LogicalResponse> => {
        const { exemptPaths, auditRefused, answerHeaders } = await store.config(scopeOf(context).view)
        return answer({
          rate_limit_exempt_paths: exemptPaths,
          enable_rate_limit_audit_logging: auditRefused,
          enable_rate_limit_response_headers: answerHeaders,
        })
      }),
      update: writes('Write', async (context) => {
        await store.putConfig(transactionOf(context), {
          exemptPaths: (optional<string[]>(context, 'rate_limit_exempt_paths') ?? []).map((each) => each.replace(/^\/+/, '')),
          auditRefused: flag(context, 'enable_rate_limit_audit_logging'),
          answerHeaders: flag(context, 'enable_rate_limit_response_headers'),
        })
        return null
      }),
    },
    'Health, seal-status, unseal and generate-root are exempt whatever the list says. A write replaces all of it: what is left out is as it was at first, but no path of the list.',
  )
}
