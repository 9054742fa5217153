/** The JWT method: a token that a provider signed says who it is. And OIDC: who logs in goes to the provider, which gives such a token. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import type { LoginRenewal, TokenParams } from '#core/login-types.ts'
import type { EngineDef, HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { allowedFrom } from '#tokens/cidr.ts'
import { field, path, reads, text, writes } from '../fields.ts'
import type { AuthServices } from '../index.ts'
import { Outside } from '../outside.ts'
import { checkAudience, checkBound, checkIssuer, checkTimes, groupsOf, metadataOf, userOf } from './claims.ts'
import { configOf, configPath } from './config.ts'
import { authUrl, begunAs, finishLogin, makeStateKey } from './oidc.ts'
import { Provider, type Claims } from './provider.ts'
import { roleAsked, roleOf, rolePaths, roleTable, type JwtRole } from './roles.ts'

const stateFields = {
  state: field('string', 'What oidc/auth_url gave.', { in: 'query', sensitive: true }),
  client_nonce: field('string', 'What was said to oidc/auth_url.', { in: 'query', sensitive: true }),
}
const callbackFields = {
  ...stateFields,
  code: field('string', 'What the provider gave to the browser.', { in: 'query', sensitive: true }),
  error: field('string', 'What the provider says instead.', { in: 'query' }),
  error_description: field('string', 'Not looked at.', { in: 'query' }),
}

/** `type`: the method goes by two names, and is the same under both. */
export function createJwt({ clock }: AuthServices, type: 'jwt' | 'oidc'): EngineDef {
  const provider = new Provider(new Outside({ clock, what: 'logins by JWT' }), clock)
  const nobody = { aliasOf: () => null }
  const finish = (by: 'callback' | 'poll') => ({
    ...writes('Finish a login', (context) => finished(provider, context, by)),
    login: { ...nobody, roleOf: begunAs },
  })
  const paths: readonly PathDef[] = [
    path(
      'login',
      'Log in with a token of the provider.',
      {
        unauthenticated: true,
        fields: {
          role: field('string', "The role; the mount's default_role unless said."),
          jwt: field('string', 'The token.', { sensitive: true }),
        },
      },
      {
        update: {
          ...writes('Log in', (context) => login(provider, context)),
          login: { ...nobody, roleOf: roleAsked },
        },
      },
    ),
    path(
      'oidc/auth_url',
      'Where to go to log in at the provider.',
      {
        unauthenticated: true,
        fields: {
          role: field('string', "The role; the mount's default_role unless said."),
          redirect_uri: field('string', 'Where the provider sends the browser with the code.'),
          client_nonce: field('string', 'Something random that the second step has to say again.', { sensitive: true }),
        },
      },
      { update: reads('Begin a login', (context) => authUrl(provider, context)) },
    ),
    path(
      'oidc/callback',
      'The end of a login: what the browser came back with.',
      { unauthenticated: true, fields: callbackFields },
      { read: finish('callback'), update: finish('callback') },
    ),
    path(
      'oidc/poll',
      'The end of a login by a device code: asked until it was entered.',
      { unauthenticated: true, fields: stateFields },
      { update: finish('poll') },
      "Until then it is answered 400, with the error 'authorization_pending' or 'slow_down'.",
    ),
    configPath(provider),
    ...rolePaths(),
  ]
  return {
    type,
    kind: 'auth',
    description: type === 'jwt' ? 'tokens (JWT) of a provider' : 'logging in at an OpenID provider',
    paths: () => paths,
    renewLogin,
    onMount: async (storage, _mount, random) => makeStateKey(storage, random),
  }
}

async function login(provider: Provider, context: HandlerContext): Promise<LogicalResponse> {
  const config = await configOf(context.storage)
  const [name, role] = await roleOf(context, config.defaultRole)
  if (role.roleType === 'oidc') throw new HoldfastError('ERR_BAD_REQUEST', 'role with oidc role_type is not allowed')
  const token = text(context, 'jwt').trim()
  if (token === '') throw new HoldfastError('ERR_BAD_REQUEST', 'missing token')
  checkAddress(context, role)
  const claims = await provider.signed(context, config, token)
  checkIssuer(claims, config.boundIssuer)
  if (config.oidcDiscoveryUrl !== '') checkIssuer(claims, (await provider.discover(context, config)).issuer)
  checkAudience(claims, role.boundAudiences)
  return letIn(context, name, role, claims)
}

async function finished(provider: Provider, context: HandlerContext, by: 'callback' | 'poll'): Promise<LogicalResponse> {
  const { name, role, claims } = await finishLogin(provider, context, by)
  checkAddress(context, role)
  if (role.boundAudiences.length > 0) checkAudience(claims, role.boundAudiences)
  return letIn(context, name, role, claims)
}

function checkAddress({ request }: HandlerContext, role: JwtRole): void {
  if (!allowedFrom(role.token.boundCidrs, request.clientAddress))
    throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
}

/** The signature is good, and by whom it should be: what is left is what the role asks for. */
function letIn(context: HandlerContext, name: string, role: JwtRole, claims: Claims): LogicalResponse {
  checkTimes(claims, role, context.nowMs)
  checkBound(claims, role)
  const user = userOf(claims, role)
  const groups = groupsOf(claims, role)
  const mapped = metadataOf(claims, role)
  return {
    login: {
      alias: { name: user, metadata: mapped, ...(groups === null ? {} : { groups }) },
      displayName: user,
      metadata: { ...mapped, role: name },
      token: role.token,
      internal: { role: name },
    },
  }
}

async function renewLogin({ storage, internal }: LoginRenewal): Promise<TokenParams> {
  const name = internal['role'] ?? ''
  const role = await roleTable.read(storage, name)
  if (role === null) throw new HoldfastError('ERR_BAD_REQUEST', `role ${JSON.stringify(name)} could not be found during renewal`)
  return role.token
}
