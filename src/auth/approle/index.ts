/** The AppRole method: a machine logs in with a role id, which says what it is, and a secret id, which it alone was given. */
import { HoldfastError } from '#base/errors.ts'
import type { LoginRenewal, TokenParams } from '#core/login-types.ts'
import type { EngineDef, HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { allowedFrom, withinCidrs } from '#tokens/cidr.ts'
import { field, path, text, writes } from '../fields.ts'
import { roleFieldPaths } from './role-fields.ts'
import { rolePaths } from './roles.ts'
import { secretIdPaths } from './secret-ids.ts'
import { findRole, findSecretId, hasExpired, makeSalt, readRole, tidySecretIds, useSecretId, type Role, type SecretId } from './store.ts'

const tidyEveryMs = 60_000

const roleIdOf = (context: HandlerContext): string => text(context, 'role_id').trim()

export function createApprole(): EngineDef {
  const paths: readonly PathDef[] = [
    path(
      'login',
      'Log in with a role id and a secret id.',
      {
        unauthenticated: true,
        fields: { role_id: field('string', 'Which role.'), secret_id: field('string', 'A secret id of it.', { sensitive: true }) },
      },
      { update: { ...writes('Log in', login), login: { aliasOf: roleIdOf, roleOf: roleNameOf, lockout: true } } },
      'A secret id that is unknown, expired or used up is answered as a role id that is unknown.',
    ),
    ...rolePaths(),
    ...roleFieldPaths(),
    ...secretIdPaths(),
    path('tidy/secret-id', 'Delete secret ids that have expired; the leader does so by itself too.', {}, { update: writes('Tidy', tidy) }),
  ]
  return {
    type: 'approle',
    kind: 'auth',
    description: 'role ids and secret ids, for machines',
    paths: () => paths,
    renewLogin,
    onMount: async (storage, _mount, random) => makeSalt(storage, random),
    jobs: [{ name: 'tidy secret ids', everyMs: tidyEveryMs, run: async (storage, nowMs) => void (await tidySecretIds(storage, nowMs)) }],
  }
}

const roleNameOf = async (context: HandlerContext): Promise<string | null> =>
  (await findRole(context.storage, roleIdOf(context)))?.name ?? null

const wrong = (): HoldfastError => new HoldfastError('ERR_BAD_CREDENTIALS', 'invalid role or secret ID')

async function login(context: HandlerContext): Promise<LogicalResponse> {
  const roleId = roleIdOf(context)
  if (roleId === '') throw new HoldfastError('ERR_BAD_REQUEST', 'missing role_id')
  const found = await findRole(context.storage, roleId)
  if (found === null) throw wrong()
  const { name, role } = found
  const secret = role.bindSecretId ? await redeem(context, role) : null
  checkAddress(context, role.secretIdBoundCidrs, 'by CIDR restrictions on the role')
  const metadata = { ...secret?.metadata, role_name: name }
  const boundCidrs = secret !== null && secret.tokenCidrs.length > 0 ? secret.tokenCidrs : role.token.boundCidrs
  return {
    login: {
      alias: { name: role.roleId, metadata },
      displayName: '',
      metadata,
      token: { ...role.token, boundCidrs },
      internal: { role_name: name, role_uid: role.uid },
    },
  }
}

/** Checks the secret id and counts its use: kept only if all else of the login succeeds, in one entry with the token. */
async function redeem(context: HandlerContext, role: Role): Promise<SecretId> {
  const secretId = text(context, 'secret_id').trim()
  if (secretId === '') throw new HoldfastError('ERR_BAD_REQUEST', 'missing secret_id')
  const found = await findSecretId(context.storage, role, secretId)
  if (found === null || hasExpired(found, context.nowMs)) throw wrong()
  const { record } = found
  // The role may have been narrowed since.
  if (role.secretIdBoundCidrs.length > 0 && !withinCidrs(record.cidrs, role.secretIdBoundCidrs)) throw wrong()
  if (role.token.boundCidrs.length > 0 && !withinCidrs(record.tokenCidrs, role.token.boundCidrs)) throw wrong()
  checkAddress(context, record.cidrs, 'through CIDR restrictions on the secret ID')
  useSecretId(context.storage, role, found, context.nowMs)
  return record
}

function checkAddress({ request }: HandlerContext, cidrs: readonly string[], why: string): void {
  if (allowedFrom(cidrs, request.clientAddress)) return
  throw new HoldfastError('ERR_BAD_REQUEST', `source address ${JSON.stringify(request.clientAddress)} unauthorized ${why}`)
}

/** A role of the same name that was made since is another. */
async function renewLogin({ storage, internal }: LoginRenewal): Promise<TokenParams> {
  const name = internal.role_name ?? ''
  const role = await readRole(storage, name)
  if (role === null || role.uid !== internal.role_uid) {
    throw new HoldfastError('ERR_BAD_REQUEST', `role ${JSON.stringify(name)} does not exist during renewal`)
  }
  return role.token
}

async function tidy(context: HandlerContext): Promise<LogicalResponse> {
  await tidySecretIds(context.storage, context.nowMs)
  return {
    status: 202,
    warnings: ['Tidy operation successfully started. Any information from the operation will be printed to the server logs.'],
  }
}
