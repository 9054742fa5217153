/** The directory: where it is, how it is asked, and as whom. */
import { createHmac, X509Certificate } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import type { TokenParams } from '#core/login-types.ts'
import type { HandlerContext, LogicalResponse, MountStorage, PathDef } from '#core/types.ts'
import { checkedRecord, readConfig } from '../accounts.ts'
import { field, optional, path, reads, text, writes } from '../fields.ts'
import { describeTokenParams, noTokenParams, readTokenParams, tokenFields } from '../token-params.ts'

const formatVersion = 1
const what = "the configuration of a mount's LDAP logins"
const urlsMax = 8
const timeoutSecondsMax = 60

export interface LdapConfig {
  readonly version: number
  readonly urls: readonly string[]
  readonly startTls: boolean
  readonly insecureTls: boolean
  readonly caPem: string
  readonly clientCertPem: string
  readonly clientKeyPem: string
  readonly tlsMinVersion: 'tls12' | 'tls13'
  /** '': the mount binds as who logs in, and searches as nobody. */
  readonly bindDn: string
  readonly bindPass: string
  /** How often the password of `bindDn` was rotated by the mount; 0: it is `bindPass`. */
  readonly rotations: number
  readonly userDn: string
  readonly userAttr: string
  readonly userFilter: string
  readonly upnDomain: string
  /** Searches for who logs in as nobody, where there is no `bindDn`. */
  readonly discoverDn: boolean
  readonly groupDn: string
  readonly groupAttr: string
  readonly groupFilter: string
  readonly anonymousGroupSearch: boolean
  readonly caseSensitiveNames: boolean
  readonly usernameAsAlias: boolean
  readonly requestTimeoutSeconds: number
  readonly connectionTimeoutSeconds: number
  readonly token: TokenParams
}

const fresh: LdapConfig = {
  version: formatVersion,
  urls: ['ldap://127.0.0.1'],
  startTls: false,
  insecureTls: false,
  caPem: '',
  clientCertPem: '',
  clientKeyPem: '',
  tlsMinVersion: 'tls12',
  bindDn: '',
  bindPass: '',
  rotations: 0,
  userDn: '',
  userAttr: 'cn',
  userFilter: '({{.UserAttr}}={{.Username}})',
  upnDomain: '',
  discoverDn: false,
  groupDn: '',
  groupAttr: 'cn',
  groupFilter: '(|(memberUid={{.Username}})(member={{.UserDN}})(uniqueMember={{.UserDN}}))',
  anonymousGroupSearch: false,
  caseSensitiveNames: false,
  usernameAsAlias: false,
  requestTimeoutSeconds: 10,
  connectionTimeoutSeconds: 5,
  token: noTokenParams,
}

/** @throws ERR_BAD_REQUEST before the mount is configured. */
export async function configOf(storage: MountStorage): Promise<LdapConfig> {
  const config = await readConfig<LdapConfig>(storage, what, formatVersion)
  if (config === null) throw new HoldfastError('ERR_BAD_REQUEST', 'ldap backend not configured', { hint: 'write auth/PATH/config first' })
  return config
}

const configFields = {
  url: field('string', 'Servers, tried in this order: ldap:// or ldaps://, with commas between.', {
    example: 'ldaps://directory.example.com',
  }),
  starttls: field('bool', 'Begin TLS on ldap:// before anything is said.'),
  insecure_tls: field('bool', "Do not check the server's certificate. Whoever is between can read passwords then."),
  certificate: field('string', "PEM of the authority of the server's certificate."),
  client_tls_cert: field('string', 'PEM of a certificate to show it.'),
  client_tls_key: field('string', 'Its key.', { sensitive: true }),
  tls_min_version: field('string', 'The oldest TLS to speak.', { enum: ['tls12', 'tls13'] }),
  tls_max_version: field('string', 'Kept by other servers; the newest that both know is spoken.', { deprecated: true }),
  binddn: field('string', 'An account that may search for users and groups.'),
  bindpass: field('string', 'Its password.', { sensitive: true }),
  userdn: field('string', 'Below which users are.', { example: 'ou=people,dc=example,dc=com' }),
  userattr: field('string', 'The attribute that holds the name of who logs in; in lower case.', { example: 'uid' }),
  userfilter: field('string', 'How a user is searched for, with {{.UserAttr}} and {{.Username}}.'),
  upndomain: field('string', 'Bind as NAME@this (Active Directory).'),
  discoverdn: field('bool', 'Search for users without an account for it.'),
  groupdn: field('string', 'Below which groups are; empty: none are searched for.'),
  groupattr: field('string', "The attribute that holds a group's name; cn unless said."),
  groupfilter: field('string', 'How the groups of a user are searched for, with {{.Username}} and {{.UserDN}}.'),
  anonymous_group_search: field('bool', 'Search for groups as nobody.'),
  case_sensitive_names: field('bool', 'Names of users and groups of this mount differ by letter case.'),
  username_as_alias: field('bool', 'Identity knows it by the name as it was typed, not as the directory spells it.'),
  deny_null_bind: field('bool', 'Always: a bind without a password succeeds for everyone at many servers.', { default: true }),
  use_token_groups: field('bool', 'Not built in: expected false.', { default: false }),
  dereference_aliases: field('string', "Only 'never'.", { enum: ['', 'never'] }),
  max_page_size: field('int', 'Kept by other servers; a search here has its own bound.', { deprecated: true }),
  request_timeout: field('duration', `How long the directory may take to answer, at most ${timeoutSecondsMax} seconds.`),
  connection_timeout: field('duration', 'How long one server may take to be reached, before the next is tried.'),
  ...tokenFields,
}

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

export const configPath = (): PathDef =>
  path(
    'config',
    'The directory, and what the tokens of its users get.',
    { fields: configFields },
    { read: reads('Read, without passwords and keys', describe), update: writes('Change', save) },
    'What a write leaves out stays as it is.',
  )

async function save(context: HandlerContext): Promise<null> {
  const before = (await readConfig<LdapConfig>(context.storage, what, formatVersion)) ?? fresh
  const said = <T>(name: string, present: T): T => optional<T>(context, name) ?? present
  const passwordGiven = optional<string>(context, 'bindpass') !== undefined
  const config: LdapConfig = {
    version: formatVersion,
    urls:
      text(context, 'url') === ''
        ? before.urls
        : text(context, 'url')
            .split(',')
            .map((url) => url.trim()),
    startTls: said('starttls', before.startTls),
    insecureTls: said('insecure_tls', before.insecureTls),
    caPem: said('certificate', before.caPem),
    clientCertPem: said('client_tls_cert', before.clientCertPem),
    clientKeyPem: said('client_tls_key', before.clientKeyPem),
    tlsMinVersion: said('tls_min_version', before.tlsMinVersion),
    bindDn: said('binddn', before.bindDn),
    bindPass: said('bindpass', before.bindPass),
    rotations: passwordGiven ? 0 : before.rotations,
    userDn: said('userdn', before.userDn),
    userAttr: said('userattr', before.userAttr).toLowerCase(),
    userFilter: said('userfilter', before.userFilter),
    upnDomain: said('upndomain', before.upnDomain),
    discoverDn: said('discoverdn', before.discoverDn),
    groupDn: said('groupdn', before.groupDn),
    groupAttr: said('groupattr', before.groupAttr),
    groupFilter: said('groupfilter', before.groupFilter),
    anonymousGroupSearch: said('anonymous_group_search', before.anonymousGroupSearch),
    caseSensitiveNames: said('case_sensitive_names', before.caseSensitiveNames),
    usernameAsAlias: said('username_as_alias', before.usernameAsAlias),
    requestTimeoutSeconds: said('request_timeout', before.requestTimeoutSeconds),
    connectionTimeoutSeconds: said('connection_timeout', before.connectionTimeoutSeconds),
    token: readTokenParams(context, before.token),
  }
  checkConfig(context, config)
  context.storage.putJson('config', config)
  return null
}

function checkConfig(context: HandlerContext, config: LdapConfig): void {
  if (config.urls.length > urlsMax) throw bad(`url expected at most ${urlsMax} servers`)
  for (const url of config.urls) {
    const parsed = URL.canParse(url) ? new URL(url) : null
    if (parsed === null || !/^ldaps?:$/.test(parsed.protocol) || parsed.hostname === '' || parsed.username !== '')
      throw bad('url expected ldap:// or ldaps:// addresses, got something else')
  }
  if (!/^[a-z][a-z0-9-]*$/.test(config.userAttr)) throw bad('userattr expected the name of an attribute, got something else')
  if (!/^[a-z][a-z0-9-]*$/i.test(config.groupAttr)) throw bad('groupattr expected the name of an attribute, got something else')
  // The user's name must be in it: without, a search finds whoever is first.
  if (!config.userFilter.includes('{{.Username}}')) throw bad('userfilter expected {{.Username}} in it')
  if (optional<boolean>(context, 'deny_null_bind') === false)
    throw bad('deny_null_bind expected true: a login without a password is refused always')
  if (optional<boolean>(context, 'use_token_groups') === true) throw bad('use_token_groups is not built in: expected groupfilter')
  for (const [name, seconds] of [
    ['request_timeout', config.requestTimeoutSeconds],
    ['connection_timeout', config.connectionTimeoutSeconds],
  ] as const)
    if (seconds < 1 || seconds > timeoutSecondsMax) throw bad(`${name} expected 1 to ${timeoutSecondsMax} seconds, got ${seconds}`)
  for (const [name, pem] of [
    ['certificate', config.caPem],
    ['client_tls_cert', config.clientCertPem],
  ] as const)
    if (pem !== '') checkCertificate(name, pem)
  if ((config.clientCertPem === '') !== (config.clientKeyPem === '')) throw bad('client_tls_cert and client_tls_key expected both or none')
}

function checkCertificate(name: string, pem: string): void {
  try {
    void new X509Certificate(pem)
  } catch {
    throw bad(`${name} expected a certificate in PEM, got something else`)
  }
}

async function describe(context: HandlerContext): Promise<LogicalResponse | null> {
  const config = await readConfig<LdapConfig>(context.storage, what, formatVersion)
  if (config === null) return null
  return {
    data: {
      anonymous_group_search: config.anonymousGroupSearch,
      binddn: config.bindDn,
      case_sensitive_names: config.caseSensitiveNames,
      certificate: config.caPem,
      connection_timeout: config.connectionTimeoutSeconds,
      deny_null_bind: true,
      dereference_aliases: 'never',
      discoverdn: config.discoverDn,
      groupattr: config.groupAttr,
      groupdn: config.groupDn,
      groupfilter: config.groupFilter,
      insecure_tls: config.insecureTls,
      request_timeout: config.requestTimeoutSeconds,
      starttls: config.startTls,
      tls_min_version: config.tlsMinVersion,
      upndomain: config.upnDomain,
      url: config.urls.join(','),
      use_token_groups: false,
      userattr: config.userAttr,
      userdn: config.userDn,
      userfilter: config.userFilter,
      username_as_alias: config.usernameAsAlias,
      ...describeTokenParams(config.token),
    },
  }
}

/** Runs in the transaction that mounts the method. */
export const makeRotationKey = (storage: MountStorage, random: RandomSource): void =>
  storage.putJson('rotation-key', { version: formatVersion, key: Buffer.from(random.bytes(32)).toString('base64') })

/**
 * The password of `binddn` now, and the one of the rotation after it.
 *
 * A rotation changes the directory and our record, and one can be done without the other (the leader is lost between them). So the passwords of all
 * rotations follow from a key of the mount and their number: when the directory already has the next one, the mount knows it.
 */
export async function bindPasswords(storage: MountStorage, config: LdapConfig): Promise<{ readonly now: string; readonly next: string }> {
  const record = checkedRecord(
    "a mount's rotation key",
    formatVersion,
    await storage.getJson<{ version: number; key: string }>('rotation-key'),
  )
  if (record === null) throw new HoldfastError('ERR_STORE_CORRUPT', "expected the mount's rotation key, got none")
  const key = Buffer.from(record.key, 'base64')
  // Bound to the password that the operator gave: one that is given anew begins another series.
  const nth = (count: number): string =>
    createHmac('sha256', key)
      .update(JSON.stringify([config.bindDn, config.bindPass, count]))
      .digest('base64url')
  return { now: config.rotations === 0 ? config.bindPass : nth(config.rotations), next: nth(config.rotations + 1) }
}

/** Notes that `next` is the password now. */
export function noteRotation(storage: MountStorage, config: LdapConfig): void {
  storage.putJson('config', { ...config, rotations: config.rotations + 1 } satisfies LdapConfig)
}
