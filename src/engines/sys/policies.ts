/** Policies, and the question what a token may do. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { FieldSchema, HandlerContext, LogicalResponse, OperationDef, PathDef } from '#core/types.ts'
import type { PolicyRecord } from '#policies/store.ts'
import type { CallerFacts, CompiledAcl } from '#policies/types.ts'
import { lifetimeSeconds } from '#tokens/lifetime.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { explainPaths } from './explain.ts'
import { rolePaths } from './roles.ts'
import { answer, field, inPath, inQuery, optional, path, reads, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

export function policyPaths(services: SystemServices): PathDef[] {
  return [...aclPaths(services), ...legacyPaths(services), ...capabilityPaths(services), ...explainPaths(), ...rolePaths(services.policies)]
}

/** The namespace whose policies these are. */
const of = (context: HandlerContext): string => context.mount.namespaceId

const ruleExample = 'path "secret/data/app/*" { capabilities = ["read"] }'

const pageFields = {
  after: inQuery('string', 'Names after this one.'),
  limit: inQuery('int', 'At most so many.'),
}

const writeFields = {
  name: inPath('Its name.', 'app'),
  policy: field('string', 'HCL or JSON, as it is or as base64.'),
  rules: field('string', 'The same, by its old name.', { deprecated: true }),
  cas: field('int', 'The version that it must have now; -1: it must not exist.'),
  cas_required: field('bool', 'Whether later writes must name a version.'),
  ttl: field('duration', 'How long it is in force.'),
  expiration: field('time', 'Until when it is in force.'),
}

function aclPaths(services: SystemServices): PathDef[] {
  const { policies } = services
  const listDetailed = reads('List', async (context) => {
    const keys = await policies.list(scopeOf(context).view, pageOf(context), of(context))
    const records = await Promise.all(keys.map((name) => policies.get(scopeOf(context).view, name, of(context))))
    return answer({ keys, key_info: Object.fromEntries(records.flatMap((record) => (record ? [[record.name, recordFacts(record)]] : []))) })
  })
  return [
    path('policies/acl', 'Names of the policies.', { fields: pageFields }, { list: reads('List', (context) => list(services, context)) }),
    path(
      'policies/acl/:name*',
      'One policy.',
      { fields: { ...writeFields, ...pageFields } },
      {
        read: reads('Read', async (context) => {
          const record = await policies.get(scopeOf(context).view, text(context, 'name'), of(context))
          return record && answer({ name: record.name, policy: record.text, ...recordFacts(record) })
        }),
        update: writes('Write; fields that are not named get their defaults', (context) => put(services, context), { policy: ruleExample }),
        patch: writes('Change what is named, of a policy that exists', (context) => patch(services, context), { ttl: '720h' }),
        delete: removeOperation(services),
        list: reads('List those whose names begin with this and a slash', (context) => list(services, context)),
      },
    ),
    path('policies/detailed/acl', 'Policies with what is kept beside them.', { fields: pageFields }, { list: listDetailed }),
    path(
      'policies/detailed/acl/:name*',
      'Policies whose names begin with this and a slash, with what is kept beside them.',
      { fields: { name: inPath('What their names begin with.', 'app'), ...pageFields } },
      { list: listDetailed },
    ),
  ]
}

const recordFacts = (record: PolicyRecord): Record<string, unknown> => ({
  version: record.version,
  cas_required: record.casRequired,
  ...(record.modifiedMs > 0 ? { modified: formatRfc3339(record.modifiedMs) } : {}),
  ...(record.expirationMs === null ? {} : { expiration: formatRfc3339(record.expirationMs) }),
})

/** Of a list: its page, and what the names begin with. */
const pageOf = (context: HandlerContext): { after?: string; limit?: number; prefix?: string } => {
  const after = optional<string>(context, 'after')
  const limit = optional<number>(context, 'limit')
  const name = optional<string>(context, 'name')
  return {
    ...(after === undefined ? {} : { after }),
    ...(limit === undefined ? {} : { limit }),
    ...(name === undefined ? {} : { prefix: `${name.toLowerCase()}/` }),
  }
}

async function list({ policies }: SystemServices, context: HandlerContext): Promise<LogicalResponse> {
  return answer({ keys: await policies.list(scopeOf(context).view, pageOf(context), of(context)) })
}

function removeOperation({ policies }: SystemServices): OperationDef {
  return writes('Delete', async (context) => {
    await policies.delete(transactionOf(context), text(context, 'name'), of(context))
    return null
  })
}

async function put(services: SystemServices, context: HandlerContext): Promise<null> {
  const source = text(context, 'policy') || text(context, 'rules')
  if (text(context, 'name') === '') throw new HoldfastError('ERR_BAD_REQUEST', "'name' parameter must be supplied")
  if (source === '') throw new HoldfastError('ERR_BAD_REQUEST', "'policy' parameter not supplied or empty")
  return store(services, context, source, null)
}

/** As `put`, but what is not named stays. */
async function patch(services: SystemServices, context: HandlerContext): Promise<null> {
  const present = await services.policies.get(transactionOf(context), text(context, 'name'), of(context))
  // The built-in default that nobody has written yet is there to be read, not to be changed in part.
  if (!present || present.version === 0) throw new HoldfastError('ERR_NOT_FOUND', 'policy expected to exist, got none of this name')
  return store(services, context, text(context, 'policy') || text(context, 'rules') || present.text, present.expirationMs)
}

async function store({ policies }: SystemServices, context: HandlerContext, source: string, expiresMs: number | null): Promise<null> {
  const cas = optional<number>(context, 'cas')
  const casRequired = optional<boolean>(context, 'cas_required')
  const ttl = optional<number>(context, 'ttl') ?? 0
  if (ttl < 0) throw new HoldfastError('ERR_BAD_REQUEST', 'ttl must be positive')
  const expirationMs = optional<number>(context, 'expiration') ?? (ttl > 0 ? context.nowMs + ttl * 1_000 : expiresMs)
  const options = { ...(cas === undefined ? {} : { cas }), ...(casRequired === undefined ? {} : { casRequired }), expirationMs }
  await policies.put(transactionOf(context), text(context, 'name'), decodePolicy(source), options, of(context))
  return null
}

/** Some clients send base64. HCL and JSON hold characters that base64 does not, so nothing is taken for what it is not. */
function decodePolicy(source: string): string {
  if (source.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(source)) return source
  return Buffer.from(source, 'base64').toString('utf8')
}

function legacyPaths(services: SystemServices): PathDef[] {
  const { policies } = services
  const fields: Record<string, FieldSchema> = { ...writeFields }
  const list = reads('List', async (context) => {
    const keys = await policies.list(scopeOf(context).view, {}, of(context))
    return answer({ keys, policies: keys })
  })
  return [
    path(
      'policy',
      'Names of the policies, by the old path.',
      { injected: true },
      {
        read: { ...list, lists: true },
        list,
      },
    ),
    path(
      'policy/:name*',
      'One policy, by the old path.',
      { injected: true, fields },
      {
        read: reads('Read', async (context) => {
          const record = await policies.get(scopeOf(context).view, text(context, 'name'), of(context))
          return record && answer({ name: record.name, rules: record.text })
        }),
        update: writes('Write', (context) => put(services, context), { policy: ruleExample }),
        delete: removeOperation(services),
      },
    ),
  ]
}

const capabilityFields = {
  path: field('list', 'Paths to ask about.', { deprecated: true }),
  paths: field('list', 'Paths to ask about.'),
  token: field('string', 'The token to ask about.', { sensitive: true }),
  accessor: field('string', 'The accessor of the token to ask about.'),
}

function capabilityPaths(services: SystemServices): PathDef[] {
  const { tokens } = services
  const ask = async (context: HandlerContext, entry: TokenEntry | null): Promise<LogicalResponse> => {
    // Tokens of other namespaces are none here, those of one above among them: whose they are and what they may is not for this one to know.
    if (entry?.namespaceId !== of(context)) throw new HoldfastError('ERR_BAD_REQUEST', 'invalid token')
    // Where its holder is, nobody knows here: rules for some addresses only are not counted.
    return capabilitiesOf(context, await scopeOf(context).aclOf(entry), {
      nowMs: context.nowMs,
      tokenTtlSeconds: lifetimeSeconds(entry),
    })
  }
  const given = async (context: HandlerContext): Promise<TokenEntry | null> => {
    const token = text(context, 'token')
    if (token === '') throw new HoldfastError('ERR_BAD_REQUEST', 'missing token')
    return tokens.lookup(scopeOf(context).view, token, [of(context)])
  }
  const flags = { injected: true, fields: capabilityFields }
  return [
    path('capabilities', 'What a token may do on some paths.', flags, {
      update: reads('Ask', async (context) => ask(context, await given(context))),
    }),
    path('capabilities-self', 'What the caller may do on some paths.', flags, {
      update: reads(
        'Ask',
        async (context) => {
          const { acl, facts } = scopeOf(context)
          if (!acl) throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
          return capabilitiesOf(context, acl, facts)
        },
        { paths: ['secret/data/app'] },
      ),
    }),
    path('capabilities-accessor', 'What the token of an accessor may do on some paths.', flags, {
      update: reads('Ask', async (context) =>
        ask(context, await tokens.lookupAccessor(scopeOf(context).view, text(context, 'accessor'), of(context))),
      ),
    }),
  ]
}

/** Every token may ask (the default policy says so), and each path is looked up in all its rules. */
const pathsAskedMax = 1_000

function capabilitiesOf(context: HandlerContext, acl: CompiledAcl, caller: CallerFacts): LogicalResponse {
  const paths = optional<string[]>(context, 'paths') ?? optional<string[]>(context, 'path') ?? []
  if (paths.length === 0) throw new HoldfastError('ERR_BAD_REQUEST', 'paths must be supplied')
  if (paths.length > pathsAskedMax)
    throw new HoldfastError('ERR_BAD_REQUEST', `paths expected at most ${pathsAskedMax}, got ${paths.length}`)
  const data: Record<string, unknown> = Object.create(null)
  for (const asked of paths) data[asked] = acl.capabilities(asked.replace(/^\/+/, '').replace(/^v1\//, ''), caller)
  if (paths.length === 1) data.capabilities = data[paths[0]!]
  return answer(data)
}
