/**
 * The proof that a joiner can open the cluster's seal, for clusters that share a KMS, an HSM or their unseal shares.
 *
 * The member draws nothing that it must remember (a peer was made to run out of memory by challenges nobody answered): what it hides in the
 * challenge is derived from a key that this process made at its start, and derived again when the request comes. It is hidden under a key that
 * only the root key gives. The joiner opens the seal, derives that key, and uses what it finds as the key of join.ts: MACs both ways, so that the joiner
 * also knows that whoever answers holds the root key.
 *
 *   version 1 | nonce 16 | expires 8 (ms, big-endian) | AES-256-GCM of the 32-byte join key, 48
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { verifyJoinRequest } from './join.ts'
import type { JoinRequest } from './join.ts'

const version = 1
const nonceBytes = 16
const headBytes = 1 + nonceBytes + 8
const keyBytes = 32
const tagBytes = 16
const challengeBytes = headBytes + keyBytes + tagBytes
/** An operator may have to type shares before the joiner can answer. */
const lifetimeMsDefault = 15 * 60_000

/**
 * A challenge for node `serverId`, base64url. Keeps nothing.
 * `processKey`: 32 random bytes of this process, or of this cluster behind the barrier if any unsealed node shall take the answer.
 */
export function makeChallenge(options: {
  readonly processKey: SecretBytes
  readonly rootKey: SecretBytes
  readonly serverId: string
  readonly nowMs: number
  readonly random: RandomSource
  readonly lifetimeMs?: number
}): string {
  const head = Buffer.alloc(headBytes)
  head[0] = version
  head.set(options.random.bytes(nonceBytes), 1)
  head.writeBigUInt64BE(BigInt(options.nowMs + (options.lifetimeMs ?? lifetimeMsDefault)), 1 + nonceBytes)
  using joinKey = deriveJoinKey(options.processKey, head, options.serverId)
  const { key, iv } = hidingKey(options.rootKey, head)
  const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(bound(head, options.serverId))
  const hidden = Buffer.concat([cipher.update(joinKey.reveal()), cipher.final(), cipher.getAuthTag()])
  key.fill(0)
  return Buffer.concat([head, hidden]).toString('base64url')
}

/**
 * The joiner's end: finds the join key in a challenge with the root key. The caller disposes of the key.
 * @throws ERR_BAD_REQUEST when it is no challenge; ERR_DECRYPT when root key or node id is another.
 */
export function answerChallenge(challenge: string, options: { readonly rootKey: SecretBytes; readonly serverId: string }): SecretBytes {
  const bytes = parse(challenge)
  const head = bytes.subarray(0, headBytes)
  const { key, iv } = hidingKey(options.rootKey, head)
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: tagBytes })
    decipher.setAAD(bound(head, options.serverId)).setAuthTag(bytes.subarray(headBytes + keyBytes))
    const opened = Buffer.concat([decipher.update(bytes.subarray(headBytes, headBytes + keyBytes)), decipher.final()])
    return new SecretBytes(new Uint8Array(opened))
  } catch (cause) {
    throw new HoldfastError('ERR_DECRYPT', 'join challenge: expected one that our seal opens, got another', {
      cause,
      hint: 'this node has another seal or other shares than the cluster, or the address joined is of another cluster',
    })
  } finally {
    key.fill(0)
  }
}

/**
 * The member's end: finds the key of a request by challenge again, and checks the request with it. The caller disposes of the key, after the answer.
 * @throws ERR_BAD_REQUEST when it is no challenge; ERR_PERMISSION_DENIED when it expired, was made by another process, or the request is not the joiner's.
 */
export function verifyChallengeAnswer(
  request: JoinRequest,
  options: { readonly processKey: SecretBytes; readonly nowMs: number },
): SecretBytes {
  if (!('challenge' in request)) throw new HoldfastError('ERR_BAD_REQUEST', 'join: expected an answer to a challenge, got another proof')
  const head = parse(request.challenge).subarray(0, headBytes)
  const key = deriveJoinKey(options.processKey, head, request.node_id)
  try {
    // First the MAC: only then is what the head says ours, and an expired one worth telling apart.
    verifyJoinRequest(request, key)
    if (Number(head.readBigUInt64BE(1 + nonceBytes)) >= options.nowMs) return key
    throw new HoldfastError('ERR_PERMISSION_DENIED', 'join challenge: expected one that is still valid, got one that expired', {
      hint: 'join again: a new challenge is made for each try',
    })
  } catch (error) {
    key[Symbol.dispose]()
    throw error
  }
}

function parse(challenge: string): Buffer {
  const bytes = Buffer.from(challenge, 'base64url')
  if (bytes.length === challengeBytes && bytes[0] === version) return bytes
  throw new HoldfastError('ERR_BAD_REQUEST', `join challenge: expected ${challengeBytes} bytes of version ${version}, got others`)
}

function deriveJoinKey(processKey: SecretBytes, head: Uint8Array, serverId: string): SecretBytes {
  // Digested: HKDF takes 1,024 bytes of info, and the id comes from whoever asks.
  const info = `holdfast raft-join key v1 ${createHash('sha256').update(serverId).digest('hex')}`
  return new SecretBytes(new Uint8Array(hkdfSync('sha256', processKey.reveal(), head, info, keyBytes)))
}

/** A key and IV for this head alone: no number of challenges brings two under one key. */
function hidingKey(rootKey: SecretBytes, head: Uint8Array): { key: Uint8Array; iv: Uint8Array } {
  const bytes = new Uint8Array(hkdfSync('sha256', rootKey.reveal(), head, 'raft-join', keyBytes + 12))
  return { key: bytes.subarray(0, keyBytes), iv: bytes.subarray(keyBytes) }
}

function bound(head: Uint8Array, serverId: string): Uint8Array {
  return Buffer.concat([head, Buffer.from(serverId)])
}
