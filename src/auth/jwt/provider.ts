/**
 * The provider of a mount's tokens: its keys and its routes, fetched when they are needed and kept for a while.
 *
 * Keys rotate: a token that no kept key fits makes them be fetched again, though not more often than `refetchMsMin`, so that a flood of forged
 * tokens does not become a flood at the provider. What was kept longer than `keptMsMax` is not believed any more: a key that the provider has withdrawn
 * lets nobody in for longer than that, and while the provider is away nobody is let in by keys that may have been.
 */
import { createHash, createPublicKey } from 'node:crypto'
import { compactVerify, createLocalJWKSet, errors, type CryptoKey, type JSONWebKeySet, type KeyObject } from 'jose'
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import { BoundedLru } from '#base/lru.ts'
import { aside } from '#core/aside.ts'
import { away, type Outside } from '../outside.ts'
import { algorithms, type JwtConfig } from './config.ts'

/** How long keys and routes are believed. */
const keptMsMax = 300_000
/** Between two fetches for the sake of a key that is not there. */
const refetchMsMin = 2_000
/** Documents kept, of all mounts. */
const documentsMax = 256
const tokenCharsMax = 32_768
const provider = 'the OpenID provider'

/** What the discovery document says; checked. */
export interface Discovery {
  readonly issuer: string
  readonly jwks_uri: string
  readonly authorization_endpoint: string
  readonly token_endpoint: string
  readonly userinfo_endpoint: string
  readonly device_authorization_endpoint: string
  readonly token_endpoint_auth_methods_supported: readonly string[]
}

interface Kept {
  readonly value: unknown
  readonly atMs: number
}

export type Claims = Readonly<Record<string, unknown>>

export class Provider {
  readonly #outside: Outside
  readonly #clock: Clock
  readonly #documents = new BoundedLru<string, Kept>({ weightMax: documentsMax })
  /** Fetches under way: whoever asks for the same waits for the same answer. */
  readonly #fetching = new Map<string, Promise<unknown>>()

  constructor(outside: Outside, clock: Clock) {
    this.#outside = outside
    this.#clock = clock
  }

  get outside(): Outside {
    return this.#outside
  }

  /** Asks whether what `config` names answers as it should. @throws ERR_BAD_REQUEST. */
  async check(context: object, config: JwtConfig): Promise<void> {
    if (config.validationPubkeys.length > 0) return
    await aside(context, `check the provider of ${stampOf(config)}`, async () => {
      const name = config.jwksUrl === '' ? 'oidc discovery URL' : 'jwks URL'
      try {
        await this.#keySet(config, 0)
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error
        throw new HoldfastError('ERR_BAD_REQUEST', `error checking ${name}: ${error.message}`, { cause: error })
      }
    })
  }

  /** What the provider says of itself. @throws ERR_UPSTREAM. */
  discover(context: object, config: JwtConfig): Promise<Discovery> {
    return aside(context, `discover ${stampOf(config)}`, () => this.#discover(config, keptMsMax))
  }

  /**
   * The claims of `token`, whose signature is good; nothing else is checked. Aside.
   * @throws ERR_BAD_CREDENTIALS for what is not signed by one of the provider's keys; ERR_UPSTREAM when they can't be had.
   */
  signed(context: object, config: JwtConfig, token: string): Promise<Claims> {
    const key = `check a token against ${stampOf(config)} ${createHash('sha256').update(token).digest('hex')}`
    return aside(context, key, () => this.#signed(config, token))
  }

  async #signed(config: JwtConfig, token: string): Promise<Claims> {
    if (token.length > tokenCharsMax) throw wrong(`at most ${tokenCharsMax} characters, got ${token.length}`)
    if (config.validationPubkeys.length > 0) {
      const keys = config.validationPubkeys.map((pem) => createPublicKey(pem))
      return claimsOf(await firstThatFits(token, keys, algorithmsOf(config)).catch((error: unknown) => Promise.reject(asWrong(error))))
    }
    const found = await this.#try(config, token, keptMsMax)
    if (found !== null) return found
    // The keys may have changed since they were fetched.
    const fresh = await this.#try(config, token, refetchMsMin)
    if (fresh === null) throw wrong('one that a key of the provider has signed')
    return fresh
  }

  async #try(config: JwtConfig, token: string, ageMsMax: number): Promise<Claims | null> {
    const keys = await this.#keySet(config, ageMsMax)
    try {
      return claimsOf(await verifyBySet(token, keys, algorithmsOf(config)))
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWSSignatureVerificationFailed) return null
      throw asWrong(error)
    }
  }

  async #keySet(config: JwtConfig, ageMsMax: number): Promise<JSONWebKeySet> {
    const discovery = config.jwksUrl === '' ? await this.#discover(config, ageMsMax === 0 ? 0 : keptMsMax) : null
    const url = discovery?.jwks_uri ?? config.jwksUrl
    const caPem = discovery === null ? config.jwksCaPem : config.oidcDiscoveryCaPem
    return (await this.#document('key set', url, caPem, ageMsMax, keySetOf)) as JSONWebKeySet
  }

  async #discover(config: JwtConfig, ageMsMax: number): Promise<Discovery> {
    const base = config.oidcDiscoveryUrl.replace(/\/+$/, '')
    const url = `${base}/.well-known/openid-configuration`
    return (await this.#document('discovery', url, config.oidcDiscoveryCaPem, ageMsMax, (json) => discoveryOf(json, base))) as Discovery
  }

  /**
   * Kept only once `check` has let it through: a provider that answers rubbish for a moment is asked again the next time. Kept apart by `kind`: who looks
   * after a mount may name as its key set where another's provider is discovered, and whoever logged in there would wait for a fetch that can't go well.
   */
  async #document(kind: string, url: string, caPem: string, ageMsMax: number, check: (json: unknown) => unknown): Promise<unknown> {
    const key = `${kind}\0${url}\0${createHash('sha256').update(caPem).digest('hex')}`
    const kept = this.#documents.get(key)
    if (kept !== undefined && this.#clock.monotonicMs() - kept.atMs < ageMsMax) return kept.value
    const running = this.#fetching.get(key)
    if (running !== undefined) return running
    const fetched = this.#fetch(url, caPem, check).finally(() => this.#fetching.delete(key))
    this.#fetching.set(key, fetched)
    const value = await fetched
    this.#documents.set(key, { value, atMs: this.#clock.monotonicMs() })
    return value
  }

  async #fetch(url: string, caPem: string, check: (json: unknown) => unknown): Promise<unknown> {
    const { status, json } = await this.#outside.web(provider, { url, caPem })
    if (status !== 200) throw away(provider, `status ${status}`)
    return check(json)
  }
}

function keySetOf(json: unknown): JSONWebKeySet {
  const { keys } = (json ?? {}) as Partial<JSONWebKeySet>
  if (!Array.isArray(keys)) throw away(provider, 'something that is no key set')
  // Symmetric keys have no place there; one of them must never check a signature.
  return { keys: keys.filter((key) => typeof key === 'object' && key !== null && key.kty !== 'oct') }
}

function discoveryOf(json: unknown, base: string): Discovery {
  const said = (typeof json === 'object' && json !== null ? json : {}) as Readonly<Record<string, unknown>>
  const textOf = (name: string): string => (typeof said[name] === 'string' ? said[name] : '')
  const methods = said['token_endpoint_auth_methods_supported']
  const discovery: Discovery = {
    issuer: textOf('issuer'),
    jwks_uri: textOf('jwks_uri'),
    authorization_endpoint: textOf('authorization_endpoint'),
    token_endpoint: textOf('token_endpoint'),
    userinfo_endpoint: textOf('userinfo_endpoint'),
    device_authorization_endpoint: textOf('device_authorization_endpoint'),
    token_endpoint_auth_methods_supported: Array.isArray(methods) ? methods.map(String) : ['client_secret_basic'],
  }
  // A document of another issuer could name keys of anyone's.
  if (discovery.issuer.replace(/\/+$/, '') !== base) throw away(provider, 'a discovery document of another issuer')
  if (discovery.jwks_uri === '') throw away(provider, 'a discovery document without jwks_uri')
  return discovery
}

/** Which configuration a result belongs to: of another one it says nothing. */
const stampOf = (config: JwtConfig): string => createHash('sha256').update(JSON.stringify(config)).digest('hex')

const algorithmsOf = (config: JwtConfig): string[] => [...(config.supportedAlgs.length > 0 ? config.supportedAlgs : algorithms)]

type VerifyingKey = CryptoKey | KeyObject

async function verifyBySet(token: string, set: JSONWebKeySet, accepted: string[]): Promise<Uint8Array> {
  try {
    return (await compactVerify(token, createLocalJWKSet(set), { algorithms: accepted })).payload
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error
    // A token without a key id, and several keys of its kind.
    const keys: VerifyingKey[] = []
    for await (const key of error) keys.push(key)
    return firstThatFits(token, keys, accepted)
  }
}

/** @throws what jose throws of the last one: JWSSignatureVerificationFailed when none fits. */
async function firstThatFits(token: string, keys: readonly VerifyingKey[], accepted: string[]): Promise<Uint8Array> {
  let last: unknown = null
  for (const key of keys) {
    try {
      return (await compactVerify(token, key, { algorithms: accepted })).payload
    } catch (error) {
      last = error
    }
  }
  throw last
}

function claimsOf(payload: Uint8Array): Claims {
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload).toString())
    if (typeof claims === 'object' && claims !== null && !Array.isArray(claims)) return claims as Claims
  } catch {
    // No JSON: as below.
  }
  throw wrong('an object of claims')
}

/** jose's words name headers and algorithms, never what was signed; what else fails is the key's kind not being the token's. */
function asWrong(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error
  if (error instanceof errors.JOSEAlgNotAllowed) return wrong('an algorithm that is allowed')
  if (error instanceof errors.JWSInvalid) return wrong('a signed token')
  return wrong('one that a key of the provider has signed')
}

const wrong = (expected: string): HoldfastError => new HoldfastError('ERR_BAD_CREDENTIALS', `error validating token: expected ${expected}`)
