/** Users: `users/NAME` in the mount's storage, under the name in lower case. */
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import { aside } from '#core/aside.ts'
import type { TokenParams } from '#core/login-types.ts'
import type { HandlerContext, LogicalResponse, MountStorage, PathDef } from '#core/types.ts'
import { field, inPath, listNames, optional, pageFields, path, reads, text, writes } from '../fields.ts'
import { bcryptHash, type PasswordHasher, type StoredPassword } from '../passwords.ts'
import { describeTokenParams, noTokenParams, readTokenParams, tokenFields, type OldNames } from '../token-params.ts'

const formatVersion = 1

export interface User {
  readonly version: number
  readonly password: StoredPassword
  readonly token: TokenParams
}

/** Letter case makes no other user, and no other name to lock (CVE-2025-6004). */
export const userName = (context: HandlerContext): string => text(context, 'username').toLowerCase()

const storagePath = (name: string): string => `users/${name}`

/** null when there is none. @throws ERR_UPGRADE_REQUIRED for a record of another release. */
export async function readUser(storage: MountStorage, name: string): Promise<User | null> {
  const user = await storage.getJson<User>(storagePath(name))
  if (user !== null && !checkVersion('a user', formatVersion, user.version))
    throw new HoldfastError('ERR_STORE_CORRUPT', 'expected a user to have a version')
  return user
}

const writeUser = (storage: MountStorage, name: string, user: Omit<User, 'version'>): void =>
  storage.putJson(storagePath(name), { version: formatVersion, ...user } satisfies User)

const old: OldNames = { token_policies: 'policies', token_ttl: 'ttl', token_max_ttl: 'max_ttl', token_bound_cidrs: 'bound_cidrs' }
const nameField = { username: inPath('Its name; letter case does not matter.') }
const passwordFields = {
  password: field('string', 'The password. Kept as an Argon2id hash.', { sensitive: true }),
  password_hash: field('string', 'Instead of it: its bcrypt hash.', { sensitive: true }),
}
const oldPolicies = { policies: field('list', 'Use token_policies.', { deprecated: true }) }
const userFields = {
  ...nameField,
  ...passwordFields,
  ...tokenFields,
  ...oldPolicies,
  ttl: field('duration', 'Use token_ttl.', { deprecated: true }),
  max_ttl: field('duration', 'Use token_max_ttl.', { deprecated: true }),
  bound_cidrs: field('list', 'Use token_bound_cidrs.', { deprecated: true }),
}

export function userPaths(passwords: PasswordHasher): PathDef[] {
  return [
    path('users', 'Names of the users.', { fields: pageFields }, { list: reads('List', (context) => listNames(context, 'users')) }),
    path(
      'users/:username',
      'A user who may log in.',
      { fields: userFields, exists: async (context) => (await readUser(context.storage, userName(context))) !== null },
      {
        create: writes('Create', (context) => saveUser(passwords, context)),
        update: writes('Change', (context) => saveUser(passwords, context)),
        read: reads('Read, without the password', describeUser),
        delete: writes('Delete', async (context) => {
          context.storage.delete(storagePath(userName(context)))
          return null
        }),
      },
      'Deleting a user revokes no token: those that are out can no longer be renewed.',
    ),
    path(
      'users/:username/password',
      "A user's password.",
      { fields: { ...nameField, ...passwordFields } },
      { update: writes('Change', (context) => changePassword(passwords, context)) },
    ),
    path(
      'users/:username/policies',
      "A user's policies.",
      { fields: { ...nameField, token_policies: tokenFields.token_policies, ...oldPolicies } },
      { update: writes('Change', changePolicies) },
    ),
  ]
}

/** null: the request names none. @throws ERR_BAD_REQUEST: empty, both forms, or no hash. */
async function readPassword(passwords: PasswordHasher, context: HandlerContext): Promise<StoredPassword | null> {
  const password = optional<string>(context, 'password')
  const hash = optional<string>(context, 'password_hash')
  if (password !== undefined && hash !== undefined) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'expected password or password_hash, got both')
  }
  if (hash !== undefined) return bcryptHash(hash)
  if (password === undefined) return null
  if (password === '') throw missingPassword()
  return aside(context, 'hash the new password', () => passwords.hash(password))
}

const missingPassword = (): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', 'missing password')

async function saveUser(passwords: PasswordHasher, context: HandlerContext): Promise<null> {
  const name = userName(context)
  const present = await readUser(context.storage, name)
  // Cheap refusals come before the costly hash.
  const token = readTokenParams(context, present?.token ?? noTokenParams, old)
  const password = (await readPassword(passwords, context)) ?? present?.password
  if (password === undefined) throw missingPassword()
  writeUser(context.storage, name, { password, token })
  return null
}

async function existing(context: HandlerContext): Promise<User> {
  const user = await readUser(context.storage, userName(context))
  if (user === null) throw new HoldfastError('ERR_BAD_REQUEST', 'username does not exist')
  return user
}

async function changePassword(passwords: PasswordHasher, context: HandlerContext): Promise<null> {
  const { token } = await existing(context)
  const password = await readPassword(passwords, context)
  if (password === null) throw missingPassword()
  writeUser(context.storage, userName(context), { password, token })
  return null
}

async function changePolicies(context: HandlerContext): Promise<null> {
  const { password, token } = await existing(context)
  writeUser(context.storage, userName(context), { password, token: readTokenParams(context, token, old) })
  return null
}

async function describeUser(context: HandlerContext): Promise<LogicalResponse | null> {
  const user = await readUser(context.storage, userName(context))
  return user && { data: describeTokenParams(user.token) }
}
