/** What a rekey is asked, and answers. */
import type { Clock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { Replica } from '#replica/types.ts'
import type { KeysBackup } from './backup.ts'
import type { AutoSeal, SealBarrier } from './types.ts'

/** `root`: what protects the root key (unseal shares; with an auto seal the root key itself). `recovery`: the recovery shares. */
export type RekeyTarget = 'root' | 'recovery'

export interface RekeyRequest {
  readonly shares: number
  readonly threshold: number
  readonly pgpKeys: readonly string[]
  readonly backup: boolean
  readonly requireVerification: boolean
}

export interface RekeyStatus {
  /** '' when none was begun. */
  readonly nonce: string
  readonly started: boolean
  /** Of the shares to come. */
  readonly threshold: number
  readonly shares: number
  readonly progress: number
  readonly required: number
  readonly pgpFingerprints: readonly string[] | null
  readonly backup: boolean
  readonly verificationRequired: boolean
  /** '' before the new shares were handed out. */
  readonly verificationNonce: string
}

export interface RekeyResult {
  readonly nonce: string
  /** The new shares, raw or PGP-encrypted; none where the seal needs none. */
  readonly keys: readonly Uint8Array[]
  readonly pgpFingerprints: readonly string[] | null
  readonly backup: boolean
  readonly verificationRequired: boolean
  readonly verificationNonce: string
  readonly warnings: readonly string[]
}

export interface VerificationStatus {
  readonly nonce: string
  readonly started: boolean
  readonly threshold: number
  readonly shares: number
  readonly progress: number
}

export interface RekeyService {
  status(target: RekeyTarget): Promise<RekeyStatus>
  /**
   * Begins. Where an auto seal was made without recovery keys there is nobody to agree: a root token (`byRoot`) makes the first ones, at once.
   * @throws ERR_BAD_REQUEST: one is under way, or it asks for what can't be.
   */
  init(target: RekeyTarget, request: RekeyRequest, byRoot?: boolean): Promise<RekeyStatus | RekeyResult>
  /** Ends what is under way; the present shares stay. `nonce` null: whoever asks may do so without it. */
  cancel(target: RekeyTarget, nonce: string | null): Promise<void>
  /** Takes a present share; with the last one needed the result. */
  update(target: RekeyTarget, nonce: string, key: string): Promise<RekeyStatus | RekeyResult>
  verificationStatus(target: RekeyTarget): Promise<VerificationStatus>
  /** Takes a new share; with the last one needed they are in force: null. */
  verify(target: RekeyTarget, nonce: string, key: string): Promise<{ readonly nonce: string; readonly status: VerificationStatus | null }>
  /** Forgets the new shares that were typed in, not the rekey. */
  restartVerification(target: RekeyTarget, nonce: string | null): Promise<VerificationStatus>
  backup(target: RekeyTarget): KeysBackup | null
  deleteBackup(target: RekeyTarget): Promise<void>
  /** Another root key, without holders: auto seals only. @throws ERR_BAD_REQUEST with shares. */
  rotateRoot(): Promise<void>
  close(): void
}

export interface RekeyOptions {
  readonly barrier: SealBarrier
  readonly replica: Pick<Replica, 'status' | 'onStatus' | 'readIndex'>
  readonly autoSeal: AutoSeal | null
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
}
