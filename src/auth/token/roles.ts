/** Token roles: what tokens made through `create/ROLE` get, whatever the caller has. */
import { HoldfastError } from '#base/errors.ts'
import type { HandlerContext, MountStorage, PathDef } from '#core/types.ts'
import { isAssignablePolicy } from '#policies/names.ts'
import { parseCidr } from '#tokens/cidr.ts'
import { field, optional, text, unassignable } from './fields.ts'

const roleTypes = ['default-service', 'default-batch', 'service', 'batch'] as const
type TokenRoleType = (typeof roleTypes)[number]

export interface TokenRole {
  readonly name: string
  readonly allowedPolicies: readonly string[]
  readonly disallowedPolicies: readonly string[]
  readonly allowedPoliciesGlob: readonly string[]
  readonly disallowedPoliciesGlob: readonly string[]
  readonly orphan: boolean
  readonly periodSeconds: number
  readonly explicitMaxTtlSeconds: number
  readonly pathSuffix: string
  readonly renewable: boolean
  readonly boundCidrs: readonly string[]
  readonly noDefaultPolicy: boolean
  /** 0: without limit; absent in roles of before this was kept. */
  readonly numUses?: number
  /** Lower-case; absent in roles of before this was kept. */
  readonly allowedEntityAliases?: readonly string[]
  /** Absent in roles of before this was kept: 'default-service'. */
  readonly tokenType?: TokenRoleType
}

const roleName = (context: HandlerContext): string => text(context, 'role_name').toLowerCase()
const storageName = (name: string): string => `roles/${name}`

/** null when there is no such role. */
export async function readRole(storage: MountStorage, name: string): Promise<TokenRole | null> {
  return name === '' ? null : storage.getJson<TokenRole>(storageName(name.toLowerCase()))
}

const fields = {
  role_name: field('string', 'Its name.', { in: 'path' }),
  allowed_policies: field(
    'list',
    "Policies that its tokens may have, whatever the caller has. With no list of policies at all: those of the caller; with disallowed ones alone: all others but root, and where none are asked for the caller's own.",
  ),
  disallowed_policies: field('list', 'Policies that they may not have.'),
  allowed_policies_glob: field('list', 'The same, with * for any text.'),
  disallowed_policies_glob: field('list', 'The same, with * for any text.'),
  orphan: field('bool', 'Its tokens have no parent.'),
  token_period: field('duration', 'They can be renewed for this long without end.'),
  period: field('duration', 'The same, by its old name.', { deprecated: true }),
  token_explicit_max_ttl: field('duration', 'How long they live at most.'),
  explicit_max_ttl: field('duration', 'The same, by its old name.', { deprecated: true }),
  path_suffix: field('string', "The last part of its tokens' path, by which they can be revoked together."),
  renewable: field('bool', 'Whether they can be renewed.'),
  token_bound_cidrs: field('list', 'From where they can be used.'),
  bound_cidrs: field('list', 'The same, by its old name.', { deprecated: true }),
  token_no_default_policy: field(
    'bool',
    'They do not get the default policy, unless allowed_policies names it, or a request does and the lists allow it.',
  ),
  token_type: field('string', "'service' or 'batch'; 'default-service' or 'default-batch': what a request does not say otherwise."),
  token_num_uses: field('int', 'How often they can be used at most; 0: without limit.'),
  allowed_entity_aliases: field('list', 'Names at this mount whose entity its tokens can be made for; * in one matches any text.'),
}

export function rolePaths(): PathDef[] {
  return [
    {
      pattern: 'roles',
      fields: {},
      help: { synopsis: 'Names of the roles.', description: 'Names of the roles.' },
      operations: {
        list: { summary: 'List', writes: false, handler: async ({ storage }) => ({ data: { keys: await storage.list('roles') } }) },
      },
    },
    {
      pattern: 'roles/:role_name',
      fields,
      help: { synopsis: 'One role.', description: 'What tokens made through it get.' },
      exists: async ({ storage, fields: { role_name: name } }) => (await readRole(storage, String(name as string))) !== null,
      operations: {
        read: { summary: 'Read', writes: false, handler: async (context) => describe(await readRole(context.storage, roleName(context))) },
        update: { summary: 'Write', writes: true, handler: writeRole },
        delete: {
          summary: 'Delete',
          writes: true,
          handler: async (context) => {
            context.storage.delete(storageName(roleName(context)))
            return null
          },
        },
      },
    },
  ]
}

async function writeRole(context: HandlerContext): Promise<null> {
  const name = roleName(context)
  const present = await readRole(context.storage, name)
  const names = (key: string): string[] | undefined => optional<string[]>(context, key)?.map((item) => item.toLowerCase())
  // A negative period would be a token that never ends.
  const positive = (...keys: readonly string[]): number | undefined => {
    const key = keys.find((one) => optional<number>(context, one) !== undefined)
    const value = key === undefined ? undefined : optional<number>(context, key)
    if (value !== undefined && value < 0) throw new HoldfastError('ERR_BAD_REQUEST', `${key} must be positive`)
    return value
  }
  const suffix = text(context, 'path_suffix')
  if (suffix !== '' && !/^\w[\w.-]*\w$/.test(suffix)) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'given role path suffix contains invalid characters', {
      hint: 'letters, digits, _, and between them . and -',
    })
  }
  if (![...(names('allowed_policies') ?? []), ...(names('allowed_policies_glob') ?? [])].every(isAssignablePolicy)) throw unassignable()
  const boundCidrs = optional<string[]>(context, 'token_bound_cidrs') ?? optional<string[]>(context, 'bound_cidrs')
  boundCidrs?.forEach(parseCidr)
  const role: TokenRole = {
    name,
    allowedPolicies: names('allowed_policies') ?? present?.allowedPolicies ?? [],
    disallowedPolicies: names('disallowed_policies') ?? present?.disallowedPolicies ?? [],
    allowedPoliciesGlob: names('allowed_policies_glob') ?? present?.allowedPoliciesGlob ?? [],
    disallowedPoliciesGlob: names('disallowed_policies_glob') ?? present?.disallowedPoliciesGlob ?? [],
    orphan: optional<boolean>(context, 'orphan') ?? present?.orphan ?? false,
    periodSeconds: positive('token_period', 'period') ?? present?.periodSeconds ?? 0,
    explicitMaxTtlSeconds: positive('token_explicit_max_ttl', 'explicit_max_ttl') ?? present?.explicitMaxTtlSeconds ?? 0,
    pathSuffix: optional<string>(context, 'path_suffix') ?? present?.pathSuffix ?? '',
    renewable: optional<boolean>(context, 'renewable') ?? present?.renewable ?? true,
    boundCidrs: boundCidrs ?? present?.boundCidrs ?? [],
    noDefaultPolicy: optional<boolean>(context, 'token_no_default_policy') ?? present?.noDefaultPolicy ?? false,
    numUses: positive('token_num_uses') ?? present?.numUses ?? 0,
    allowedEntityAliases: names('allowed_entity_aliases') ?? present?.allowedEntityAliases ?? [],
    tokenType: readType(text(context, 'token_type')) ?? present?.tokenType ?? 'default-service',
  }
  if (role.tokenType === 'batch') checkBatchRole(role)
  context.storage.putJson(storageName(name), role)
  return null
}

function readType(type: string): TokenRoleType | undefined {
  if (type === '') return undefined
  if (type === 'default') return 'default-service'
  const found = roleTypes.find((known) => known === type)
  if (found) return found
  throw new HoldfastError('ERR_BAD_REQUEST', `invalid 'token_type' value ${JSON.stringify(type.slice(0, 32))}`)
}

/** Its tokens could be nothing of the kind. */
function checkBatchRole({ orphan, periodSeconds, renewable, explicitMaxTtlSeconds, numUses = 0 }: TokenRole): void {
  const refuse = (what: string): never => {
    throw new HoldfastError('ERR_BAD_REQUEST', `'token_type' cannot be 'batch' when role is set to generate ${what}`)
  }
  if (!orphan) refuse('non-orphan tokens')
  if (periodSeconds > 0) refuse('periodic tokens')
  if (renewable) refuse('renewable tokens')
  if (explicitMaxTtlSeconds > 0) refuse('tokens with an explicit max TTL')
  if (numUses > 0) refuse('tokens with limited use count')
}

function describe(role: TokenRole | null) {
  return (
    role && {
      data: {
        name: role.name,
        allowed_policies: role.allowedPolicies,
        disallowed_policies: role.disallowedPolicies,
        allowed_policies_glob: role.allowedPoliciesGlob,
        disallowed_policies_glob: role.disallowedPoliciesGlob,
        orphan: role.orphan,
        token_period: role.periodSeconds,
        period: role.periodSeconds,
        token_explicit_max_ttl: role.explicitMaxTtlSeconds,
        explicit_max_ttl: role.explicitMaxTtlSeconds,
        path_suffix: role.pathSuffix,
        renewable: role.renewable,
        token_bound_cidrs: role.boundCidrs,
        token_no_default_policy: role.noDefaultPolicy,
        token_num_uses: role.numUses ?? 0,
        ...(role.allowedEntityAliases?.length ? { allowed_entity_aliases: role.allowedEntityAliases } : {}),
        token_type: role.tokenType ?? 'default-service',
      },
    }
  )
}
