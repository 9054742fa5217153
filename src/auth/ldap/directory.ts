/**
 * Asking the directory: who a name is, whether the password is right, in which groups it is. One connection a login, closed after it.
 *
 * What was typed is data everywhere: it enters filters and DNs escaped, and never a template twice. References to other servers are not
 * followed: where they lead was said by no operator, and a password would go with them.
 */
import { connect as connectPlain } from 'node:net'
import { connect as connectSecure } from 'node:tls'
import {
  BerWriter,
  Client,
  DN,
  Filter,
  InvalidCredentialsError,
  InvalidDNSyntaxError,
  NoSuchObjectError,
  SizeLimitExceededError,
  type Entry,
  type SearchOptions,
} from 'ldapts'
import { HoldfastError } from '#base/errors.ts'
import { away, type Outside } from '../outside.ts'
import type { LdapConfig } from './config.ts'

const provider = 'the directory'
/** Groups of one user that are looked at. */
const groupsMax = 1_000
const passwordModifyOid = '1.3.6.1.4.1.4203.1.11.1'

export interface DirectoryUser {
  readonly dn: string
  /** As the directory spells it. */
  readonly name: string
  readonly groups: readonly string[]
}

export interface BindPasswords {
  readonly now: string
  readonly next: string
}

export interface DirectoryQuestion {
  readonly config: LdapConfig
  readonly passwords: BindPasswords
  readonly username: string
}

const wrong = (): HoldfastError => new HoldfastError('ERR_BAD_CREDENTIALS', 'ldap operation failed: failed to bind as user')

/** Whose name and password these are. @throws ERR_BAD_CREDENTIALS, one for all that is wrong; ERR_UPSTREAM. */
export function checkPassword(outside: Outside, question: DirectoryQuestion, password: string): Promise<DirectoryUser> {
  return connected(outside, question.config, async (client) => {
    const { config, username } = question
    const found = searches(config) ? await findUser(client, question) : null
    if (searches(config) && found === null) throw wrong()
    const dn = found?.dn ?? boundName(config, username)
    await bind(client, dn, password)
    const user = found ?? (await ownEntry(client, config, dn, username))
    const groups = await findGroups(client, question, user.dn)
    return { ...user, groups }
  })
}

/** Whether it is still there, and in which groups; null: it is gone. Without an account to search with nobody can say. */
export function lookUser(outside: Outside, question: DirectoryQuestion): Promise<DirectoryUser | null> {
  return connected(outside, question.config, async (client) => {
    const found = await findUser(client, question)
    return found && { ...found, groups: await findGroups(client, question, found.dn) }
  })
}

/** Gives `binddn` the next password of its series. @throws ERR_BAD_REQUEST, ERR_UPSTREAM. */
export function changeBindPassword(outside: Outside, config: LdapConfig, passwords: BindPasswords): Promise<void> {
  return connected(outside, config, async (client) => {
    const which = await bindAsMount(client, config, passwords)
    if (which === 'next') return
    // RFC 3062: the server hashes it as it does others.
    const writer = new BerWriter()
    writer.startSequence()
    writer.writeString(config.bindDn, 0x80)
    writer.writeString(passwords.now, 0x81)
    writer.writeString(passwords.next, 0x82)
    writer.endSequence()
    await client.exop(passwordModifyOid, writer.buffer)
  })
}

/** `work` on the first server that is reached, within the time of the configuration. */
function connected<T>(outside: Outside, config: LdapConfig, work: (client: Client) => Promise<T>): Promise<T> {
  const answerMsMax = config.requestTimeoutSeconds * 1_000
  return outside.ask(
    provider,
    async (signal) => {
      const client = await connect(config, signal)
      const drop = (): void => void client.unbind().catch(() => {})
      signal.addEventListener('abort', drop)
      try {
        return await work(client)
      } catch (error) {
        throw asOurs(error)
      } finally {
        signal.removeEventListener('abort', drop)
        drop()
      }
    },
    answerMsMax,
  )
}

async function connect(config: LdapConfig, signal: AbortSignal): Promise<Client> {
  let last: unknown = null
  for (const url of config.urls) {
    if (signal.aborted) break
    const client = newClient(config, url)
    try {
      await reach(client, config, url)
      return client
    } catch (error) {
      await client.unbind().catch(() => {})
      last = error
    }
  }
  throw away(provider, codeOf(last), last)
}

/**
 * The client would connect again by itself whenever its connection is gone, and in the clear: whoever cuts a connection after StartTLS would be sent
 * the password that was meant for TLS. So each may connect once.
 */
function newClient(config: LdapConfig, url: string): Client {
  let connections = 0
  const once = (): void => {
    connections += 1
    if (connections > 1) throw new ConnectionLost()
  }
  const secure = url.startsWith('ldaps:')
  return new Client({
    url,
    // With these it speaks TLS from the first byte, whatever the address says.
    ...(secure ? { tlsOptions: tlsOf(config, new URL(url).hostname) } : {}),
    timeout: config.requestTimeoutSeconds * 1_000,
    connectTimeout: config.connectionTimeoutSeconds * 1_000,
    strictDN: false,
    createConnection: ((...given: Parameters<typeof connectPlain>) => {
      once()
      return connectPlain(...given)
    }) as typeof connectPlain,
    createSecureConnection: ((...given: Parameters<typeof connectSecure>) => {
      if (secure) once()
      return connectSecure(...given)
    }) as typeof connectSecure,
  })
}

class ConnectionLost extends Error {
  readonly code = 'ECONNRESET'
}

/** Of servers that are away the next is tried; of what a server refuses, nothing is tried elsewhere. */
async function reach(client: Client, config: LdapConfig, url: string): Promise<void> {
  // Before anything is said; a server that can't is one that is away, whatever it answers.
  if (config.startTls && url.startsWith('ldap:')) return client.startTLS(tlsOf(config, new URL(url).hostname))
  try {
    await client.bind('', '')
  } catch (error) {
    // It is there, and lets nobody in without a name: that is not what was asked.
    if (typeof (error as { code?: unknown }).code !== 'number') throw error
  }
}

const tlsOf = (config: LdapConfig, servername: string) => ({
  minVersion: config.tlsMinVersion === 'tls13' ? ('TLSv1.3' as const) : ('TLSv1.2' as const),
  rejectUnauthorized: !config.insecureTls,
  // An address has no name to be asked for.
  ...(/^[\d.]+$|^\[/.test(servername) ? {} : { servername }),
  ...(config.caPem === '' ? {} : { ca: config.caPem }),
  ...(config.clientCertPem === '' ? {} : { cert: config.clientCertPem, key: config.clientKeyPem }),
})

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown }
  if (typeof code === 'string') return code
  return typeof code === 'number' ? `LDAP result ${code}` : 'no connection'
}

/** LDAP's results name no secret, but messages may repeat a DN or a filter: the code alone is told. */
function asOurs(error: unknown): unknown {
  if (error instanceof HoldfastError) return error
  if (error instanceof InvalidCredentialsError) return wrong()
  return away(provider, codeOf(error), error)
}

const searches = ({ bindDn, discoverDn }: LdapConfig): boolean => bindDn !== '' || discoverDn

const boundName = (config: LdapConfig, username: string): string =>
  config.upnDomain === '' ? `${new DN({ [config.userAttr]: username }).toString()},${config.userDn}` : `${username}@${config.upnDomain}`

/** An empty password would be an unauthenticated bind, which succeeds for everyone: it never gets here. @throws ERR_BAD_CREDENTIALS. */
async function bind(client: Client, dn: string, password: string): Promise<void> {
  if (password === '') throw wrong()
  try {
    await client.bind(dn, password)
  } catch (error) {
    // The entry is gone, or was never there: the same as a wrong password to who asks.
    if (error instanceof InvalidCredentialsError || error instanceof NoSuchObjectError || error instanceof InvalidDNSyntaxError)
      throw wrong()
    throw error
  }
}

/** @throws ERR_UPSTREAM when the directory takes neither password of the mount's own account. */
async function bindAsMount(client: Client, config: LdapConfig, passwords: BindPasswords): Promise<'now' | 'next' | 'nobody'> {
  if (config.bindDn === '') return 'nobody'
  for (const which of ['now', 'next'] as const) {
    if (passwords[which] === '') continue
    try {
      await client.bind(config.bindDn, passwords[which])
      return which
    } catch (error) {
      if (!(error instanceof InvalidCredentialsError)) throw error
    }
  }
  throw away(provider, 'a refusal of binddn and its password')
}

/** Fills a filter of the operator's with what was typed, escaped (RFC 4515). One pass: what is filled in is not looked at again. */
export function fillFilter(filter: string, values: Readonly<Record<'UserAttr' | 'Username' | 'UserDN', string>>): string {
  return filter.replaceAll(/\{\{\s*\.(UserAttr|Username|UserDN)\s*\}\}/g, (_, name: keyof typeof values) =>
    name === 'UserAttr' ? values.UserAttr : Filter.escape(values[name]),
  )
}

async function findUser(client: Client, { config, passwords, username }: DirectoryQuestion): Promise<{ dn: string; name: string } | null> {
  await bindAsMount(client, config, passwords)
  const filter = fillFilter(config.userFilter, { UserAttr: config.userAttr, Username: username, UserDN: '' })
  // Of two nobody can say who is meant; of more the directory says that there are too many.
  const found = await search(client, config.userDn, filter, config.userAttr, 2).catch((error: unknown) => {
    if (error instanceof SizeLimitExceededError) return []
    throw error
  })
  if (found.length !== 1) return null
  const [entry] = found
  return { dn: entry!.dn, name: valuesOf(entry!, config.userAttr)[0] ?? username }
}

async function ownEntry(client: Client, config: LdapConfig, dn: string, username: string): Promise<{ dn: string; name: string }> {
  if (config.upnDomain !== '') {
    const filter = `(userPrincipalName=${Filter.escape(dn)})`
    const [entry] = await search(client, config.userDn, filter, config.userAttr, 2).catch(() => [])
    return entry === undefined ? { dn, name: username } : { dn: entry.dn, name: valuesOf(entry, config.userAttr)[0] ?? username }
  }
  // Not everyone may read itself: then it is known by what it typed.
  const options: SearchOptions = { scope: 'base', filter: '(objectClass=*)', attributes: [config.userAttr], derefAliases: 'never' }
  const found = await client.search(dn, options).catch(() => ({ searchEntries: [] as Entry[] }))
  const [entry] = found.searchEntries
  return { dn, name: (entry && valuesOf(entry, config.userAttr)[0]) ?? username }
}

async function findGroups(client: Client, { config, passwords, username }: DirectoryQuestion, userDn: string): Promise<string[]> {
  if (config.groupDn === '') return []
  if (config.anonymousGroupSearch) await client.bind('', '')
  else await bindAsMount(client, config, passwords)
  const filter = fillFilter(config.groupFilter, { UserAttr: config.userAttr, Username: username, UserDN: userDn })
  const names = new Set<string>()
  for (const entry of await search(client, config.groupDn, filter, config.groupAttr, groupsMax)) {
    const values = valuesOf(entry, config.groupAttr)
    for (const value of values.length > 0 ? values : [entry.dn]) names.add(commonName(value))
  }
  return [...names]
}

/** A group may be named by its DN (memberOf): then by the cn that this begins with. */
const commonName = (value: string): string => /^cn=((?:\\.|[^,\\])+),/i.exec(value)?.[1]?.replaceAll(/\\(.)/g, '$1') ?? value

async function search(client: Client, base: string, filter: string, attribute: string, sizeLimit: number): Promise<Entry[]> {
  const options: SearchOptions = { scope: 'sub', filter, attributes: [attribute], sizeLimit, derefAliases: 'never' }
  try {
    return (await client.search(base, options)).searchEntries
  } catch (error) {
    if (error instanceof NoSuchObjectError) return []
    throw error
  }
}

function valuesOf(entry: Entry, attribute: string): string[] {
  const name = Object.keys(entry).find((key) => key.toLowerCase() === attribute.toLowerCase())
  const value = name === undefined ? [] : entry[name]
  return (Array.isArray(value) ? value : [value]).filter((each) => typeof each === 'string')
}
