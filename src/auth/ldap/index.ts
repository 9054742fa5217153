/** The LDAP method: a directory says whether the password is right, and in which groups it is. */
import { createHash } from 'node:crypto'
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { aside } from '#core/aside.ts'
import type { LoginRenewal, RenewedLogin, TokenParams } from '#core/login-types.ts'
import type { EngineDef, HandlerContext, LogicalResponse, MountStorage, PathDef } from '#core/types.ts'
import { sanitizePolicyNames } from '#policies/names.ts'
import { allowedFrom } from '#tokens/cidr.ts'
import { field, inPath, path, text, writes } from '../fields.ts'
import type { AuthServices } from '../index.ts'
import { Outside } from '../outside.ts'
import { bindPasswords, configOf, configPath, makeRotationKey, noteRotation, type LdapConfig } from './config.ts'
import { changeBindPassword, checkPassword, lookUser, type DirectoryUser } from './directory.ts'
import { groupTable, mapPaths, spelled, userTable } from './maps.ts'

const nameCharsMax = 256
const passwordCharsMax = 4_096

export function createLdap({ clock }: AuthServices): EngineDef {
  const outside = new Outside({ clock, what: 'logins by LDAP' })
  const paths: readonly PathDef[] = [
    path(
      'login/:username',
      'Log in with a password of the directory.',
      {
        unauthenticated: true,
        fields: { username: inPath('Who logs in.'), password: field('string', 'The password.', { sensitive: true }) },
      },
      { update: { ...writes('Log in', (context) => login(outside, context)), login: { aliasOf: lockName, lockout: true } } },
      'A wrong password and a name that nobody has are answered alike.',
    ),
    configPath(),
    path(
      'config/rotate-root',
      "Gives the mount's own account (binddn) another password, that only the mount knows.",
      {},
      { update: writes('Rotate', (context) => rotate(outside, context)) },
      'The directory must take password changes by RFC 3062 (LDAP Password Modify).',
    ),
    ...mapPaths(),
  ]
  return {
    type: 'ldap',
    kind: 'auth',
    description: 'users of a directory (LDAP)',
    paths: () => paths,
    renewLogin: (renewal) => renewLogin(outside, renewal),
    onMount: async (storage, _mount, random) => makeRotationKey(storage, random),
  }
}

/** Unicode lays katakana out as hiragana, so far behind. */
const katakanaOffset = 0x60

/**
 * Under which name wrong tries count: directories take many spellings for one (RFC 4518: letter case, spaces, compatibility forms, what nobody sees; Active
 * Directory: accents, and katakana for hiragana), and each that counted by itself would give a guesser as many tries more (CVE-2025-6004).
 */
export function lockName(context: HandlerContext): string {
  const typed = text(context, 'username')
  const plain = typed
    .normalize('NFKD')
    .replaceAll(/[\p{M}\p{Default_Ignorable_Code_Point}]/gu, '')
    .replaceAll(/[\u30a1-\u30f6\u30fd\u30fe]/g, (kana) => String.fromCharCode(kana.charCodeAt(0) - katakanaOffset))
  // By way of the upper case, as there alone ß and SS are one; ẞ has to come to ß before.
  const folded = plain.trim().replaceAll(/\s+/g, ' ').toLowerCase().toUpperCase().toLowerCase()
  // A name of which nothing is left is one all the same: of none no tries would be counted.
  return folded === '' ? typed : folded
}

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

async function login(outside: Outside, context: HandlerContext): Promise<LogicalResponse> {
  const username = text(context, 'username')
  const password = text(context, 'password')
  if (password === '') throw bad('password cannot be of zero length when passwordless binds are being denied')
  if (username.length > nameCharsMax || password.length > passwordCharsMax) throw bad('username or password expected to be shorter')
  // oxlint-disable-next-line no-control-regex -- a name with a NUL ends there for some servers
  if (/[\u0000-\u001f\u007f]/.test(username)) throw bad('username expected no control characters')
  const config = await configOf(context.storage)
  if (!allowedFrom(config.token.boundCidrs, context.request.clientAddress)) {
    throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
  }
  const passwords = await bindPasswords(context.storage, config)
  const user = await aside(context, `check against ${stampOf(config)}`, () =>
    checkPassword(outside, { config, passwords, username }, password),
  )
  const name = spelled(config.usernameAsAlias ? username : user.name, config.caseSensitiveNames)
  const { groups, policies } = await granted(context.storage, config, name, user)
  return {
    login: {
      alias: { name, groups },
      displayName: name,
      metadata: { username: name },
      token: { ...config.token, policies: [...config.token.policies, ...policies] },
      // As it was typed: by that the search has found it, whatever attribute it looks at.
      internal: { username, name },
    },
  }
}

/** Of another configuration an answer says nothing. */
const stampOf = (config: LdapConfig): string => createHash('sha256').update(JSON.stringify(config)).digest('hex')

interface Granted {
  readonly groups: readonly string[]
  readonly policies: readonly string[]
}

/** Whether anything can lie here by that name: directories have groups called "." and "R//D", whose members are to be let in all the same. */
const nameable = (name: string): boolean =>
  name.length <= nameCharsMax && !name.includes('/') && !/^\.{0,2}$/.test(name) && name.isWellFormed()

/** Groups of the directory and of the mount, and the policies of all of them. */
async function granted(storage: MountStorage, config: LdapConfig, name: string, user: DirectoryUser): Promise<Granted> {
  const own = nameable(name) ? await userTable.read(storage, name) : null
  const groups = [...new Set([...user.groups, ...(own?.groups ?? [])])].toSorted()
  const policies = new Set(own?.policies)
  for (const group of groups.filter(nameable)) {
    const record = await groupTable.read(storage, spelled(group, config.caseSensitiveNames))
    for (const policy of record?.policies ?? []) policies.add(policy)
  }
  return { groups, policies: [...policies].toSorted() }
}

/**
 * Whether the user is still there, and in the same groups: as far as the mount may ask for it, which needs binddn. The password is kept nowhere, so
 * that a renewal can't try it again.
 */
async function renewLogin(outside: Outside, { storage, token, internal, context }: LoginRenewal): Promise<RenewedLogin> {
  const config = await configOf(storage)
  if (config.bindDn === '') return renewed(config, token.policies, null)
  const { username = '', name = '' } = internal
  const passwords = await bindPasswords(storage, config)
  const user = await aside(context, `look up by ${stampOf(config)}`, () => lookUser(outside, { config, passwords, username }))
  // Found by another name than it had, it is another user, or has been renamed: both log in anew.
  const called = user === null ? '' : spelled(config.usernameAsAlias ? username : user.name, config.caseSensitiveNames)
  if (user === null || called !== name) throw bad('the user no longer exists in the directory, not renewing')
  const { groups, policies } = await granted(storage, config, name, user)
  return renewed(config, token.policies, { groups, policies })
}

function renewed(config: LdapConfig, had: readonly string[], now: Granted | null): RenewedLogin {
  const params: TokenParams = config.token
  if (now === null) return params
  const names = sanitizePolicyNames([...params.policies, ...now.policies], !params.noDefaultPolicy)
  if (names.join() !== had.join()) throw bad('policies have changed, not renewing')
  return { ...params, groups: now.groups }
}

async function rotate(outside: Outside, context: HandlerContext): Promise<null> {
  const config = await configOf(context.storage)
  if (config.bindDn === '' || (config.bindPass === '' && config.rotations === 0)) {
    throw bad('unable to rotate: expected binddn and bindpass in the configuration')
  }
  const passwords = await bindPasswords(context.storage, config)
  await aside(context, `rotate to ${config.rotations + 1} of ${stampOf(config)}`, () => changeBindPassword(outside, config, passwords))
  noteRotation(context.storage, config)
  return null
}
