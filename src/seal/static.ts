import type { RandomSource } from '#base/random.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { SecretBytes } from '#base/secret.ts'
import { openBox, sealBox } from '#barrier/aead.ts'
import { SealFault } from './faults.ts'
import { readKeyBytes, type Environment } from './secret-source.ts'
import type { SealBackend } from './types.ts'
import { encodeWrapped, parseWrapped } from './wrapped.ts'

export interface StaticSealKey {
  /** Named in what it wraps, so that the previous key is found after a change. 1 to 255 bytes of UTF-8. */
  readonly id: string
  /** 32 bytes. */
  readonly key: SecretBytes
}

const keyBytes = 32

/**
 * A seal by one key that the machine hands in (a file of the orchestrator, a TPM's credential): as safe as that place is.
 * Wraps with `current`; unwraps with `previous` too, so that the key can be changed node by node. Takes ownership of the keys.
 */
export function createStaticSeal(options: {
  readonly current: StaticSealKey
  readonly previous?: StaticSealKey
  readonly random: RandomSource
}): SealBackend {
  const { current, random } = options
  const known = [current, ...(options.previous ? [options.previous] : [])]
  for (const { id, key } of known) checkKey(id, key)
  return {
    kind: 'static',
    wrap: async (plaintext, place) => {
      const box = sealBox(current.key.reveal(), `static seal ${place}`, plaintext, random)
      return encodeWrapped({ key_id: current.id, box: Buffer.from(box).toString('base64') })
    },
    unwrap: async (wrapped, place) => {
      const { id, box } = parse(wrapped)
      const match = known.find((candidate) => candidate.id === id)
      if (match === undefined)
        throw new SealFault(
          'key',
          `seal static expected the key that wrapped the root key, ${JSON.stringify(id)}, got only ${known.map((one) => JSON.stringify(one.id)).join(', ')}`,
          { hint: 'configure that key as previous_key, with its id as previous_key_id' },
        )
      return openUnder(match, place, box)
    },
    outdated: (wrapped) => parse(wrapped).id !== current.id,
    close: async () => {
      for (const { key } of known) key[Symbol.dispose]()
    },
  }
}

interface Wire {
  readonly key_id: string
  readonly box: string
}

function parse(wrapped: Uint8Array): { id: string; box: Uint8Array } {
  const isMine = ({ key_id: id, box }: Partial<Wire>): boolean => typeof id === 'string' && typeof box === 'string'
  const { key_id: id, box } = parseWrapped<Wire>('static', wrapped, isMine)
  return { id, box: new Uint8Array(Buffer.from(box, 'base64')) }
}

function openUnder({ id, key }: StaticSealKey, place: string, box: Uint8Array): Uint8Array {
  try {
    return openBox(key.reveal(), `static seal ${place}`, box)
  } catch (error) {
    if (!isHoldfastError(error, 'ERR_DECRYPT')) throw error
    throw new SealFault('key', `seal static expected key ${JSON.stringify(id)} to open the root key, got another key of that name`, {
      hint: 'is it the file of this cluster, and unchanged?',
    })
  }
}

/** From the texts of a `seal "static"` block. @throws ERR_CONFIG. */
export function staticSealFrom(options: Readonly<Record<string, string>>, tools: { random: RandomSource; env: Environment }): SealBackend {
  const keyOf = (which: 'current' | 'previous'): StaticSealKey | null => {
    const { [`${which}_key`]: source, [`${which}_key_id`]: id } = options
    if (source === undefined && id === undefined) return null
    if (source === undefined || id === undefined)
      throw new HoldfastError('ERR_CONFIG', `seal.static expected ${which}_key and ${which}_key_id together, got one of them`)
    return { id, key: new SecretBytes(readKeyBytes(`seal.static.${which}_key`, source, keyBytes, tools.env)) }
  }
  const current = keyOf('current')
  if (current === null) throw new HoldfastError('ERR_CONFIG', 'seal.static expected current_key and current_key_id, got neither')
  const previous = keyOf('previous')
  return createStaticSeal({ current, ...(previous === null ? {} : { previous }), random: tools.random })
}

function checkKey(id: string, key: SecretBytes): void {
  const idBytes = Buffer.byteLength(id)
  if (key.length === keyBytes && idBytes >= 1 && idBytes <= 255) return
  throw new HoldfastError(
    'ERR_CONFIG',
    `static seal expected a key of ${keyBytes} bytes with an id of 1 to 255, got ${key.length} and ${idBytes}`,
    {
      hint: 'make one with: openssl rand -out seal.key 32',
    },
  )
}
