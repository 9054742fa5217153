/** Roles: which service accounts are let in, and what their tokens get. */
import { HoldfastError } from '#base/errors.ts'
import type { TokenParams } from '#core/login-types.ts'
import type { HandlerContext, PathDef } from '#core/types.ts'
import { recordPaths, Records } from '../accounts.ts'
import { field, optional } from '../fields.ts'
import { describeTokenParams, noTokenParams, readTokenParams, tokenFields, type OldNames } from '../token-params.ts'

export interface KubernetesRole {
  readonly version: number
  readonly accountNames: readonly string[]
  readonly accountNamespaces: readonly string[]
  /** '': whatever audience the API server takes. */
  readonly audience: string
  readonly aliasNameSource: 'serviceaccount_uid' | 'serviceaccount_name'
  readonly token: TokenParams
}

export const roleTable = new Records<KubernetesRole>('a role', 'roles', 1)

const roleFields = {
  bound_service_account_names: field('list', 'Names of service accounts; * alone is any, and elsewhere stands for any text.'),
  bound_service_account_namespaces: field('list', 'Their namespaces; * as above.'),
  bound_service_account_namespace_selector: field('string', 'Not built in: name the namespaces.', { deprecated: true }),
  audience: field('string', 'The audience that a token must be for.'),
  alias_name_source: field('string', 'What identity knows it by.', { enum: ['serviceaccount_uid', 'serviceaccount_name'] }),
  policies: field('list', 'Use token_policies.', { deprecated: true }),
  ttl: field('duration', 'Use token_ttl.', { deprecated: true }),
  max_ttl: field('duration', 'Use token_max_ttl.', { deprecated: true }),
  period: field('duration', 'Use token_period.', { deprecated: true }),
  bound_cidrs: field('list', 'Use token_bound_cidrs.', { deprecated: true }),
  ...tokenFields,
}
const old: OldNames = {
  token_policies: 'policies',
  token_ttl: 'ttl',
  token_max_ttl: 'max_ttl',
  token_period: 'period',
  token_bound_cidrs: 'bound_cidrs',
}

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

function change(context: HandlerContext, present: KubernetesRole | null): Omit<KubernetesRole, 'version'> {
  const role: Omit<KubernetesRole, 'version'> = {
    accountNames: optional<string[]>(context, 'bound_service_account_names') ?? present?.accountNames ?? [],
    accountNamespaces: optional<string[]>(context, 'bound_service_account_namespaces') ?? present?.accountNamespaces ?? [],
    audience: optional<string>(context, 'audience') ?? present?.audience ?? '',
    aliasNameSource:
      optional<KubernetesRole['aliasNameSource']>(context, 'alias_name_source') ?? present?.aliasNameSource ?? 'serviceaccount_uid',
    token: readTokenParams(context, present?.token ?? noTokenParams, old),
  }
  if (optional<string>(context, 'bound_service_account_namespace_selector')) {
    throw bad('bound_service_account_namespace_selector is not built in: expected bound_service_account_namespaces')
  }
  if (role.accountNames.length === 0) throw bad('"bound_service_account_names" can not be empty')
  if (role.accountNamespaces.length === 0) throw bad('"bound_service_account_namespaces" can not be empty')
  for (const list of [role.accountNames, role.accountNamespaces])
    if (list.length > 1 && list.includes('*')) throw bad('can not mix "*" with values')
  return role
}

const describe = (role: KubernetesRole): Record<string, unknown> => ({
  alias_name_source: role.aliasNameSource,
  audience: role.audience,
  bound_service_account_names: role.accountNames,
  bound_service_account_namespaces: role.accountNamespaces,
  ...describeTokenParams(role.token),
})

/** Of a token without an audience any pod's other service could make use: said when the role is written. */
const noAudience = 'Role does not have an audience configured: tokens for any audience that the API server takes are accepted'

export const rolePaths = (): PathDef[] =>
  recordPaths({
    records: roleTable,
    route: 'role',
    parameter: 'name',
    synopsis: 'A role: which service accounts are let in, and what their tokens get.',
    fields: roleFields,
    change,
    describe,
    warnings: ({ audience }) => (audience === '' ? [noAudience] : []),
  })
