/**
 * What the state knows of a change of a namespace's name key (renaming.ts).
 *
 *   `core/name-key/HIDDEN/next`, under the namespace's keyring: version 1 | phase u8 | what names are made from (names.ts)
 *       copying: of the names to come; sweeping: of those before
 *   `core/name-key-job/HIDDEN`, under the root's keyring: version 1 | keys so far u64 | length u8, namespace | the stored key to go on from
 *
 * The first is read by every transaction of the namespace, and changes twice; the second changes with each step, and nobody else reads it.
 */
import { checkVersion } from '#base/formats.ts'
import { decryptError } from './aead.ts'
import { concatBytes } from './bytes.ts'
import { isNamesRecord } from './names.ts'

const version = 1
const jobHeadBytes = 1 + 8 + 1

/** First part of the bare records of the jobs. */
export const renamingPrefix = 'core/name-key-job/'

export type RenamingPhase = 'copying' | 'sweeping'
const phases: readonly RenamingPhase[] = ['copying', 'sweeping']

export function encodeRenaming(phase: RenamingPhase, names: Uint8Array): Uint8Array {
  return concatBytes(new Uint8Array([version, phases.indexOf(phase)]), names)
}

/** `names` is a copy, the caller's; `record` is wiped. @throws ERR_UPGRADE_REQUIRED for a version that is not known; ERR_DECRYPT for what is no such record. */
export function decodeRenaming(record: Uint8Array): { readonly phase: RenamingPhase; readonly names: Uint8Array } {
  const phase = phases[record[1] ?? phases.length]
  const names = Uint8Array.from(record.subarray(2))
  const known = checkVersion('a change of a name key', version, record[0])
  record.fill(0)
  if (!known || phase === undefined || !isNamesRecord(names)) throw decryptError('a change of a name key')
  return { phase, names }
}

export interface RenamingJob {
  readonly namespace: string
  /** Copied or deleted in this phase. */
  readonly keys: number
  readonly from: Uint8Array
}

export function encodeJob({ namespace, keys, from }: RenamingJob): Uint8Array {
  const name = Buffer.from(namespace)
  const head = Buffer.alloc(jobHeadBytes)
  head[0] = version
  head.writeBigUInt64BE(BigInt(keys), 1)
  head[9] = name.length
  return concatBytes(head, name, from)
}

/** @throws ERR_UPGRADE_REQUIRED for a version that is not known; ERR_DECRYPT for what is no such record. */
export function decodeJob(record: Uint8Array): RenamingJob {
  const bytes = Buffer.from(record)
  if (!checkVersion('a job that changes a name key', version, bytes[0]) || bytes.length < jobHeadBytes + (bytes[9] ?? 0))
    throw decryptError('a job that changes a name key')
  const end = jobHeadBytes + (bytes[9] ?? 0)
  return {
    namespace: bytes.toString('utf8', jobHeadBytes, end),
    keys: Number(bytes.readBigUInt64BE(1)),
    from: new Uint8Array(bytes.subarray(end)),
  }
}
