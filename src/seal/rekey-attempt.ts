/** One rekey under way: what it was asked, and what it has so far. */
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { encryptShares, type PgpKey } from './pgp.ts'
import type { Quorum } from './quorum.ts'
import type { RekeyRequest, RekeyTarget, VerificationStatus } from './rekey-types.ts'
import { checkShareCounts, shareSet, splitKey, unsealKeyBytes } from './shamir.ts'
import type { SealConfig, SealRecords, ShareSet } from './types.ts'

/** The shares to come. */
export interface Fresh {
  /** What they make. null where the seal has its own key. */
  readonly key: SecretBytes | null
  readonly set: ShareSet | null
  /** As they are handed out. */
  readonly keys: readonly Uint8Array[]
}

export interface Attempt {
  readonly target: RekeyTarget
  readonly request: RekeyRequest
  readonly pgpKeys: readonly PgpKey[]
  /** As they stood at its beginning: a change of them in between makes it void. */
  readonly records: SealRecords
  readonly config: SealConfig
  readonly quorum: Quorum
  fresh: Fresh | null
  verification: Quorum | null
}

/** @throws ERR_BAD_REQUEST, with the peers' texts where they have one. */
export function checkRequest(target: RekeyTarget, config: SealConfig, request: RekeyRequest): void {
  const { shares, threshold, pgpKeys, backup, requireVerification } = request
  if (target === 'root' && config.secret === null) {
    if (shares > 1 || threshold > 1 || pgpKeys.length > 0 || backup || requireVerification)
      throw refusal(
        `rekeying the root key of a ${config.type} seal expected one share and nothing else, got more`,
        'this seal keeps the key itself and hands out no shares: send secret_shares 1 and secret_threshold 1, or rekey the recovery keys',
      )
    return
  }
  checkShareCounts(shares, threshold)
  if (backup && pgpKeys.length === 0)
    throw refusal('cannot request a backup of the new keys without providing PGP keys for encryption', 'send pgp_keys, one a share')
  if (pgpKeys.length > 0 && pgpKeys.length !== shares)
    throw refusal('incorrect number of PGP keys for rekey', `send one a share: expected ${shares}, got ${pgpKeys.length}`)
}

/** Shares as the attempt asks for them; none where the seal keeps its own key. The caller wipes the key. */
export async function makeShares(
  { target, config, request, pgpKeys }: Pick<Attempt, 'target' | 'config' | 'request' | 'pgpKeys'>,
  random: RandomSource,
): Promise<Fresh> {
  if (target === 'root' && config.secret === null) return { key: null, set: null, keys: [] }
  const key = new SecretBytes(random.bytes(unsealKeyBytes))
  try {
    const shares = await splitKey(key.reveal(), request.shares, request.threshold)
    return { key, set: shareSet(shares, request.threshold, random), keys: await encryptShares(pgpKeys, shares) }
  } catch (error) {
    key[Symbol.dispose]()
    throw error
  }
}

export function verificationOf({ verification, request }: Attempt): VerificationStatus {
  return {
    nonce: verification?.nonce ?? '',
    started: verification !== null,
    threshold: request.threshold,
    shares: request.shares,
    progress: verification?.count ?? 0,
  }
}

export const fingerprintsOf = (keys: readonly PgpKey[]): readonly string[] | null =>
  keys.length === 0 ? null : keys.map(({ fingerprint }) => fingerprint)

export const refusal = (words: string, hint: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', words, { hint })
