/**
 * Logging in at the provider: the authorisation code flow with PKCE, and the device flow.
 *
 * What is known between the two steps (role, nonce, PKCE verifier, device code) is nowhere kept: it is the `state` itself, encrypted under a key of the
 * mount. Whoever can reach the port may begin logins without end, and a record for each would fill the disks of the cluster; and a login that
 * began under one leader ends under another. A state is good for `stateSecondsMax`; what makes it good once is the provider, which takes a code once.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { EncryptJWT, jwtDecrypt } from 'jose'
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { aside } from '#core/aside.ts'
import type { HandlerContext, LogicalResponse, MountStorage } from '#core/types.ts'
import { checkedRecord } from '../accounts.ts'
import { optional, text } from '../fields.ts'
import { away } from '../outside.ts'
import { checkAudience, checkIssuer } from './claims.ts'
import { configOf, type JwtConfig } from './config.ts'
import type { Claims, Discovery, Provider } from './provider.ts'
import { roleOf, roleTable, type JwtRole } from './roles.ts'

const formatVersion = 1
const stateSecondsMax = 300
/** Of a device code: as the provider says, within this. */
const deviceSecondsMax = 1_800
const providerName = 'the OpenID provider'

/** What one login is about, between its two steps. */
interface Started {
  readonly role: string
  readonly redirectUri: string
  readonly nonce: string
  readonly verifier: string
  readonly clientNonce: string
  readonly deviceCode: string
}

/** Runs in the transaction that mounts the method. */
export const makeStateKey = (storage: MountStorage, random: RandomSource): void =>
  storage.putJson('state-key', { version: formatVersion, key: Buffer.from(random.bytes(32)).toString('base64') })

async function stateKey(storage: MountStorage): Promise<Uint8Array> {
  const record = checkedRecord("a mount's state key", formatVersion, await storage.getJson<{ version: number; key: string }>('state-key'))
  if (record === null) throw new HoldfastError('ERR_STORE_CORRUPT', "expected the mount's state key, got none")
  return Buffer.from(record.key, 'base64')
}

const bad = (message: string, hint?: string): HoldfastError =>
  new HoldfastError('ERR_BAD_REQUEST', message, hint === undefined ? {} : { hint })

async function sealState(context: HandlerContext, started: Started, seconds: number): Promise<string> {
  const key = await stateKey(context.storage)
  const now = Math.floor(context.nowMs / 1_000)
  const sealing = new EncryptJWT({ started }).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
  return sealing
    .setIssuedAt(now)
    .setExpirationTime(now + seconds)
    .setAudience(context.mount.uuid)
    .encrypt(key)
}

/** @throws ERR_BAD_REQUEST for what is no state of this mount, or is too old. */
async function openState(context: HandlerContext): Promise<Started> {
  const key = await stateKey(context.storage)
  try {
    const options = { currentDate: new Date(context.nowMs), audience: context.mount.uuid, contentEncryptionAlgorithms: ['A256GCM'] }
    const { payload } = await jwtDecrypt(text(context, 'state'), key, options)
    return payload['started'] as Started
  } catch {
    throw bad('expired or missing OAuth state', 'begin again with oidc/auth_url')
  }
}

/** The role that a login began as; null for what is no state of this mount. */
export async function begunAs(context: HandlerContext): Promise<string | null> {
  try {
    return (await openState(context)).role
  } catch {
    return null
  }
}

function clientOf(config: JwtConfig): void {
  if (config.oidcDiscoveryUrl === '' || config.oidcClientId === '') {
    throw bad('OIDC login is not configured for this mount', 'write oidc_discovery_url and oidc_client_id to its config')
  }
}

/** Loopback redirects may come with any port: the command listens where one is free (RFC 8252). */
function isAllowedRedirect(uri: string, allowed: readonly string[]): boolean {
  if (allowed.includes(uri)) return true
  if (!URL.canParse(uri)) return false
  const given = new URL(uri)
  if (!['127.0.0.1', '[::1]', 'localhost'].includes(given.hostname)) return false
  return allowed.some((each) => {
    const one = new URL(each)
    return (
      one.hostname === given.hostname && one.protocol === given.protocol && one.pathname === given.pathname && one.search === given.search
    )
  })
}

const random = (context: HandlerContext): string => Buffer.from(context.random.bytes(32)).toString('base64url')

/** Where who logs in has to go. */
export async function authUrl(provider: Provider, context: HandlerContext): Promise<LogicalResponse> {
  const config = await configOf(context.storage)
  clientOf(config)
  const [name, role] = await roleOf(context, config.defaultRole)
  if (role.roleType !== 'oidc')
    throw bad(`role ${JSON.stringify(name)} could not be used: its role_type is 'jwt'`, 'log in with a token of the provider')
  const discovery = await provider.discover(context, config)
  const scope = ['openid', ...role.oidcScopes.filter((each) => each !== 'openid')].join(' ')
  if (role.callbackMode === 'device') return startDevice(provider, context, config, discovery, name, scope)
  const redirectUri = text(context, 'redirect_uri')
  if (redirectUri === '') throw bad('missing redirect_uri')
  if (!isAllowedRedirect(redirectUri, role.allowedRedirectUris))
    throw bad('unauthorized redirect_uri', "it must be one of the role's allowed_redirect_uris")
  if (discovery.authorization_endpoint === '') throw away(providerName, 'a discovery document without authorization_endpoint')
  const started: Started = {
    role: name,
    redirectUri,
    nonce: random(context),
    verifier: random(context),
    clientNonce: text(context, 'client_nonce'),
    deviceCode: '',
  }
  const url = new URL(discovery.authorization_endpoint)
  const parameters = {
    response_type: 'code',
    client_id: config.oidcClientId,
    redirect_uri: redirectUri,
    scope,
    state: await sealState(context, started, stateSecondsMax),
    nonce: started.nonce,
    code_challenge: createHash('sha256').update(started.verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...(role.maxAgeSeconds > 0 ? { max_age: String(role.maxAgeSeconds) } : {}),
  }
  for (const [key, value] of Object.entries(parameters)) url.searchParams.set(key, value)
  return { data: { auth_url: url.href } }
}

async function startDevice(
  provider: Provider,
  context: HandlerContext,
  config: JwtConfig,
  discovery: Discovery,
  role: string,
  scope: string,
): Promise<LogicalResponse> {
  const url = discovery.device_authorization_endpoint
  if (url === '') throw bad('the provider knows no device flow', "set the role's callback_mode to 'client'")
  const said = await aside(context, 'begin at the device endpoint', () => post(provider, config, discovery, url, { scope }))
  if (said.status !== 200) throw away(providerName, `status ${said.status}`)
  const { device_code: deviceCode, user_code: userCode, verification_uri: uri, verification_uri_complete: complete } = said.json
  if (typeof deviceCode !== 'string' || typeof uri !== 'string' || typeof userCode !== 'string') throw away(providerName, 'no device code')
  const seconds = typeof said.json['expires_in'] === 'number' ? Math.min(said.json['expires_in'], deviceSecondsMax) : stateSecondsMax
  const started: Started = { role, redirectUri: '', nonce: '', verifier: '', clientNonce: text(context, 'client_nonce'), deviceCode }
  return {
    data: {
      auth_url: typeof complete === 'string' ? complete : uri,
      verification_uri: uri,
      user_code: userCode,
      state: await sealState(context, started, seconds),
      poll_interval: String(typeof said.json['interval'] === 'number' ? said.json['interval'] : 5),
    },
  }
}

export interface Proven {
  readonly name: string
  readonly role: JwtRole
  readonly claims: Claims
}

/** The second step: what came back from the provider. @throws ERR_BAD_REQUEST, ERR_BAD_CREDENTIALS, ERR_UPSTREAM. */
export async function finishLogin(provider: Provider, context: HandlerContext, by: 'callback' | 'poll'): Promise<Proven> {
  const config = await configOf(context.storage)
  clientOf(config)
  const started = await openState(context)
  checkClientNonce(text(context, 'client_nonce'), started.clientNonce)
  const role = await roleTable.read(context.storage, started.role)
  if (role === null) throw bad(`role ${JSON.stringify(started.role)} could not be found`)
  if ((by === 'poll') !== (started.deviceCode !== '')) throw bad('expired or missing OAuth state', 'begin again with oidc/auth_url')
  const refused = optional<string>(context, 'error')
  // The provider's words came through a browser: its code alone is repeated.
  if (refused !== undefined) throw bad(`the provider refused the login: ${/^[a-z_]{1,64}$/.test(refused) ? refused : 'it did not say why'}`)
  const discovery = await provider.discover(context, config)
  const tokens = await aside(context, 'ask for the tokens of a login', () =>
    by === 'poll'
      ? askByDevice(provider, config, discovery, started)
      : askByCode(provider, config, discovery, started, text(context, 'code')),
  )
  const claims = await provider.signed(context, config, tokens.idToken)
  checkIssuer(claims, discovery.issuer)
  checkAudience(claims, [config.oidcClientId])
  const { nonce } = claims
  if (started.nonce !== '' && !(typeof nonce === 'string' && same(nonce, started.nonce)))
    throw new HoldfastError('ERR_BAD_CREDENTIALS', 'error validating token: invalid nonce')
  checkAge(claims, role, context.nowMs)
  const more = await aside(context, 'ask for the user info of a login', () =>
    userInfo(provider, config, discovery, tokens.accessToken, claims),
  )
  return { name: started.role, role, claims: { ...more, ...claims } }
}

function same(left: string, right: string): boolean {
  const digest = (value: string): Uint8Array => createHash('sha256').update(value).digest()
  return timingSafeEqual(digest(left), digest(right))
}

/** Who began the login, not whoever got hold of the address that the browser was sent to. */
function checkClientNonce(given: string, expected: string): void {
  if (expected !== '' && !same(given, expected)) throw new HoldfastError('ERR_BAD_CREDENTIALS', 'invalid client_nonce')
}

function checkAge(claims: Claims, role: JwtRole, nowMs: number): void {
  if (role.maxAgeSeconds === 0) return
  const at = claims['auth_time']
  const leeway = Math.max(0, role.clockSkewLeewaySeconds || 60)
  if (typeof at !== 'number' || nowMs / 1_000 - at > role.maxAgeSeconds + leeway)
    throw new HoldfastError('ERR_BAD_CREDENTIALS', 'error validating token: the login at the provider is older than max_age')
}

interface Tokens {
  readonly idToken: string
  readonly accessToken: string
}

async function askByCode(provider: Provider, config: JwtConfig, discovery: Discovery, started: Started, code: string): Promise<Tokens> {
  if (code === '') throw bad('missing code')
  const body = { grant_type: 'authorization_code', code, redirect_uri: started.redirectUri, code_verifier: started.verifier }
  const said = await post(provider, config, discovery, discovery.token_endpoint, body)
  if (said.status >= 400 && said.status < 500) throw refusal(said.json, 'error exchanging oidc code')
  return tokensOf(said)
}

async function askByDevice(provider: Provider, config: JwtConfig, discovery: Discovery, started: Started): Promise<Tokens> {
  const body = { grant_type: 'urn:ietf:params:oauth:grant-type:device_code', device_code: started.deviceCode }
  const said = await post(provider, config, discovery, discovery.token_endpoint, body)
  const { error } = said.json
  // What a poller waits on, letter by letter.
  if (error === 'authorization_pending' || error === 'slow_down') throw bad(error)
  if (said.status >= 400 && said.status < 500) throw refusal(said.json, 'error asking by device code')
  return tokensOf(said)
}

function refusal(json: Readonly<Record<string, unknown>>, what: string): HoldfastError {
  const { error } = json
  const code = typeof error === 'string' && /^[a-z_]{1,64}$/.test(error) ? error : 'refused'
  return new HoldfastError('ERR_BAD_CREDENTIALS', `${what}: the provider answered ${code}`)
}

function tokensOf({ status, json }: Said): Tokens {
  if (status !== 200) throw away(providerName, `status ${status}`)
  const { id_token: idToken, access_token: accessToken } = json
  if (typeof idToken !== 'string') throw away(providerName, 'no id_token')
  return { idToken, accessToken: typeof accessToken === 'string' ? accessToken : '' }
}

interface Said {
  readonly status: number
  readonly json: Readonly<Record<string, unknown>>
}

/** A form to one of the provider's routes, as this mount's client. */
async function post(
  provider: Provider,
  config: JwtConfig,
  discovery: Discovery,
  url: string,
  fields: Readonly<Record<string, string>>,
): Promise<Said> {
  const form = new URLSearchParams(fields)
  const headers: Record<string, string> = { 'content-type': 'application/x-www-form-urlencoded' }
  const { oidcClientId: id, oidcClientSecret: secret } = config
  const methods = discovery.token_endpoint_auth_methods_supported
  if (secret !== '' && (methods.length === 0 || methods.includes('client_secret_basic'))) {
    // RFC 6749 2.3.1: each half is form-encoded before the two are joined.
    const encoded = (value: string): string => new URLSearchParams({ v: value }).toString().slice(2)
    headers['authorization'] = `Basic ${Buffer.from(`${encoded(id)}:${encoded(secret)}`).toString('base64')}`
  } else if (secret !== '') form.set('client_secret', secret)
  form.set('client_id', id)
  const question = { url, method: 'POST' as const, headers, body: form.toString(), caPem: config.oidcDiscoveryCaPem }
  const { status, json } = await provider.outside.web(providerName, question)
  return { status, json: typeof json === 'object' && json !== null ? (json as Said['json']) : {} }
}

/** Claims that the provider keeps out of the token. They are its word only if they are about the same subject. */
async function userInfo(provider: Provider, config: JwtConfig, discovery: Discovery, accessToken: string, claims: Claims): Promise<Claims> {
  if (discovery.userinfo_endpoint === '' || accessToken === '') return {}
  const headers = { authorization: `Bearer ${accessToken}` }
  const question = { url: discovery.userinfo_endpoint, headers, caPem: config.oidcDiscoveryCaPem }
  const { status, json } = await provider.outside.web(providerName, question)
  if (status !== 200 || typeof json !== 'object' || json === null) return {}
  return (json as Claims)['sub'] === claims['sub'] ? (json as Claims) : {}
}
