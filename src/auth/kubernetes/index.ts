/** The Kubernetes method: a pod shows the token of its service account, and the API server says whose it is. */
import { createHash } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import { aside } from '#core/aside.ts'
import type { LoginRenewal, TokenParams } from '#core/login-types.ts'
import type { EngineDef, HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { allowedFrom } from '#tokens/cidr.ts'
import { field, path, text, writes } from '../fields.ts'
import { globMatches } from '../glob.ts'
import type { AuthServices } from '../index.ts'
import { Outside } from '../outside.ts'
import { configOf, configPath, type KubernetesConfig } from './config.ts'
import { checkSignature, podIdentity, Refused, review, unverified, type ServiceAccount } from './review.ts'
import { rolePaths, roleTable, type KubernetesRole } from './roles.ts'

/** A node's clock and the API server's differ; the server decides, this only saves asking it. */
const skewMs = 60_000

export function createKubernetes({ clock }: AuthServices): EngineDef {
  const outside = new Outside({ clock, what: 'logins by Kubernetes' })
  const paths: readonly PathDef[] = [
    path(
      'login',
      "Log in with a service account's token.",
      {
        unauthenticated: true,
        fields: { role: field('string', 'The role.'), jwt: field('string', 'The token.', { sensitive: true }) },
      },
      {
        update: {
          ...writes('Log in', (context) => explained(outside, context)),
          login: { aliasOf: () => null, roleOf: (context) => text(context, 'role').toLowerCase() || null },
        },
      },
    ),
    configPath(),
    ...rolePaths(),
  ]
  return { type: 'kubernetes', kind: 'auth', description: 'service accounts of a Kubernetes cluster', paths: () => paths, renewLogin }
}

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)
const denied = (why: string): Refused => new Refused(why)

/** Operators learn why, strangers do not. */
async function explained(outside: Outside, context: HandlerContext): Promise<LogicalResponse> {
  try {
    return await login(outside, context)
  } catch (error) {
    if (error instanceof Refused) context.log.info({ mount: context.mount.path, why: error.why }, 'a login by Kubernetes was refused')
    throw error
  }
}

async function login(outside: Outside, context: HandlerContext): Promise<LogicalResponse> {
  const name = text(context, 'role').toLowerCase()
  if (name === '') throw bad('missing role')
  const token = text(context, 'jwt').trim()
  if (token === '') throw bad('missing jwt')
  const role = await roleTable.read(context.storage, name)
  if (role === null) throw bad(`invalid role name ${JSON.stringify(name.slice(0, 128))}`)
  if (!allowedFrom(role.token.boundCidrs, context.request.clientAddress)) throw denied('not from this address')
  const config = await configOf(context.storage)
  const account = await verified(outside, context, config, role, token)
  if (!isBound(role.accountNamespaces, account.namespace)) throw denied('namespace not authorized')
  if (!isBound(role.accountNames, account.name)) throw denied('service account name not authorized')
  return letIn(name, role, account)
}

/** Cheap refusals first: what has expired, or says so itself, costs the API server nothing. */
async function verified(
  outside: Outside,
  context: HandlerContext,
  config: KubernetesConfig,
  role: KubernetesRole,
  token: string,
): Promise<ServiceAccount> {
  const claims = unverified(token)
  const nowSeconds = context.nowMs / 1_000
  if (claims.exp !== undefined && nowSeconds - skewMs / 1_000 > claims.exp) throw denied('the token has expired')
  if (claims.nbf !== undefined && nowSeconds + skewMs / 1_000 < claims.nbf) throw denied('the token is not yet valid')
  if (!config.disableIssValidation && claims.iss !== (config.issuer || 'kubernetes/serviceaccount'))
    throw denied('invalid issuer (iss) claim')
  const stamp = createHash('sha256')
    .update(JSON.stringify([config, role.audience, token]))
    .digest('hex')
  return aside(context, `review ${stamp}`, async () => {
    await checkSignature(config, token)
    return review(outside, config, await podIdentity(config, context.mount.namespaceId), token, role.audience)
  })
}

const isBound = (bound: readonly string[], name: string): boolean => bound.some((glob) => globMatches(glob, name))

function letIn(name: string, role: KubernetesRole, { name: account, namespace, uid }: ServiceAccount): LogicalResponse {
  const metadata = {
    role: name,
    service_account_name: account,
    service_account_namespace: namespace,
    service_account_secret_name: '',
    service_account_uid: uid,
  }
  return {
    login: {
      // By uid, another account that is later made by the same name is another entity.
      alias: { name: role.aliasNameSource === 'serviceaccount_uid' ? uid : `${namespace}/${account}`, metadata },
      displayName: `${namespace}-${account}`,
      metadata,
      token: role.token,
      internal: { role: name },
    },
  }
}

async function renewLogin({ storage, internal }: LoginRenewal): Promise<TokenParams> {
  const name = internal['role'] ?? ''
  const role = await roleTable.read(storage, name)
  if (role === null) throw bad(`role ${JSON.stringify(name)} does not exist during renewal`)
  return role.token
}
