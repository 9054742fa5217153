/** PGP-encrypted shares that a rekey was asked to keep, for a client that loses its answer. In a box under a key of the barrier. */
import { openBox, sealBox } from '#barrier/aead.ts'
import type { BarrierControl } from '#barrier/types.ts'
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { RandomSource } from '#base/random.ts'

export interface KeysBackup {
  /** Of the rekey that made them. */
  readonly nonce: string
  /** Hex of the PGP messages, by the fingerprint of their key. */
  readonly keys: Readonly<Record<string, readonly string[]>>
}

type Keyed = Pick<BarrierControl, 'derivedKey'>

/** `place`: the bare record's name. @throws ERR_SEALED. */
export function sealBackup(barrier: Keyed, place: string, backup: KeysBackup, random: RandomSource): Uint8Array {
  using key = barrier.derivedKey('shares backup')
  return sealBox(key.reveal(), place, Buffer.from(JSON.stringify({ version: 1, ...backup })), random)
}

/** @throws ERR_SEALED, ERR_DECRYPT, ERR_UPGRADE_REQUIRED. */
export function openBackup(barrier: Keyed, place: string, box: Uint8Array): KeysBackup {
  using key = barrier.derivedKey('shares backup')
  const { version, nonce, keys } = JSON.parse(Buffer.from(openBox(key.reveal(), place, box)).toString()) as KeysBackup & {
    version?: unknown
  }
  if (checkVersion('backup of shares', 1, version)) return { nonce, keys }
  throw new HoldfastError('ERR_STORE_CORRUPT', 'backup of shares expected a version, got none')
}
