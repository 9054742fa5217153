/**
 * An anchor says where a lane stood: signed with the cluster's audit key (Ed25519) and kept in the Raft log, out of reach of whoever can write a node's
 * files. A proof is all that checking files needs: the anchors, and the MAC keys of closed epochs. Nothing in it can forge.
 *
 * Both are a text and its signature: what was signed is those very bytes, not a form that two programs must agree on.
 */
import { createPublicKey, sign, verify, type KeyObject } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import type { LaneHead } from './types.ts'

const anchorFormat = 'holdfast audit anchor 1'
const certificateFormat = 'holdfast audit key 1'
const proofFormat = 'holdfast audit proof 1'

export interface Signed {
  readonly text: string
  /** Ed25519, base64. */
  readonly signature: string
}

export interface Anchor extends LaneHead {
  /** Whose lane it is: what is restored from another cluster brings that one's anchors. */
  readonly cluster: string
  readonly node: string
  /** Counts a lane's anchors from 1. */
  readonly n: number
  readonly timeMs: number
}

/** Names an audit key. Signed by the key before it; the first by itself. */
export interface Certificate {
  /** Counts the cluster's audit keys from 1. */
  readonly n: number
  readonly sinceMs: number
  /** SPKI, PEM. */
  readonly public_key: string
}

/** An anchor, and the number of the key that signed it. */
export interface SignedAnchor extends Signed {
  readonly key: number
}

export interface Proof {
  readonly cluster: string
  readonly issuedMs: number
  /** Of all audit keys, in order: the last one signs the proof. */
  readonly signers: readonly Signed[]
  /** In order of lanes and time. */
  readonly anchors: readonly SignedAnchor[]
  /** By `BOOT EPOCH`: 32 bytes, base64. */
  readonly keys: Readonly<Record<string, string>>
}

/** What `holdfast audit proof` saves. */
export interface ProofFile extends Signed {
  /** SPKI, PEM: of the key that signs now. */
  readonly public_key: string
}

const signed = (text: string, key: KeyObject): Signed => ({ text, signature: sign(null, Buffer.from(text), key).toString('base64') })

/** Whether `key` signed it. */
export const isSignedBy = ({ text, signature }: Signed, key: KeyObject): boolean =>
  verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64'))

export const signAnchor = (anchor: Anchor, key: KeyObject): Signed => signed(JSON.stringify({ format: anchorFormat, ...anchor }), key)

export const signCertificate = (certificate: Certificate, key: KeyObject): Signed =>
  signed(JSON.stringify({ format: certificateFormat, ...certificate }), key)

export const pemOf = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString()

export const signProof = (proof: Proof, key: KeyObject): ProofFile => ({
  public_key: pemOf(createPublicKey(key)),
  ...signed(JSON.stringify({ format: proofFormat, ...proof }), key),
})

/** Of a text whose signature was checked, or that came from our own store. @throws ERR_STORE_CORRUPT. */
export const readAnchor = (text: string): Anchor => parse<Anchor>(text, anchorFormat)
/** As `readAnchor`. */
export const readCertificate = (text: string): Certificate => parse<Certificate>(text, certificateFormat)
/** @throws ERR_STORE_CORRUPT. */
export const readProof = (text: string): Proof => parse<Proof>(text, proofFormat)

function parse<T>(text: string, expected: string): T {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    value = null
  }
  if (typeof value === 'object' && value !== null && 'format' in value && value.format === expected) return value as T
  throw new HoldfastError('ERR_STORE_CORRUPT', `expected a text of format ${JSON.stringify(expected)}, got another`)
}
