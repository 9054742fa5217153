/**
 * The cluster's audit keys (Ed25519), behind the barrier: one signs, those before it are known by their public keys. Another takes over after 30 days, and with
 * the first anchor after a rotation of the keyring, which is how an operator asks for it. Each is named by a certificate that its predecessor signed, so that who
 * has noted down one of them can go from it to the newest; the private key of the one before is gone from the state with that.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { ReadView, Transaction } from '#barrier/types.ts'
import { pemOf, signCertificate, type Signed } from './anchor.ts'
import { auditSection, encoded, load } from './records.ts'

const signerPath = 'signer'
const certificateFolder = 'signers'
const certificatePath = (n: number): string => `${certificateFolder}/${String(n).padStart(6, '0')}`
const signerMsMax = 30 * 24 * 3_600_000
/** At one in 30 days, those of eighty years. From then on the last one stays: certificates are never deleted, since old anchors need them. */
const signersMax = 1_000

/** PKCS #8, DER, base64; and in which term of the keyring it was made. */
interface SignerRecord {
  readonly key: string
  readonly n: number
  readonly sinceMs: number
  readonly keyringTerm: number
}

export interface Signer {
  readonly key: KeyObject
  /** Counts the cluster's audit keys from 1. */
  readonly n: number
}

export interface SigningTime {
  readonly timeMs: number
  readonly keyringTerm: number
}

/** The key that signs now; made where there is none, or where its time is over. */
export async function signerFor(transaction: Transaction, { timeMs, keyringTerm }: SigningTime): Promise<Signer> {
  const record = await load<SignerRecord>(transaction, signerPath, 'the audit key')
  const known = record === null ? null : signerOf(record)
  // What this node knows of the keyring may lag behind what the state says: back to an older term is no rotation.
  const fresh = record !== null && timeMs - record.sinceMs < signerMsMax && record.keyringTerm >= keyringTerm
  if (known !== null && (fresh || known.n >= signersMax)) return known
  const { privateKey: key } = generateKeyPairSync('ed25519')
  const n = (known?.n ?? 0) + 1
  const certificate = signCertificate({ n, sinceMs: timeMs, public_key: pemOf(createPublicKey(key)) }, known?.key ?? key)
  transaction.put(auditSection, certificatePath(n), encoded(certificate))
  const made = { key: key.export({ type: 'pkcs8', format: 'der' }).toString('base64'), n, sinceMs: timeMs, keyringTerm }
  transaction.put(auditSection, signerPath, encoded(made satisfies SignerRecord))
  return { key, n }
}

/** The key that signs now; null while there is none. */
export async function signer(view: ReadView): Promise<Signer | null> {
  const record = await load<SignerRecord>(view, signerPath, 'the audit key')
  return record === null ? null : signerOf(record)
}

/** Of all keys, in order. */
export async function certificates(view: ReadView): Promise<Signed[]> {
  const found: Signed[] = []
  for (const name of await view.list(auditSection, certificateFolder)) {
    const stored = await load<Signed>(view, `${certificateFolder}/${name}`, "an audit key's certificate")
    if (stored !== null) found.push({ text: stored.text, signature: stored.signature })
  }
  return found
}

const signerOf = ({ key, n }: SignerRecord): Signer => ({
  key: createPrivateKey({ key: Buffer.from(key, 'base64'), type: 'pkcs8', format: 'der' }),
  n,
})
