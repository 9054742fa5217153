/**
 * How a new node and a member prove themselves to each other before there is a certificate between them. Pure functions; routes and the storage
 * of tokens are elsewhere.
 *
 * Both proofs end in one 32-byte key that only the two ends have, and that never travels: the joiner MACs its whole request (its key's CSR
 * included) under it, the member MACs its whole answer (the CA included, and the request's MAC). So the API connection between them
 * need not be trusted: whoever sits in the middle can neither have a key of his own certified, nor hand the joiner a CA of his own.
 *
 * - A one-time token (this file) carries the key's secret from an operator's terminal to another.
 * - The seal proof (join-challenge.ts): the key is what the challenge hides; whoever opens the seal can read it.
 *
 * Rejected: sending token or opened challenge in the clear, as the peers do. Over plain HTTP, or TLS that the joiner can't verify yet,
 * whoever reads it can join in the joiner's stead.
 */
import { createHash, createHmac, hkdfSync } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import type { FormatRange } from '#base/formats.ts'
import type { RandomSource } from '#base/random.ts'
import { SecretBytes, equalSecretStrings, equalSecrets } from '#base/secret.ts'
import { fingerprint } from './certificates.ts'
import type { Identity, PeerAddress } from './types.ts'

const tokenPrefix = 'hfj'
const idBytes = 9
const secretBytes = 32
const checksumBytes = 4
const keyBytes = 32

/** What the joiner says of itself. The member certifies the key in `csr` under `node_id` and nothing else that the CSR says. */
export interface JoinClaim {
  readonly node_id: string
  /** PKCS#10, PEM. */
  readonly csr: string
  readonly cluster_address: string
  readonly api_address: string
  readonly voter: boolean
  /** Which format levels it understands: a cluster beyond them does not let it in. */
  readonly formats: FormatRange
}

/** Which secret the request's MAC is made with: exactly one of the two. */
export type JoinProof = { readonly token_id: string } | { readonly challenge: string }

export type JoinRequest = JoinClaim & JoinProof & { readonly mac: string }

export interface JoinMember {
  readonly id: string
  readonly cluster_address: string
  readonly api_address: string
  readonly fingerprint: string
  readonly voter: boolean
}

export interface JoinGrant {
  readonly cluster_id: string
  readonly incarnation: number
  readonly ca_certificate: string
  readonly certificate: string
  readonly members: readonly JoinMember[]
}

export type JoinAnswer = JoinGrant & { readonly mac: string }

/** A new one-time token. `token` is shown once; the member stores `id` and `key` (behind the barrier) until used or expired. */
export function makeJoinToken(random: RandomSource): { readonly token: string; readonly id: string; readonly key: SecretBytes } {
  const name = Buffer.from(random.bytes(idBytes))
  // So that it begins with a letter: one in sixty-four began with '-', and no command took it for an id.
  name[0] = (name[0] ?? 0) & 0x7f
  const id = name.toString('base64url')
  const secret = random.bytes(secretBytes)
  const tail = Buffer.concat([secret, checksum(id, secret)]).toString('base64url')
  return { token: `${tokenPrefix}.${id}.${tail}`, id, key: tokenKey(id, secret) }
}

/**
 * Takes a token as an operator pasted it. Names what is wrong with its form; whether it is known, only a member can say.
 * @throws ERR_BAD_JOIN_TOKEN
 */
export function parseJoinToken(text: string): { readonly id: string; readonly key: SecretBytes } {
  const parts = text.trim().split('.')
  const [prefix, id = '', tail = ''] = parts
  if (prefix !== tokenPrefix) throw badToken(`a text that begins with ${tokenPrefix}.`, 'another')
  if (parts.length !== 3) throw badToken('3 parts with dots between', `${parts.length}`)
  const bytes = base64urlBytes(tail)
  if (base64urlBytes(id)?.length !== idBytes || bytes === null) throw badToken('letters, digits, - and _ of the right length', 'others')
  if (bytes.length !== secretBytes + checksumBytes) throw badToken(`${4 * 12} characters after the last dot`, `${tail.length}`)
  const secret = bytes.subarray(0, secretBytes)
  if (!equalSecrets(checksum(id, secret), bytes.subarray(secretBytes))) throw badToken('a checksum that fits', 'one that does not: a typo')
  return { id, key: tokenKey(id, secret) }
}

function badToken(expected: string, got: string): HoldfastError {
  return new HoldfastError('ERR_BAD_JOIN_TOKEN', `join token: expected ${expected}, got ${got}`, {
    hint: 'paste the token exactly as it was printed, from hfj. to its last character',
  })
}

/** Strict: only the one spelling that `toString('base64url')` gives, or two texts would be one token. */
function base64urlBytes(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : null
}

function checksum(id: string, secret: Uint8Array): Buffer {
  return createHash('sha256').update(`${tokenPrefix}.${id}.`).update(secret).digest().subarray(0, checksumBytes)
}

function tokenKey(id: string, secret: Uint8Array): SecretBytes {
  return new SecretBytes(new Uint8Array(hkdfSync('sha256', secret, id, 'holdfast join token v1', keyBytes)))
}

/** The joiner's request, MACed under the key of its token or challenge. */
export function makeJoinRequest(claim: JoinClaim, proof: JoinProof, key: SecretBytes): JoinRequest {
  return { ...claim, ...proof, mac: joinRequestMac(claim, proof, key) }
}

/** HMAC-SHA256 over every field of a request, hex. */
export function joinRequestMac(claim: JoinClaim, proof: JoinProof, key: SecretBytes): string {
  const by = 'token_id' in proof ? ['token', proof.token_id] : ['challenge', proof.challenge]
  const { node_id: nodeId, csr, cluster_address: clusterAddress, api_address: apiAddress, voter, formats } = claim
  return mac(key, 'holdfast join request v2', [...by, nodeId, csr, clusterAddress, apiAddress, voter, formats.min, formats.max])
}

/**
 * Checks that the request comes from whoever has the key, unchanged. In constant time.
 * @throws ERR_PERMISSION_DENIED
 */
export function verifyJoinRequest(request: JoinRequest, key: SecretBytes): void {
  if (equalSecretStrings(request.mac, joinRequestMac(request, request, key))) return
  throw new HoldfastError('ERR_PERMISSION_DENIED', 'join: expected a request made with this token or seal, got one that is not', {
    hint: 'the token is of another cluster, or the request was changed on its way',
  })
}

/** The member's answer to a request that it verified. */
export function sealJoinAnswer(grant: JoinGrant, request: JoinRequest, key: SecretBytes): JoinAnswer {
  return { ...grant, mac: answerMac(grant, request, key) }
}

function answerMac(grant: JoinGrant, request: JoinRequest, key: SecretBytes): string {
  const members = grant.members.map((member) => [member.id, member.cluster_address, member.api_address, member.fingerprint, member.voter])
  // The request's MAC ties the answer to it: an answer to an earlier request with the same token fits no other.
  const fields = [request.mac, grant.cluster_id, grant.incarnation, grant.ca_certificate, grant.certificate, members]
  return mac(key, 'holdfast join answer v1', fields)
}

/** JSON of an array is injective: no two lists of fields give the same text. */
function mac(key: SecretBytes, purpose: string, fields: readonly unknown[]): string {
  const purposeKey = new Uint8Array(hkdfSync('sha256', key.reveal(), new Uint8Array(0), purpose, keyBytes))
  const text = createHmac('sha256', purposeKey).update(JSON.stringify(fields)).digest('hex')
  purposeKey.fill(0)
  return text
}

/**
 * The joiner's end: checks that the answer comes from whoever has the key, to this very request, and that it certifies our own key.
 * Returns the identity to save and whom to talk to.
 * @throws ERR_PERMISSION_DENIED when it was made or changed by somebody else; ERR_UPSTREAM when it makes no sense.
 */
export function openJoinAnswer(
  answer: JoinAnswer,
  request: JoinRequest,
  key: SecretBytes,
  privateKeyPem: string,
): { readonly identity: Identity; readonly incarnation: number; readonly peers: readonly PeerAddress[] } {
  if (!equalSecretStrings(answer.mac, answerMac(answer, request, key))) {
    throw new HoldfastError('ERR_PERMISSION_DENIED', 'join: expected an answer of a member that knows this token or seal, got another', {
      hint: 'something between this node and the cluster answers in its stead: check the address that is joined',
    })
  }
  const own = fingerprint(privateKeyPem)
  if (fingerprint(answer.certificate) !== own) {
    throw new HoldfastError('ERR_UPSTREAM', "join: expected a certificate of this node's key, got another key's")
  }
  return {
    identity: {
      nodeId: request.node_id,
      clusterId: answer.cluster_id,
      caCertificatePem: answer.ca_certificate,
      certificatePem: answer.certificate,
      privateKeyPem,
      fingerprint: own,
    },
    incarnation: answer.incarnation,
    peers: answer.members.map(({ id, cluster_address, fingerprint }) => ({ id, clusterAddress: cluster_address, fingerprint })),
  }
}
