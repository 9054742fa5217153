/** Roles as a whole. Single fields have routes of their own: role-fields.ts. */
import { HoldfastError } from '#base/errors.ts'
import { formatDuration } from '#base/duration.ts'
import { scheduleSweep } from '#core/sweep.ts'
import { transactionOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, MountEntry, PathDef } from '#core/types.ts'
import { parseCidr } from '#tokens/cidr.ts'
import { field, inPath, listNames, maxTtlSeconds, optional, pageFields, path, reads, text, writes } from '../fields.ts'
import { describeTokenParams, noTokenParams, readTokenParams, tokenFields, type OldNames } from '../token-params.ts'
import { deleteRole, newRole, orphanedPrefixes, readRole, writeRole, type Role } from './store.ts'

export const oldNames: OldNames = { token_policies: 'policies', token_period: 'period' }
export const nameField = { role_name: inPath('The role; letter case does not matter.') }

export const roleFields = {
  ...nameField,
  bind_secret_id: field('bool', 'Whether a secret id is needed to log in; true unless said otherwise.'),
  secret_id_bound_cidrs: field('list', 'Addresses and networks from which it can log in.'),
  bound_cidr_list: field('list', 'Use secret_id_bound_cidrs.', { deprecated: true }),
  secret_id_num_uses: field('int', 'How often each of its secret ids can be used; 0: without limit.'),
  secret_id_ttl: field('duration', 'How long its secret ids are good; 0: without end.'),
  role_id: field('string', 'Its role id; a UUID unless said otherwise.'),
  local_secret_ids: field('bool', 'Kept and shown: there is one cluster. Only when it is made.'),
  policies: field('list', 'Use token_policies.', { deprecated: true }),
  period: field('duration', 'Use token_period.', { deprecated: true }),
  ...tokenFields,
}

export const roleName = (context: HandlerContext): string => text(context, 'role_name').toLowerCase()

/** The role that the path names, for its secret ids. @throws ERR_BAD_REQUEST when there is none. */
export async function existingRole(context: HandlerContext): Promise<Role> {
  const role = await readRole(context.storage, roleName(context))
  if (role === null) {
    throw new HoldfastError('ERR_BAD_REQUEST', `role ${JSON.stringify(roleName(context).slice(0, 128))} does not exist`)
  }
  return role
}

export function rolePaths(): PathDef[] {
  return [
    path('role', 'Names of the roles.', { fields: pageFields }, { list: reads('List', (context) => listNames(context, 'roles')) }),
    path(
      'role/:role_name',
      'A role: what may log in as it, and what its tokens get.',
      { fields: roleFields, exists: async (context) => (await readRole(context.storage, roleName(context))) !== null },
      {
        create: writes('Create', saveRole),
        update: writes('Change', saveRole),
        read: reads('Read', describeRole),
        delete: writes('Delete, with its secret ids', removeRole),
      },
      'Tokens that are out stay good, and can no longer be renewed, when their role is deleted.',
    ),
  ]
}

async function saveRole(context: HandlerContext): Promise<LogicalResponse | null> {
  const name = roleName(context)
  const present = await readRole(context.storage, name)
  const role = readRoleFields(context, present ?? newRole(context.random, noTokenParams), present === null)
  await writeRole(context.storage, name, role, present)
  return warn(role, context.mount)
}

/** What the request says of `role`. @throws ERR_BAD_REQUEST. */
export function readRoleFields(context: HandlerContext, role: Role, isNew: boolean): Role {
  const local = optional<boolean>(context, 'local_secret_ids')
  if (!isNew && local !== undefined && local !== role.localSecretIds) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'local_secret_ids can only be modified during role creation')
  }
  const roleId = optional<string>(context, 'role_id') ?? role.roleId
  if (roleId === '') throw new HoldfastError('ERR_BAD_REQUEST', 'invalid role_id supplied, or failed to generate a role_id')
  const cidrs = optional<string[]>(context, 'secret_id_bound_cidrs') ?? optional<string[]>(context, 'bound_cidr_list')
  cidrs?.forEach(parseCidr)
  const token = readTokenParams(context, role.token, oldNames)
  const max = maxTtlSeconds(context.mount)
  if (token.periodSeconds > max) {
    throw new HoldfastError(
      'ERR_BAD_REQUEST',
      `period of "${formatDuration(token.periodSeconds)}" is greater than the backend's maximum lease TTL of "${formatDuration(max)}"`,
    )
  }
  return {
    ...role,
    roleId: roleId.trim(),
    bindSecretId: optional<boolean>(context, 'bind_secret_id') ?? role.bindSecretId,
    secretIdBoundCidrs: cidrs ?? role.secretIdBoundCidrs,
    secretIdNumUses: notNegative(context, 'secret_id_num_uses') ?? role.secretIdNumUses,
    secretIdTtlSeconds: notNegative(context, 'secret_id_ttl') ?? role.secretIdTtlSeconds,
    localSecretIds: local ?? role.localSecretIds,
    token,
  }
}

/** @throws ERR_BAD_REQUEST. */
export function notNegative(context: HandlerContext, name: string): number | undefined {
  const value = optional<number>(context, name)
  if (value !== undefined && value < 0) throw new HoldfastError('ERR_BAD_REQUEST', `${name} cannot be negative`)
  return value
}

function warn({ token }: Role, mount: MountEntry): LogicalResponse | null {
  if (token.maxTtlSeconds <= maxTtlSeconds(mount)) return null
  const warning = "token_max_ttl is greater than the backend mount's maximum TTL value; issued tokens' max TTL value will be truncated"
  return { warnings: [warning] }
}

async function describeRole(context: HandlerContext): Promise<LogicalResponse | null> {
  const role = await readRole(context.storage, roleName(context))
  if (role === null) return null
  return {
    data: {
      bind_secret_id: role.bindSecretId,
      local_secret_ids: role.localSecretIds,
      secret_id_bound_cidrs: orNull(role.secretIdBoundCidrs),
      secret_id_num_uses: role.secretIdNumUses,
      secret_id_ttl: role.secretIdTtlSeconds,
      ...describeTokenParams(role.token),
    },
  }
}

/** As the peers answer a list that was never set. */
export const orNull = <T>(list: readonly T[]): readonly T[] | null => (list.length === 0 ? null : list)

/** The secret ids can't be reached any more from here on; deleting them is the sweeper's. */
async function removeRole(context: HandlerContext): Promise<null> {
  const name = roleName(context)
  const role = await readRole(context.storage, name)
  if (role === null) return null
  await deleteRole(context.storage, name, role)
  for (const prefix of orphanedPrefixes(role)) scheduleSweep(transactionOf(context), context.section, prefix)
  return null
}
