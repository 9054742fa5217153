/**
 * Pairs of keys, and their turns. The algorithms and formats are jose's.
 *
 * A named key always has the pair that signs and the pair that will: the next one is published a whole period before it signs, so that a relying party
 * that keeps the key set for a while never meets a signature of a key that it has not heard of. Of a pair that has signed only the public half stays,
 * for as long as what it has signed is to be verified.
 */
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK } from 'jose'
import { HoldfastError } from '#base/errors.ts'
import type { MountStorage } from '#core/types.ts'
import {
  deleteSecret,
  keyFolder,
  publishedMax,
  readKey,
  writeKey,
  writeSecret,
  type NamedKey,
  type PublishedKey,
  type SignatureAlgorithm,
} from './records.ts'

/** A pair of an RSA key costs a tenth of a second of one thread. */
const rotationsPerPassMax = 4

export interface KeyPair {
  readonly kid: string
  readonly publicJwk: JWK
  readonly privateJwk: JWK
}

/** A fresh pair, named by its thumbprint (RFC 7638). */
export async function makePair(algorithm: SignatureAlgorithm): Promise<KeyPair> {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true })
  const bare = await exportJWK(publicKey)
  const kid = await calculateJwkThumbprint(bare)
  return { kid, publicJwk: { ...bare, kid, use: 'sig', alg: algorithm }, privateJwk: await exportJWK(privateKey) }
}

const standing = (pair: KeyPair): PublishedKey => ({ kid: pair.kid, jwk: pair.publicJwk, untilMs: null })

type Rules = Pick<NamedKey, 'algorithm' | 'rotationSeconds' | 'verificationSeconds' | 'allowedClientIds'>

/** A named key from its beginning, or from its next algorithm: `kept` are public halves that are still to be verified with. @throws ERR_BAD_REQUEST for too many of them. */
export function beginKey(
  storage: MountStorage,
  name: string,
  rules: Rules,
  pairs: { readonly signing: KeyPair; readonly next: KeyPair },
  nowMs: number,
  kept: readonly PublishedKey[] = [],
): void {
  const { signing, next } = pairs
  const published = [...kept, standing(signing), standing(next)]
  checkCount(published)
  writeKey(storage, name, {
    ...rules,
    nextRotationMs: nowMs + rules.rotationSeconds * 1_000,
    signingKid: signing.kid,
    nextKid: next.kid,
    published,
  })
  for (const pair of [signing, next]) writeSecret(storage, name, pair.kid, pair.privateJwk)
}

function checkCount({ length }: readonly PublishedKey[]): void {
  if (length <= publishedMax) return
  throw new HoldfastError('ERR_BAD_REQUEST', `expected at most ${publishedMax} keys that are still verified with, got more`, {
    hint: 'it was rotated often within its verification_ttl: wait until some of them have ended, or rotate with a shorter verification_ttl',
  })
}

/** What of `key` can still be verified with when it signs no more: what has never signed is let go. */
export function retired(key: NamedKey, nowMs: number, verificationSeconds: number): PublishedKey[] {
  return key.published
    .filter(({ kid, untilMs }) => kid !== key.nextKid && (untilMs === null || untilMs > nowMs))
    .map((each) => (each.kid === key.signingKid ? { ...each, untilMs: nowMs + verificationSeconds * 1_000 } : each))
}

/** The next pair signs from now on, and `fresh` is next. @throws ERR_BAD_REQUEST where too many are still to be verified with. */
export function rotate(
  storage: MountStorage,
  name: string,
  key: NamedKey,
  fresh: KeyPair,
  nowMs: number,
  verificationSeconds = key.verificationSeconds,
): void {
  const next = key.published.filter(({ kid }) => kid === key.nextKid)
  const published = [...retired(key, nowMs, verificationSeconds), ...next, standing(fresh)]
  checkCount(published)
  const nextRotationMs = nowMs + key.rotationSeconds * 1_000
  writeKey(storage, name, { ...key, published, signingKid: key.nextKid, nextKid: fresh.kid, nextRotationMs })
  deleteSecret(storage, name, key.signingKid)
  writeSecret(storage, name, fresh.kid, fresh.privateJwk)
}

/** A pass of the leader's job over one namespace: what is due is rotated, so many at once, and what nobody verifies with any more is dropped. */
export async function rotateDue(storage: MountStorage, nowMs: number): Promise<void> {
  let rotated = 0
  for (const name of await storage.list(keyFolder)) {
    const key = await readKey(storage, name)
    if (key === null) continue
    const published = key.published.filter(({ untilMs }) => untilMs === null || untilMs > nowMs)
    if (key.nextRotationMs <= nowMs && rotated < rotationsPerPassMax && published.length < publishedMax) {
      rotated += 1
      rotate(storage, name, key, await makePair(key.algorithm), nowMs)
    } else if (published.length < key.published.length) writeKey(storage, name, { ...key, published })
  }
}
