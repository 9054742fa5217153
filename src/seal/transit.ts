/**
 * A seal by the transit engine of another cluster: Holdfast, Vault or OpenBao. That cluster must not be sealed, directly or in a circle, by the
 * one that it opens. The token is read anew for each call, so that an agent may replace its file; it is renewed at half its life.
 */
import { readFileSync } from 'node:fs'
import type { Clock, Timer } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import { Client } from '#client/client.ts'
import { ApiError, UnreachableError } from '#client/errors.ts'
import type { TlsOptions } from '#client/types.ts'
import { SealFault, type SealFaultKind } from './faults.ts'
import { readSecretText, type Environment } from './secret-source.ts'
import type { SealBackend } from './types.ts'
import { encodeWrapped, parseWrapped } from './wrapped.ts'

export interface TransitTools {
  readonly clock: Clock
  readonly random: RandomSource
  readonly env: Environment
  readonly log: Logger
}

interface TransitSettings {
  readonly address: string
  readonly mount: string
  readonly keyName: string
  readonly token: () => string
  readonly renewal: boolean
}

const callMsMax = 8_000
const renewMsMin = 5_000
const renewMsMax = 3_600_000
const renewAgainMs = 60_000
/** One segment of a path, and neither '.' nor '..'. */
const nameChars = /^(?!\.{1,2}$)[\w.-]{1,255}$/
const mountDepthMax = 8
const isMount = (path: string): boolean => {
  const segments = path.split('/')
  return segments.length <= mountDepthMax && segments.every((segment) => nameChars.test(segment))
}

interface Wrapped {
  readonly mount: string
  readonly key: string
  readonly ciphertext: string
}

class TransitSeal implements SealBackend {
  readonly kind = 'transit'
  readonly #settings: TransitSettings
  readonly #client: Client
  readonly #tools: TransitTools
  /** Of the key, as the other cluster last said; 0: not heard yet. */
  #newestVersion = 0
  #renewing: Timer | null = null
  #renews = false
  #closed = false

  constructor(settings: TransitSettings, client: Client, tools: TransitTools) {
    this.#settings = settings
    this.#client = client
    this.#tools = tools
  }

  async wrap(plaintext: Uint8Array, place: string, signal: AbortSignal): Promise<Uint8Array> {
    const { mount, keyName: key } = this.#settings
    const body = { plaintext: Buffer.from(plaintext).toString('base64'), associated_data: dataOf(place) }
    const { ciphertext, key_version: version } = await this.#post(`${mount}/encrypt/${key}`, body, signal)
    if (typeof ciphertext !== 'string') throw new SealFault('other', 'seal transit expected a ciphertext, got an answer without')
    this.#newestVersion = typeof version === 'number' ? version : versionOf(ciphertext)
    return encodeWrapped({ mount, key, ciphertext })
  }

  async unwrap(wrapped: Uint8Array, place: string, signal: AbortSignal): Promise<Uint8Array> {
    const { mount, key, ciphertext } = parseWrapped<Wrapped>('transit', wrapped, isMine)
    const answer = await this.#post(`${mount}/decrypt/${key}`, { ciphertext, associated_data: dataOf(place) }, signal)
    const { plaintext } = answer
    if (typeof plaintext !== 'string') throw new SealFault('other', 'seal transit expected a plaintext, got an answer without')
    return new Uint8Array(Buffer.from(plaintext, 'base64'))
  }

  outdated(wrapped: Uint8Array): boolean {
    const { mount, key, ciphertext } = parseWrapped<Wrapped>('transit', wrapped, isMine)
    return mount !== this.#settings.mount || key !== this.#settings.keyName || versionOf(ciphertext) < this.#newestVersion
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#renewing?.cancel()
    await this.#client.close()
  }

  async #post(path: string, body: object, signal: AbortSignal): Promise<Readonly<Record<string, unknown>>> {
    try {
      const answer = await this.#client.write(path, body, { token: this.#settings.token(), idempotent: true, signal })
      if (this.#settings.renewal && !this.#renews) {
        this.#renews = true
        this.#renewIn(renewMsMin)
      }
      return answer?.data ?? {}
    } catch (error) {
      throw this.#faultOf(error)
    }
  }

  #faultOf(error: unknown): SealFault {
    if (error instanceof SealFault) return error
    const { address, keyName } = this.#settings
    if (error instanceof UnreachableError) {
      const reason = error.message.slice(error.message.indexOf(': ') + 2)
      const fault = reason === 'no answer in time' ? 'timeout' : 'network'
      return new SealFault(fault, `seal transit expected an answer from ${address}, got: ${reason}`, {
        hint: 'is it running, open and reached from here, and is tls_ca_cert its authority?',
      })
    }
    if (!(error instanceof ApiError))
      return new SealFault(
        'other',
        `seal transit expected an answer from ${address}, got ${error instanceof HoldfastError ? error.message : 'an error'}`,
      )
    const fault = kindOf(error.status)
    return new SealFault(
      fault,
      `seal transit expected ${expectations[fault]} of ${address} for key ${keyName}, got status ${error.status}`,
      {
        hint: hints[fault],
      },
    )
  }

  #renewIn(ms: number): void {
    if (this.#closed) return
    this.#renewing = this.#tools.clock.setTimer(ms, () => {
      this.#renew().then(
        (nextMs) => (nextMs === null ? undefined : this.#renewIn(nextMs)),
        () => undefined, // Never thrown: `#renew` answers for its own failures.
      )
    })
  }

  /** Milliseconds until the next time; null: this token needs none. */
  async #renew(): Promise<number | null> {
    try {
      const answer = await this.#client.write('auth/token/renew-self', {}, { token: this.#settings.token(), idempotent: true })
      const { lease_duration: seconds, renewable } = (answer?.auth ?? {}) as { lease_duration?: number; renewable?: boolean }
      if (typeof seconds !== 'number' || seconds <= 0 || renewable !== true) return null
      return Math.min(renewMsMax, Math.max(renewMsMin, (seconds * 1_000) / 2))
    } catch (error) {
      // A token that can't be renewed may still be replaced in its file.
      const status = error instanceof ApiError ? error.status : 0
      this.#tools.log.warn({ status }, "the transit seal's token could not be renewed")
      return status === 400 ? null : renewAgainMs
    }
  }
}

/** Bound by the engine to what it wraps: it must come again. */
const dataOf = (place: string): string => Buffer.from(`holdfast seal ${place}`).toString('base64')

const versionOf = (ciphertext: string): number => Number(/^[a-z]+:v(\d+):/.exec(ciphertext)?.[1] ?? 0)

function kindOf(status: number): SealFaultKind {
  if (status === 401 || status === 403) return 'credentials'
  if (status === 429) return 'throttled'
  if (status === 400 || status === 404) return 'key'
  return status >= 500 ? 'network' : 'other'
}

const expectations: Readonly<Record<SealFaultKind, string>> = {
  credentials: 'a token that may encrypt and decrypt',
  throttled: 'fewer calls',
  key: 'the key that wrapped it',
  network: 'service',
  timeout: 'an answer',
  missing: 'a part that is installed',
  other: 'success',
}

const hints: Readonly<Record<SealFaultKind, string>> = {
  credentials: 'give it a policy with update on encrypt and decrypt of the key, and renew it or let it live on',
  throttled: 'raise the quota of that cluster for this one',
  key: 'are mount_path and key_name those of this cluster, and is min_decryption_version low enough?',
  network: 'is that cluster open, with a leader?',
  timeout: 'is that cluster reached from here?',
  missing: '',
  other: 'does a transit engine answer there?',
}

/** Mount and key become part of a path. */
const isMine = ({ mount, key, ciphertext }: Partial<Wrapped>): boolean =>
  typeof mount === 'string' && isMount(mount) && typeof key === 'string' && nameChars.test(key) && typeof ciphertext === 'string'

/** From the texts of a `seal "transit"` block. @throws ERR_CONFIG. */
export function transitSealFrom(options: Readonly<Record<string, string>>, tools: TransitTools): SealBackend {
  const { address, token, key_name: keyName, namespace } = options
  const mount = (options['mount_path'] ?? 'transit').replace(/^\/+|\/+$/g, '')
  if (address === undefined) throw wrong('address', 'a URL', 'none')
  if (keyName === undefined || !nameChars.test(keyName)) throw wrong('key_name', 'letters, digits, ".", "_" and "-"', 'something else')
  if (!isMount(mount)) throw wrong('mount_path', 'the path of a mount', 'something else')
  if (token === undefined) throw wrong('token', 'a token, file:///PATH or env://NAME', 'none')
  const tls = tlsOf(options)
  const client = new Client(
    {
      addresses: [address],
      timeoutMs: callMsMax,
      retriesMax: 0,
      ...(namespace === undefined ? {} : { namespace }),
      ...(tls === null ? {} : { tls }),
    },
    tools,
  )
  const settings = {
    address,
    mount,
    keyName,
    token: () => tokenOf(token, tools.env),
    renewal: options['disable_renewal'] !== 'true',
  }
  return new TransitSeal(settings, client, tools)
}

function tokenOf(source: string, env: Environment): string {
  try {
    return readSecretText('seal.transit.token', source, env)
  } catch (error) {
    throw new SealFault('credentials', (error as Error).message)
  }
}

function tlsOf(options: Readonly<Record<string, string>>): TlsOptions | null {
  const pem = (key: string): string | undefined => (options[key] === undefined ? undefined : readPem(key, options[key]))
  const [ca, cert, key] = [pem('tls_ca_cert'), pem('tls_client_cert'), pem('tls_client_key')]
  const { tls_server_name: serverName } = options
  const tls: TlsOptions = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(serverName === undefined ? {} : { serverName }),
    ...(options['tls_skip_verify'] === 'true' ? { skipVerify: true } : {}),
  }
  return Object.keys(tls).length === 0 ? null : tls
}

function readPem(key: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw wrong(key, 'a readable file', `${(error as NodeJS.ErrnoException).code ?? 'an error'} for ${path}`)
  }
}

function wrong(key: string, expected: string, got: string): HoldfastError {
  return new HoldfastError('ERR_CONFIG', `seal.transit.${key} expected ${expected}, got ${got}`)
}
