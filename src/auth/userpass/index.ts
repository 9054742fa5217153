/** The userpass method: users with passwords, kept here. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { aside } from '#core/aside.ts'
import type { LoginRenewal, TokenParams } from '#core/login-types.ts'
import type { EngineDef, HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { sanitizePolicyNames } from '#policies/names.ts'
import { allowedFrom } from '#tokens/cidr.ts'
import { field, inPath, path, text, writes } from '../fields.ts'
import type { AuthServices } from '../index.ts'
import type { PasswordHasher } from '../passwords.ts'
import { readUser, userName, userPaths } from './users.ts'

export function createUserpass({ passwords }: AuthServices): EngineDef {
  const paths: readonly PathDef[] = [
    path(
      'login/:username',
      'Log in with a password.',
      {
        unauthenticated: true,
        fields: { username: inPath('Who logs in.'), password: field('string', 'The password.', { sensitive: true }) },
      },
      { update: { ...writes('Log in', (context) => login(passwords, context)), login: { aliasOf: userName, lockout: true } } },
      'A wrong password and a name that nobody has are answered alike, after the same time.',
    ),
    ...userPaths(passwords),
  ]
  return { type: 'userpass', kind: 'auth', description: 'users and passwords', paths: () => paths, renewLogin }
}

async function login(passwords: PasswordHasher, context: HandlerContext): Promise<LogicalResponse> {
  const name = userName(context)
  const password = text(context, 'password')
  if (password === '') throw new HoldfastError('ERR_BAD_REQUEST', 'missing password')
  const user = await readUser(context.storage, name)
  // Named by the stored hash: of a password that was changed meanwhile the result says nothing.
  const key = `check against ${user === null ? 'nobody' : user.password.hash}`
  const fits = await aside(context, key, () => passwords.verify(password, user?.password ?? null))
  if (!fits || user === null) throw new HoldfastError('ERR_BAD_CREDENTIALS', 'invalid username or password')
  if (!allowedFrom(user.token.boundCidrs, context.request.clientAddress)) {
    throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
  }
  return {
    login: {
      alias: { name },
      displayName: name,
      metadata: { username: name },
      token: user.token,
      internal: { username: name },
    },
  }
}

async function renewLogin({ storage, token, internal }: LoginRenewal): Promise<TokenParams> {
  const user = await readUser(storage, internal.username ?? '')
  if (user === null) throw new HoldfastError('ERR_BAD_REQUEST', 'the user no longer exists, not renewing')
  const names = sanitizePolicyNames(user.token.policies, !user.token.noDefaultPolicy)
  if (names.join() !== token.policies.join()) throw new HoldfastError('ERR_BAD_REQUEST', 'policies have changed, not renewing')
  return user.token
}
