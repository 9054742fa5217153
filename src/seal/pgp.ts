/**
 * Shares and tokens for the eyes of one PGP key each, as Vault and OpenBao make them: a share is encrypted as its hex text, the message is binary
 * (RFC 9580), its hex and base64 are made by whoever answers.
 */
import type { Key } from 'openpgp'
import { HoldfastError } from '#base/errors.ts'

/** Keys with many signatures are long; none is that long. */
const keyTextMax = 256 * 1024
const keysMax = 255
/** A key that was made a moment ago by a machine whose clock is ahead of ours is no key of the future. */
const clockSkewMsMax = 300_000

export interface PgpKey {
  /** Lower-case hex, as the peers answer it. */
  readonly fingerprint: string
  /** The message, binary. The caller owns both. */
  encrypt(plaintext: Uint8Array): Promise<Uint8Array>
}

/**
 * The keys of the request's field `name`: base64 of a binary key, or armored. `nowMs` decides what has expired.
 * @throws ERR_BAD_REQUEST naming the key that is none, is private, or can't encrypt.
 */
export async function readPgpKeys(name: string, texts: readonly string[], nowMs: number): Promise<PgpKey[]> {
  if (texts.length > keysMax) throw badKey(name, `expected at most ${keysMax} PGP keys, got ${texts.length}`)
  const keys: PgpKey[] = []
  for (const [at, text] of texts.entries()) keys.push(await readPgpKey(texts.length === 1 ? name : `${name}[${at}]`, text, nowMs))
  return keys
}

/** One of them. `name` is told in errors. @throws ERR_BAD_REQUEST. */
export async function readPgpKey(name: string, text: string, nowMs: number): Promise<PgpKey> {
  if (text.length > keyTextMax) throw badKey(name, `expected a PGP key of at most ${keyTextMax} characters, got ${text.length}`)
  // Loaded when it is first needed: it is large, and few clusters use it.
  const openpgp = await import('openpgp')
  const date = new Date(nowMs + clockSkewMsMax)
  const key = await parse(name, text, openpgp)
  if (key.isPrivate())
    throw badKey(name, 'expected a PGP public key, got a private one', 'it has left its owner: make another; send what gpg --export writes')
  const encrypt = async (plaintext: Uint8Array): Promise<Uint8Array> => {
    const message = await openpgp.createMessage({ binary: Uint8Array.from(plaintext) })
    const sealed: unknown = await openpgp.encrypt({ message, encryptionKeys: key, date, format: 'binary' })
    return sealed as Uint8Array
  }
  try {
    // Tried now: a share that can't be encrypted once it holds is lost.
    await encrypt(Uint8Array.of(0))
  } catch {
    throw badKey(name, 'expected a PGP key that can encrypt now, got one that is expired, revoked, not yet valid, too weak, or only signs')
  }
  return { fingerprint: key.getFingerprint(), encrypt }
}

async function parse(name: string, text: string, openpgp: typeof import('openpgp')): Promise<Key> {
  const armored = text.includes('-----BEGIN PGP')
  const packed = text.replaceAll(/\s/g, '')
  if (!armored && !/^[A-Za-z0-9+/]+={0,2}$/.test(packed)) throw badKey(name, 'expected a PGP public key in base64 or armored, got neither')
  let keys: Key[]
  try {
    keys = await (armored
      ? openpgp.readKeys({ armoredKeys: text })
      : openpgp.readKeys({ binaryKeys: new Uint8Array(Buffer.from(packed, 'base64')) }))
  } catch {
    throw badKey(name, 'expected a PGP public key in base64 or armored, got something else')
  }
  const [key] = keys
  if (key === undefined || keys.length !== 1) throw badKey(name, `expected one PGP public key, got ${keys.length}`)
  return key
}

function badKey(name: string, words: string, hint = 'gpg --export NAME | base64 -w0 writes one'): HoldfastError {
  return new HoldfastError('ERR_BAD_REQUEST', `${name} ${words}`, { hint })
}

/** Each share for its key, as the peers do: its hex text. With no keys the shares themselves (still the caller's). */
export async function encryptShares(keys: readonly PgpKey[], shares: readonly Uint8Array[]): Promise<readonly Uint8Array[]> {
  if (keys.length === 0) return shares
  return Promise.all(
    shares.map(async (share, at) => {
      const text = new Uint8Array(Buffer.from(Buffer.from(share).toString('hex')))
      try {
        return await keys[at]!.encrypt(text)
      } finally {
        text.fill(0)
      }
    }),
  )
}
