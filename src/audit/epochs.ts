/**
 * Keys of the chain's MACs. Each life of a device has its own, one an epoch; all are derived from the audit key, which lies behind the barrier,
 * and none leads back to it or to another. An epoch's key is told once an anchor closes it (anchor-store.ts): what it could forge then
 * contradicts a signature.
 */
import { deriveKeyBytes } from './hashing.ts'

const epochLabel = (boot: string, epoch: number): string => `audit epoch ${boot} ${epoch}`

/** 32 bytes. The caller owns them. */
export const epochKey = (auditKey: Uint8Array, boot: string, epoch: number): Buffer => deriveKeyBytes(auditKey, epochLabel(boot, epoch))
