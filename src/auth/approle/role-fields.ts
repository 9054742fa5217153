/** A route for each field of a role: GET shows it, POST sets it, DELETE gives it its default back. */
import { HoldfastError } from '#base/errors.ts'
import type { FieldSchema, HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { field, optional, path, reads, text, writes } from '../fields.ts'
import { nameField, orNull, readRoleFields, roleFields, roleName } from './roles.ts'
import { readRole, writeRole, type Role } from './store.ts'

interface RoleField {
  readonly pattern: string
  /** Names in the body, the one that is shown first. */
  readonly names: readonly (keyof typeof roleFields)[]
  readonly show: (role: Role) => unknown
  readonly reset: (role: Role) => Role
  readonly warnings?: readonly string[]
}

const withToken = (role: Role, token: Partial<Role['token']>): Role => ({ ...role, token: { ...role.token, ...token } })
const oldCidrsWarning = 'The "bound_cidr_list" field is deprecated and will be removed. Please use "secret_id_bound_cidrs" instead.'

const table: readonly RoleField[] = [
  {
    pattern: 'policies',
    names: ['token_policies', 'policies'],
    show: ({ token }) => token.policies,
    reset: (role) => withToken(role, { policies: [] }),
  },
  {
    pattern: 'bound-cidr-list',
    names: ['bound_cidr_list'],
    show: ({ secretIdBoundCidrs }) => orNull(secretIdBoundCidrs),
    reset: (role) => ({ ...role, secretIdBoundCidrs: [] }),
    warnings: [oldCidrsWarning],
  },
  {
    pattern: 'secret-id-bound-cidrs',
    names: ['secret_id_bound_cidrs'],
    show: ({ secretIdBoundCidrs }) => orNull(secretIdBoundCidrs),
    reset: (role) => ({ ...role, secretIdBoundCidrs: [] }),
  },
  {
    pattern: 'token-bound-cidrs',
    names: ['token_bound_cidrs'],
    show: ({ token }) => orNull(token.boundCidrs),
    reset: (role) => withToken(role, { boundCidrs: [] }),
  },
  {
    pattern: 'bind-secret-id',
    names: ['bind_secret_id'],
    show: ({ bindSecretId }) => bindSecretId,
    reset: (role) => ({ ...role, bindSecretId: true }),
  },
  {
    pattern: 'secret-id-num-uses',
    names: ['secret_id_num_uses'],
    show: ({ secretIdNumUses }) => secretIdNumUses,
    reset: (role) => ({ ...role, secretIdNumUses: 0 }),
  },
  {
    pattern: 'secret-id-ttl',
    names: ['secret_id_ttl'],
    show: ({ secretIdTtlSeconds }) => secretIdTtlSeconds,
    reset: (role) => ({ ...role, secretIdTtlSeconds: 0 }),
  },
  {
    pattern: 'period',
    names: ['token_period', 'period'],
    show: ({ token }) => token.periodSeconds,
    reset: (role) => withToken(role, { periodSeconds: 0 }),
  },
  {
    pattern: 'token-num-uses',
    names: ['token_num_uses'],
    show: ({ token }) => token.numUses,
    reset: (role) => withToken(role, { numUses: 0 }),
  },
  {
    pattern: 'token-ttl',
    names: ['token_ttl'],
    show: ({ token }) => token.ttlSeconds,
    reset: (role) => withToken(role, { ttlSeconds: 0 }),
  },
  {
    pattern: 'token-max-ttl',
    names: ['token_max_ttl'],
    show: ({ token }) => token.maxTtlSeconds,
    reset: (role) => withToken(role, { maxTtlSeconds: 0 }),
  },
]

export function roleFieldPaths(): PathDef[] {
  return [...table.map(fieldPath), ...roleIdPaths()]
}

function fieldPath(entry: RoleField): PathDef {
  const fields: Record<string, FieldSchema> = { ...nameField }
  for (const name of entry.names) fields[name] = roleFields[name]
  return path(
    `role/:role_name/${entry.pattern}`,
    `A role's ${entry.names[0]}.`,
    { fields },
    {
      read: reads('Read', (context) => show(context, entry)),
      update: writes('Set', (context) => set(context, entry)),
      delete: writes('Set to its default', (context) => reset(context, entry)),
    },
  )
}

async function show(context: HandlerContext, { names, show: shown, warnings }: RoleField): Promise<LogicalResponse | null> {
  const role = await readRole(context.storage, roleName(context))
  return role && { data: { [names[0]!]: shown(role) }, ...(warnings ? { warnings } : {}) }
}

/** As the peers have it: a field of a role that does not exist is a path that does not. */
async function changing(context: HandlerContext): Promise<Role> {
  const role = await readRole(context.storage, roleName(context))
  if (role === null) throw new HoldfastError('ERR_NOT_FOUND', 'unsupported path', { hint: 'there is no such role' })
  return role
}

async function set(context: HandlerContext, { names }: RoleField): Promise<null> {
  const role = await changing(context)
  if (!names.some((name) => optional(context, name) !== undefined)) throw new HoldfastError('ERR_BAD_REQUEST', `missing ${names.at(-1)}`)
  await writeRole(context.storage, roleName(context), readRoleFields(context, role, false), role)
  return null
}

async function reset(context: HandlerContext, entry: RoleField): Promise<null> {
  const role = await readRole(context.storage, roleName(context))
  if (role !== null) await writeRole(context.storage, roleName(context), entry.reset(role), role)
  return null
}

function roleIdPaths(): PathDef[] {
  const shownOf = async (context: HandlerContext, data: (role: Role) => Record<string, unknown>): Promise<LogicalResponse | null> => {
    const role = await readRole(context.storage, roleName(context))
    return role && { data: data(role) }
  }
  const setRoleId = async (context: HandlerContext): Promise<null> => {
    const role = await changing(context)
    const roleId = text(context, 'role_id').trim()
    if (roleId === '') throw new HoldfastError('ERR_BAD_REQUEST', 'missing role_id')
    await writeRole(context.storage, roleName(context), { ...role, roleId }, role)
    return null
  }
  return [
    path(
      'role/:role_name/role-id',
      "A role's role id.",
      { fields: { ...nameField, role_id: field('string', 'What it is to be.') } },
      { read: reads('Read', (context) => shownOf(context, ({ roleId }) => ({ role_id: roleId }))), update: writes('Set', setRoleId) },
    ),
    path(
      'role/:role_name/local-secret-ids',
      'Whether its secret ids stay in this cluster: kept and shown, there is one.',
      { fields: nameField },
      { read: reads('Read', (context) => shownOf(context, ({ localSecretIds }) => ({ local_secret_ids: localSecretIds }))) },
    ),
  ]
}
