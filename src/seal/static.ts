import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import type { SecretBytes } from '#base/secret.ts'
import { openBox, sealBox } from '#barrier/aead.ts'
import { concatBytes } from '#barrier/bytes.ts'
import type { AutoSeal } from './types.ts'

export interface StaticSealKey {
  /** Named in what it wraps, so that the previous key is found after a change. 1 to 255 bytes of UTF-8. */
  readonly id: string
  /** 32 bytes. */
  readonly key: SecretBytes
}

/**
 * A seal by one key that the machine hands in (a file of the orchestrator, a TPM's credential): as safe as that place is.
 * Wraps with `current`; unwraps with `previous` too, so that the key can be changed node by node.
 */
export function createStaticSeal(options: {
  readonly current: StaticSealKey
  readonly previous?: StaticSealKey
  readonly random: RandomSource
}): AutoSeal {
  const known = [options.current, ...(options.previous ? [options.previous] : [])]
  for (const { id, key } of known) checkKey(id, key)
  return {
    kind: 'static',
    wrap: async (plaintext, place) => {
      const id = Buffer.from(options.current.id)
      return concatBytes(
        new Uint8Array([id.length]),
        id,
        sealBox(options.current.key.reveal(), `static seal ${place}`, plaintext, options.random),
      )
    },
    unwrap: async (wrapped, place) => {
      const end = 1 + (wrapped[0] ?? 0)
      const id = Buffer.from(wrapped.subarray(1, end)).toString('utf8')
      const match = known.find((candidate) => candidate.id === id)
      if (match === undefined)
        throw new HoldfastError('ERR_DECRYPT', 'static seal expected the key that wrapped the root key, got others', {
          hint: 'configure that key as the previous one, with its id',
        })
      return openBox(match.key.reveal(), `static seal ${place}`, wrapped.subarray(end))
    },
    health: async () => ({ ok: true, detail: 'the key is in memory' }),
  }
}

function checkKey(id: string, key: SecretBytes): void {
  const idBytes = Buffer.byteLength(id)
  if (key.length === 32 && idBytes >= 1 && idBytes <= 255) return
  throw new HoldfastError('ERR_CONFIG', `static seal expected a key of 32 bytes with an id of 1 to 255, got ${key.length} and ${idBytes}`, {
    hint: 'make one with: openssl rand -out seal.key 32',
  })
}
