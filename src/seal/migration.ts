/**
 * From one seal to another, with the same root key and the same shares: what were unseal shares become recovery shares, and the other way round,
 * since either kind is a sharing of 32 random bytes of which only salted hashes are kept.
 */
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { equalSecrets, SecretBytes } from '#base/secret.ts'
import { openBox, sealBox } from '#barrier/aead.ts'
import { bareNames } from '#barrier/bare.ts'
import { parseSealConfig } from './config.ts'
import { combineShares } from './shamir.ts'
import { wrongShare } from './share-check.ts'
import type { AutoSeal, SealConfig, SealRecords, ShareSet } from './types.ts'

/** Where the wrapped root key lies: bound into the wrapping. */
export const rootKeyPlace = bareNames.rootKey

/** The records of the next seal, ready to be written in one go. Nothing in it is secret. */
export interface PreparedMigration {
  readonly type: string
  /** The records that it was made from: if others stand there when it is to be written, it is void. */
  readonly from: SealRecords
  readonly rootKey: Uint8Array
  readonly config: SealConfig
}

export interface MigrationInputs {
  readonly records: SealRecords
  /** As many as the threshold, each known to be of `set`; still the caller's. */
  readonly shares: readonly Uint8Array[]
  readonly set: ShareSet
  /** null: shares. */
  readonly from: AutoSeal | null
  readonly to: AutoSeal | null
  readonly random: RandomSource
}

/**
 * Opens the root key by the old seal and wraps it by the new one, which must open it again before anything is believed.
 * The caller owns the root key. @throws ERR_BAD_SHARE, and what either seal throws.
 */
export async function prepareMigration(inputs: MigrationInputs): Promise<{ rootKey: SecretBytes; migration: PreparedMigration }> {
  const { records, shares, set, from, to, random } = inputs
  using shared = new SecretBytes(await combineShares(shares))
  const opened = from === null ? openRootKey(shared.reveal(), records.rootKey) : await from.unwrap(records.rootKey, rootKeyPlace)
  const rootKey = new SecretBytes(opened)
  try {
    const wrapped = to === null ? sealBox(shared.reveal(), rootKeyPlace, rootKey.reveal(), random) : await wrapSurely(to, rootKey)
    const { retired } = parseSealConfig(records.sealConfig)
    const kept = retired === undefined ? {} : { retired }
    const config: SealConfig =
      to === null ? { type: 'shamir', secret: set, ...kept } : { type: to.kind, secret: null, recovery: set, ...kept }
    const migration = { type: config.type, from: records, rootKey: wrapped, config }
    return { rootKey, migration }
  } catch (error) {
    rootKey[Symbol.dispose]()
    throw error
  }
}

/** A KMS that lets one encrypt but not decrypt must be found out before the old seal, or the old root key, is given up. */
export async function wrapSurely(seal: AutoSeal, rootKey: SecretBytes): Promise<Uint8Array> {
  const wrapped = await seal.wrap(rootKey.reveal(), rootKeyPlace)
  using back = new SecretBytes(await seal.unwrap(wrapped, rootKeyPlace))
  if (equalSecrets(back.reveal(), rootKey.reveal())) return wrapped
  throw new HoldfastError('ERR_DECRYPT', `seal ${seal.kind} expected back what it wrapped, got something else`)
}

/** @throws ERR_BAD_SHARE when the combined shares are not its key. The caller owns the result. */
export function openRootKey(unsealKey: Uint8Array, wrapped: Uint8Array): Uint8Array {
  try {
    return openBox(unsealKey, rootKeyPlace, wrapped)
  } catch (error) {
    if (isHoldfastError(error, 'ERR_DECRYPT')) throw wrongShare('the shares together do not open it')
    throw error
  }
}
