/** Making tokens: who may give which policies to whom. */
import { HoldfastError } from '#base/errors.ts'
import { parseDurationSeconds } from '#base/duration.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, OperationDef, PathDef } from '#core/types.ts'
import { isAssignablePolicy, sanitizePolicyNames } from '#policies/names.ts'
import { lifetimeSeconds } from '#tokens/lifetime.ts'
import { authResponse } from '#tokens/shapes.ts'
import { grantTtl, shorter } from '#tokens/ttl.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { AuthServices } from '../index.ts'
import { field, inherited, optional, self, text, ttlLimits, unassignable } from './fields.ts'
import { readRole, type TokenRole } from './roles.ts'

const createFields = {
  id: field('string', 'The token itself, chosen by the caller; needs sudo.', { sensitive: true }),
  policies: field('list', "Its policies; the caller's own when absent."),
  meta: field('string-map', 'Shown in lookups and in the audit.'),
  no_parent: field('bool', 'Without a parent; needs sudo.', { default: false }),
  no_default_policy: field('bool', 'Without the default policy.', { default: false }),
  renewable: field('bool', 'Whether it can be renewed.', { default: true }),
  lease: field('string', 'The TTL, by its old name.', { deprecated: true }),
  ttl: field('duration', 'How long it lives.', { default: 0 }),
  explicit_max_ttl: field('duration', 'How long it lives at most, whatever is renewed.', { default: 0 }),
  period: field('duration', 'It can be renewed for this long without end; needs sudo.', { default: 0 }),
  display_name: field('string', 'A name for people.', { default: '' }),
  num_uses: field('int', 'How often it can be used; 0: without limit.', { default: 0 }),
  entity_alias: field('string', 'The name at this mount of the entity that it is for; only with a role that allows it.'),
  type: field('string', "'service' or 'batch'.", { default: '' }),
}

interface Shape {
  readonly orphan: boolean
  readonly role: TokenRole | null
}

export function createPaths(services: AuthServices): PathDef[] {
  const path = (
    pattern: string,
    synopsis: string,
    fields: PathDef['fields'],
    handler: OperationDef['handler'],
    flags: Partial<PathDef> = {},
  ): PathDef => ({
    pattern,
    fields: { ...createFields, ...fields },
    ...flags,
    help: {
      synopsis,
      description:
        'The new token is a child of the caller and is revoked with it, unless it is an orphan. Without a role, a child can be used from where the caller can.',
    },
    operations: { update: { summary: 'Create', writes: true, handler } },
  })
  const roleField = { role_name: field('string', 'The role.', { in: 'path' }) }
  return [
    path('create', 'Make a token.', {}, (context) => create(services, context, { orphan: false, role: null })),
    path('create-orphan', 'Make a token without a parent.', {}, (context) => create(services, context, { orphan: true, role: null })),
    path('create/:role_name', 'Make a token as a role says.', roleField, async (context) => {
      const role = await readRole(context.storage, text(context, 'role_name'))
      if (!role) throw new HoldfastError('ERR_BAD_REQUEST', `unknown role ${JSON.stringify(text(context, 'role_name'))}`)
      return create(services, context, { orphan: role.orphan, role })
    }),
  ]
}

/** Sudo on this very path, beyond the right to call it: for what binds the caller less. */
function hasSudo(context: HandlerContext): boolean {
  const { acl, facts } = scopeOf(context)
  const capabilities = acl?.capabilities(context.request.path, facts) ?? []
  return capabilities.includes('root') || capabilities.includes('sudo')
}

async function create(services: AuthServices, context: HandlerContext, shape: Shape): Promise<LogicalResponse> {
  const { tokens, policies: store } = services
  const parent = self(context)
  const sudo = hasSudo(context)
  if (parent.type === 'batch') throw new HoldfastError('ERR_BAD_REQUEST', 'batch tokens cannot create more tokens')
  // The child could outlive the limit of its parent, or be made again and again.
  if (parent.numUses !== 0) throw new HoldfastError('ERR_BAD_REQUEST', 'restricted use token cannot generate child tokens')
  const type = chooseType(text(context, 'type'), shape.role)
  const noParent = optional<boolean>(context, 'no_parent') === true
  if (noParent && !sudo) throw new HoldfastError('ERR_BAD_REQUEST', 'root or sudo privileges required to create orphan token')
  const id = text(context, 'id')
  if (id !== '' && !sudo) throw new HoldfastError('ERR_BAD_REQUEST', 'root or sudo privileges required to specify token id')
  const policies = choosePolicies(context, parent, sudo, shape.role)
  if (type === 'batch') checkBatch(context, policies)
  const ttl = chooseTtl(context, parent, sudo, shape.role, policies)
  const orphan = shape.orphan || noParent
  const entityId = (await aliasedEntity(services, context, shape.role)) ?? (orphan || isForeign(context, parent) ? '' : parent.entityId)
  const suffix = text(context, 'display_name')
  const { token, entry } = await tokens.create(transactionOf(context), {
    parent: orphan ? null : parent,
    namespaceId: context.mount.namespaceId,
    policies,
    path: pathOf(context, shape.role),
    displayName: suffix === '' ? 'token' : `token-${suffix.replaceAll(/[^a-zA-Z0-9-]/g, '-')}`,
    ttlSeconds: ttl.ttlSeconds,
    givenBySeconds: givesOwn(context, parent, sudo, shape.role) || bringsEntity(parent, entityId) ? (lifetimeSeconds(parent) ?? 0) : 0,
    explicitMaxTtlSeconds: ttl.explicitMaxTtlSeconds,
    periodSeconds: ttl.periodSeconds,
    numUses: fewer(optional<number>(context, 'num_uses') ?? 0, shape.role?.numUses ?? 0),
    meta: optional<Record<string, string>>(context, 'meta') ?? null,
    type,
    renewable: type === 'service' && (optional<boolean>(context, 'renewable') ?? true) && (shape.role?.renewable ?? true),
    ...(shape.role ? { role: shape.role.name } : {}),
    boundCidrs: chooseCidrs(parent, orphan, shape.role),
    entityId,
    ...(id === '' ? {} : { id }),
  })
  const unknown = await unknownPolicies(context, store, policies)
  const auth = authResponse(entry, token, context.nowMs, await inherited(context, store, entry))
  return { auth, warnings: [...ttl.warnings, ...unknown] }
}

/** An answer does not grow with what its caller has asked for. */
const warnedMax = 16

/** A name that was misspelt makes a token that can do nothing, and says so nowhere else. It may be written later, so that it is no mistake. */
async function unknownPolicies(context: HandlerContext, store: AuthServices['policies'], names: readonly string[]): Promise<string[]> {
  const { view } = scopeOf(context)
  const found: string[] = []
  for (const name of names) {
    if (found.length === warnedMax) break
    if ((await store.get(view, name, context.mount.namespaceId)) === null) found.push(`Policy ${JSON.stringify(name)} does not exist`)
  }
  return found
}

/**
 * Whether a token hands on policies of its own: where a rule asks for short tokens, the short child of a long one would be a way round it. Those that root,
 * sudo or a role gives are not its own.
 */
function givesOwn(context: HandlerContext, parent: TokenEntry, sudo: boolean, role: TokenRole | null): boolean {
  if (sudo || parent.policies.includes('root')) return false
  return role === null || !namesPolicies(role) || (!saysAllowed(role) && (optional<string[]>(context, 'policies') ?? []).length === 0)
}

/** With the entity come its policies and its groups', which nobody has given to the child. */
const bringsEntity = (parent: TokenEntry, entityId: string): boolean => entityId !== '' && entityId === parent.entityId

/** From where its parent can be used, or that one's bounds would be shed with its first child. A role says so itself: it may give what its caller has not. */
function chooseCidrs(parent: TokenEntry, orphan: boolean, role: TokenRole | null): readonly string[] {
  if (role !== null) return role.boundCidrs
  return orphan ? [] : parent.boundCidrs
}

/** Where it is found among the leases: by its role's suffix, all of a kind can be revoked at once. */
const pathOf = ({ mount, path }: HandlerContext, role: TokenRole | null): string =>
  `auth/${mount.path}${path}${role === null || role.pathSuffix === '' ? '' : `/${role.pathSuffix}`}`

/** The entity of the alias that was asked for, made where there is none; null: none was. */
async function aliasedEntity({ identity }: AuthServices, context: HandlerContext, role: TokenRole | null): Promise<string | null> {
  const name = text(context, 'entity_alias').toLowerCase()
  if (name === '') return null
  if (role === null) throw new HoldfastError('ERR_BAD_REQUEST', "'entity_alias' is only allowed in combination with token role")
  if (!globMatches(role.allowedEntityAliases ?? [], name)) throw new HoldfastError('ERR_BAD_REQUEST', "invalid 'entity_alias' value")
  const { accessor: mountAccessor, type: mountType, local, namespaceId } = context.mount
  return (await identity.login(transactionOf(context), { name, mountAccessor, mountType, local }, namespaceId)).entityId
}

/** Before anything is capped or taken from a role: what was asked for in vain is said so. */
function checkBatch(context: HandlerContext, policies: readonly string[]): void {
  for (const name of ['explicit_max_ttl', 'num_uses', 'period']) {
    if ((optional<number>(context, name) ?? 0) !== 0)
      throw new HoldfastError('ERR_BAD_REQUEST', `batch tokens cannot have ${JSON.stringify(name)} set`)
  }
  if (policies.includes('root')) throw new HoldfastError('ERR_BAD_REQUEST', 'batch tokens cannot be root tokens')
}

function chooseType(asked: string, role: TokenRole | null): 'service' | 'batch' {
  const wanted = role?.tokenType === 'service' || role?.tokenType === 'batch' ? role.tokenType : asked || (role?.tokenType ?? '')
  switch (wanted) {
    case '':
    case 'service':
    case 'default':
    case 'default-service':
      return 'service'
    case 'batch':
    case 'default-batch':
      return 'batch'
    default:
      throw new HoldfastError('ERR_BAD_REQUEST', "invalid 'token_type' value", { hint: "'service' or 'batch'" })
  }
}

/** A child may have what its parent has and no more, `default` too, unless the caller is root, has sudo here, or a role says which policies it gets. */
function choosePolicies(context: HandlerContext, parent: TokenEntry, sudo: boolean, role: TokenRole | null): string[] {
  const asked = optional<string[]>(context, 'policies')
  const refusesDefault = optional<boolean>(context, 'no_default_policy') === true
  const withoutDefault = refusesDefault || role?.noDefaultPolicy === true
  if (asked && !asked.every(isAssignablePolicy)) throw unassignable()
  if (role && namesPolicies(role)) {
    const own = isForeign(context, parent) || parent.policies.includes('root') ? [] : parent.policies
    const unasked = policiesUnasked(role, withoutDefault ? stripDefault(own) : own)
    const policies = rolePolicies(asked?.length ? asked : unasked, role, withoutDefault)
    return refusesDefault ? stripDefault(policies) : policies
  }
  if (role && sanitizePolicyNames(asked ?? [], false).includes('root')) throw noRootByRole()
  if (isForeign(context, parent)) return foreignPolicies(asked ?? [], parent, sudo, withoutDefault)
  const isRoot = parent.policies.includes('root')
  // A role gives no root token, not even to root.
  if (role && isRoot && (asked ?? []).length === 0) return sanitizePolicyNames([], !withoutDefault)
  const wanted = sanitizePolicyNames(asked?.length ? asked : parent.policies, false)
  if (!asked?.length) return withoutDefault ? stripDefault(wanted) : wanted
  if (wanted.includes('root') && !isRoot) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'root tokens may not be created without parent token being root')
  }
  const free = isRoot || sudo
  if (!free && !wanted.every((name) => parent.policies.includes(name))) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'child policies must be subset of parent')
  }
  if (withoutDefault) return stripDefault(wanted)
  return sanitizePolicyNames(wanted, free || parent.policies.includes('default'))
}

const stripDefault = (names: readonly string[]): string[] => names.filter((name) => name !== 'default')

/** A token of a namespace above makes one here. */
const isForeign = (context: HandlerContext, parent: TokenEntry): boolean => parent.namespaceId !== context.mount.namespaceId

/** Its own policies are of its own namespace: here the same names stand for others, so it has none to hand on; `default`, which each namespace has, as it has it itself. */
function foreignPolicies(asked: readonly string[], parent: TokenEntry, sudo: boolean, withoutDefault: boolean): string[] {
  const givesDefault = sudo || parent.policies.includes('default')
  const wanted = sanitizePolicyNames(asked, givesDefault && !withoutDefault)
  if (wanted.includes('root')) throw new HoldfastError('ERR_BAD_REQUEST', 'root tokens may not be created from a non-root namespace')
  if (!sudo && wanted.some((name) => name !== 'default' || !givesDefault)) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'child policies must be subset of parent', {
      hint: 'the policies of a token of another namespace are not those of this one: sudo is needed to give any',
    })
  }
  return withoutDefault ? stripDefault(wanted) : wanted
}

/**
 * A role that is silent about policies gives none that the caller could not have given: it is there for a period, a suffix, an address. Were all of them its
 * to give, whoever may make tokens by it would be anybody.
 */
const namesPolicies = (role: TokenRole): boolean =>
  [role.allowedPolicies, role.allowedPoliciesGlob, role.disallowedPolicies, role.disallowedPoliciesGlob].some(({ length }) => length > 0)

const noRootByRole = (): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', 'root tokens may not be created from a role')

const saysAllowed = (role: TokenRole): boolean => role.allowedPolicies.length > 0 || role.allowedPoliciesGlob.length > 0

/** A role that only says what it does not give narrows what its caller has. */
const policiesUnasked = (role: TokenRole, own: readonly string[]): readonly string[] => (saysAllowed(role) ? role.allowedPolicies : own)

/** `default` comes of itself, and can be asked for, unless it is not wanted (`withoutDefault`): then it is a name like any other, for the role to allow. */
function rolePolicies(asked: readonly string[], role: TokenRole, withoutDefault: boolean): string[] {
  const wanted = sanitizePolicyNames(asked, false)
  const allowed = new Set(role.allowedPolicies)
  const isAllowed = (name: string): boolean => {
    if (role.disallowedPolicies.includes(name) || globMatches(role.disallowedPoliciesGlob, name)) return false
    if (allowed.size === 0 && role.allowedPoliciesGlob.length === 0) return name !== 'root'
    return (name === 'default' && !withoutDefault) || allowed.has(name) || globMatches(role.allowedPoliciesGlob, name)
  }
  if (wanted.includes('root')) throw noRootByRole()
  if (!wanted.every(isAssignablePolicy)) throw unassignable()
  const refused = wanted.filter((name) => !isAllowed(name))
  if (refused.length > 0) {
    throw new HoldfastError('ERR_BAD_REQUEST', `token policies (${JSON.stringify(wanted)}) must be subset of the role's allowed policies`)
  }
  return sanitizePolicyNames(wanted, !withoutDefault && isAllowed('default'))
}

const globMatches = (patterns: readonly string[], name: string): boolean => patterns.some((pattern) => matchesGlob(pattern, name))

/** Each `*` of a pattern matches any text, none too. Part by part from the left: no pattern makes it slow. */
function matchesGlob(pattern: string, name: string): boolean {
  const [first = '', ...parts] = pattern.split('*')
  const last = parts.pop()
  if (last === undefined) return name === pattern
  if (!name.startsWith(first)) return false
  let at = first.length
  for (const part of parts) {
    const found = name.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return name.length - at >= last.length && name.endsWith(last)
}

function chooseTtl(context: HandlerContext, parent: TokenEntry, sudo: boolean, role: TokenRole | null, policies: readonly string[]) {
  const seconds = (name: string): number => {
    const value = optional<number>(context, name) ?? 0
    if (value < 0) throw new HoldfastError('ERR_BAD_REQUEST', `${name} must be positive`)
    return value
  }
  const period = seconds('period')
  if (period > 0 && !sudo) throw new HoldfastError('ERR_BAD_REQUEST', 'root or sudo privileges required to create periodic token')
  const lease = text(context, 'lease')
  const ttl = seconds('ttl') || (lease === '' ? 0 : parseDurationSeconds(lease, { what: 'lease' }))
  const request = {
    ttlSeconds: ttl,
    periodSeconds: shorter(period, role?.periodSeconds ?? 0),
    explicitMaxTtlSeconds: shorter(seconds('explicit_max_ttl'), role?.explicitMaxTtlSeconds ?? 0),
  }
  const isRoot = policies.includes('root') && context.mount.namespaceId === 'root'
  const endless = isRoot && request.ttlSeconds === 0 && request.periodSeconds === 0 && request.explicitMaxTtlSeconds === 0
  if (endless) {
    // An expiring root token must not make itself immortal through a child.
    if (parent.expireTimeMs !== null) {
      throw new HoldfastError('ERR_BAD_REQUEST', 'expiring root tokens cannot create non-expiring root tokens')
    }
    return { ttlSeconds: 0, periodSeconds: 0, explicitMaxTtlSeconds: 0, warnings: [] }
  }
  return grantTtl(request, ttlLimits(context.mount))
}

/** As `shorter`; a negative number of uses stays what it is, to be refused. */
const fewer = (asked: number, role: number): number => (asked < 0 ? asked : shorter(asked, role))
