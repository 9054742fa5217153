/**
 * A seal by a symmetric key of AWS KMS. Its ciphertexts name the key (and its generation) that made them, so a rotation inside KMS needs nothing
 * here. With `failover_regions` the root key is wrapped once in each region, by each region's own key; any one of them opens it again.
 *
 * The AWS packages are loaded when such a seal is configured: they cost every other server 80 ms at start and 24 MB.
 */
import type { DecryptCommand, EncryptCommand, KMSClient, KMSClientConfig } from '@aws-sdk/client-kms'
import { HoldfastError } from '#base/errors.ts'
import { SealFault } from './faults.ts'
import { awsFault } from './awskms-faults.ts'
import type { SealBackend } from './types.ts'
import { encodeWrapped, parseWrapped } from './wrapped.ts'

interface Sdk {
  readonly KMSClient: typeof KMSClient
  readonly EncryptCommand: typeof EncryptCommand
  readonly DecryptCommand: typeof DecryptCommand
}

const regionsMax = 8
const connectMsMax = 3_000
const answerMsMax = 4_000

/** One region's copy. `key` is the ARN that KMS named: it says which key opens it. */
interface Copy {
  readonly region: string
  readonly key: string
  readonly blob: string
}

class AwsKmsSeal implements SealBackend {
  readonly kind = 'awskms'
  readonly #keyId: string
  readonly #regions: readonly string[]
  readonly #clientConfig: (region: string) => KMSClientConfig
  readonly #clients = new Map<string, KMSClient>()
  #sdk: Promise<Sdk> | null = null

  constructor(keyId: string, regions: readonly string[], clientConfig: (region: string) => KMSClientConfig) {
    this.#keyId = keyId
    this.#regions = regions
    this.#clientConfig = clientConfig
  }

  async wrap(plaintext: Uint8Array, place: string, signal: AbortSignal): Promise<Uint8Array> {
    const outcomes = await Promise.allSettled(this.#regions.map((region) => this.#encrypt(region, plaintext, place, signal)))
    const [first] = outcomes
    // The first region must have its copy: it is the one that is asked first. The others are a spare; `outdated` tells of one that is missing.
    if (first === undefined || first.status === 'rejected') throw first?.reason ?? new SealFault('other', 'seal awskms expected a region')
    const copies = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
    return encodeWrapped({ copies })
  }

  async unwrap(wrapped: Uint8Array, place: string, signal: AbortSignal): Promise<Uint8Array> {
    const copies = parseCopies(wrapped)
    let failure: unknown = null
    for (const region of this.#regions) {
      for (const copy of copies.filter((one) => one.region === region || isMultiRegion(one.key))) {
        try {
          return await this.#decrypt(region, copy, place, signal)
        } catch (error) {
          // What the first region says is what is wrong; of the others one hears only if it had no copy.
          failure ??= error
        }
      }
    }
    throw (
      failure ??
      new SealFault(
        'key',
        `seal awskms expected a copy for ${this.#regions.join(', ')}, got one for ${copies.map((one) => one.region).join(', ')}`,
      )
    )
  }

  outdated(wrapped: Uint8Array): boolean {
    const copies = parseCopies(wrapped)
    if (this.#regions.some((region) => copies.every((copy) => copy.region !== region))) return true
    // An alias may point elsewhere since: only KMS could tell, and `sys/sealwrap/rewrap` asks it.
    if (this.#keyId.startsWith('alias/') || this.#keyId.includes(':alias/')) return false
    return copies.every((copy) => copy.key !== this.#keyId && copy.key.split('/').at(-1) !== this.#keyId)
  }

  async close(): Promise<void> {
    for (const client of this.#clients.values()) client.destroy()
    this.#clients.clear()
  }

  async #encrypt(region: string, plaintext: Uint8Array, place: string, signal: AbortSignal): Promise<Copy> {
    const { EncryptCommand: Encrypt } = await this.#load()
    const command = new Encrypt({ KeyId: this.#keyId, Plaintext: plaintext, EncryptionContext: contextOf(place) })
    const answer = await this.#ask(region, (client) => client.send(command, { abortSignal: signal }))
    const { CiphertextBlob: blob, KeyId: key } = answer
    if (blob === undefined || key === undefined)
      throw new SealFault('other', `seal awskms expected a ciphertext from KMS in ${region}, got none`)
    return { region, key, blob: Buffer.from(blob).toString('base64') }
  }

  async #decrypt(region: string, copy: Copy, place: string, signal: AbortSignal): Promise<Uint8Array> {
    const { DecryptCommand: Decrypt } = await this.#load()
    // Named, so that KMS refuses a blob of any other key that these credentials may use.
    const key = copy.region === region ? copy.key : copy.key.replace(`:${copy.region}:`, `:${region}:`)
    const command = new Decrypt({ KeyId: key, CiphertextBlob: Buffer.from(copy.blob, 'base64'), EncryptionContext: contextOf(place) })
    const { Plaintext: plaintext } = await this.#ask(region, (client) => client.send(command, { abortSignal: signal }))
    if (plaintext === undefined) throw new SealFault('other', `seal awskms expected a plaintext from KMS in ${region}, got none`)
    return plaintext
  }

  async #ask<T>(region: string, send: (client: KMSClient) => Promise<T>): Promise<T> {
    try {
      return await send(await this.#client(region))
    } catch (error) {
      throw awsFault(error, region)
    }
  }

  async #client(region: string): Promise<KMSClient> {
    const { KMSClient: Client } = await this.#load()
    const known = this.#clients.get(region)
    if (known !== undefined) return known
    const made = new Client({
      ...this.#clientConfig(region),
      region,
      maxAttempts: 1, // The guard tries again, within bounds that it knows.
      requestHandler: { connectionTimeout: connectMsMax, requestTimeout: answerMsMax, throwOnRequestTimeout: true },
    })
    this.#clients.set(region, made)
    return made
  }

  #load(): Promise<Sdk> {
    this.#sdk ??= import('@aws-sdk/client-kms')
    return this.#sdk
  }
}

/** Bound by KMS to what it wraps: it must come again, in the same words. */
const contextOf = (place: string): Record<string, string> => ({ holdfast: 'seal', place })

const isMultiRegion = (key: string): boolean => key.includes('key/mrk-')

const isCopy = (copy: Partial<Copy>): boolean => [copy.region, copy.key, copy.blob].every((text) => typeof text === 'string')

function parseCopies(wrapped: Uint8Array): readonly Copy[] {
  const known = ({ copies }: { copies?: readonly Copy[] }): boolean =>
    Array.isArray(copies) && copies.length <= regionsMax && copies.every((copy) => isCopy((copy ?? {}) as Partial<Copy>))
  return parseWrapped<{ readonly copies: readonly Copy[] }>('awskms', wrapped, known).copies
}

/** From the texts of a `seal "awskms"` block. Credentials come from the AWS client's own search unless given. @throws ERR_CONFIG. */
export function awsKmsSealFrom(options: Readonly<Record<string, string>>): SealBackend {
  const { kms_key_id: keyId, region = 'us-east-1', endpoint, access_key, secret_key, session_token, shared_creds_profile } = options
  if (keyId === undefined) throw new HoldfastError('ERR_CONFIG', 'seal.awskms.kms_key_id expected a key, got none')
  if ((access_key === undefined) !== (secret_key === undefined))
    throw new HoldfastError('ERR_CONFIG', 'seal.awskms expected access_key and secret_key together, got one of them')
  const spare = (options['failover_regions'] ?? '').split(',').filter((name) => name !== '')
  const regions = [...new Set([region, ...spare])]
  const odd = regions.find((name) => !/^[a-z0-9-]{3,40}$/.test(name))
  if (odd !== undefined)
    throw new HoldfastError('ERR_CONFIG', `seal.awskms expected regions such as eu-central-1, got ${JSON.stringify(odd)}`)
  if (regions.length > regionsMax)
    throw new HoldfastError('ERR_CONFIG', `seal.awskms.failover_regions expected at most ${regionsMax - 1}, got ${regions.length - 1}`)
  const credentials =
    access_key === undefined || secret_key === undefined
      ? {}
      : {
          credentials: {
            accessKeyId: access_key,
            secretAccessKey: secret_key,
            ...(session_token === undefined ? {} : { sessionToken: session_token }),
          },
        }
  const profile = shared_creds_profile === undefined ? {} : { profile: shared_creds_profile }
  const clientConfig = (name: string): KMSClientConfig => ({
    ...credentials,
    ...profile,
    ...(endpoint === undefined ? {} : { endpoint: endpoint.replaceAll('{region}', name) }),
  })
  return new AwsKmsSeal(keyId, regions, clientConfig)
}
