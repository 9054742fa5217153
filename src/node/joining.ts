/**
 * A new node's side of a join: asks a member by its API address, checks that the answer comes from the cluster it meant, and gives back the
 * identity with which it is a member. Nothing here believes the connection: both proofs are MACs over everything that is said.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import { Agent, request } from 'undici'
import { HoldfastError } from '#base/errors.ts'
import type { FormatRange } from '#base/formats.ts'
import { SecretBytes } from '#base/secret.ts'
import type { SealRecords } from '#seal/types.ts'
import type { Member } from '#replica/types.ts'
import { createCsr, createNodeKey } from '#transport/certificates.ts'
import { answerChallenge } from '#transport/join-challenge.ts'
import { parseJoinAnswer } from '#transport/join-parse.ts'
import { makeJoinRequest, openJoinAnswer, parseJoinToken, type JoinProof } from '#transport/join.ts'
import type { Identity } from '#transport/types.ts'
import { syncFolder } from './data-folder.ts'

const joinTimeoutMs = 20_000
const answerBytesMax = 1024 * 1024
/** Of what a stranger's refusal says. */
const textCharsMax = 500

/** Where the cluster is, and how its API's certificate is checked. */
export interface LeaderAddress {
  readonly apiAddress: string
  readonly caCertificatePem: string | null
  readonly clientCertificatePem: string | null
  readonly clientKeyPem: string | null
  readonly tlsServerName: string | null
}

/** Who wants to join. */
export interface Joiner {
  readonly nodeId: string
  readonly clusterAddress: string
  readonly apiAddress: string
  readonly voter: boolean
  readonly formats: FormatRange
  /** Where the key is kept until the join has succeeded. */
  readonly dataDir: string
}

export interface Joined {
  readonly identity: Identity
  readonly incarnation: number
  /** Whom the answer named, until replicated membership is here. */
  readonly members: readonly Member[]
}

/** Joins with a one-time token. @throws ERR_BAD_JOIN_TOKEN, ERR_UPSTREAM, ERR_PERMISSION_DENIED */
export async function joinByToken(leader: LeaderAddress, joiner: Joiner, token: string): Promise<Joined> {
  const { id, key } = parseJoinToken(token)
  try {
    return await join(leader, joiner, { token_id: id }, key)
  } finally {
    key[Symbol.dispose]()
  }
}

/** The first half of a join by the seal's proof: a challenge, and what is needed to open the seal. */
export async function fetchChallenge(leader: LeaderAddress, nodeId: string): Promise<{ challenge: string; records: SealRecords }> {
  const answer = await post(leader, 'sys/storage/raft/bootstrap/challenge', { server_id: nodeId })
  const data = (answer['data'] ?? answer) as Record<string, unknown>
  const { challenge, seal_config: sealConfig, root_key: rootKey } = data
  if (typeof challenge !== 'string' || typeof sealConfig !== 'string' || typeof rootKey !== 'string') {
    throw new HoldfastError('ERR_UPSTREAM', 'join: expected a challenge with the seal configuration, got an answer without')
  }
  const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'))
  return { challenge, records: { sealConfig: bytes(sealConfig), rootKey: bytes(rootKey) } }
}

/** The second half, once the seal has opened. `sealProofKey` is what the root key gives; the caller owns it. */
export async function joinByChallenge(
  leader: LeaderAddress,
  joiner: Joiner,
  challenge: string,
  sealProofKey: SecretBytes,
): Promise<Joined> {
  using key = answerChallenge(challenge, { rootKey: sealProofKey, serverId: joiner.nodeId })
  return await join(leader, joiner, { challenge }, key)
}

async function join(leader: LeaderAddress, joiner: Joiner, proof: JoinProof, key: SecretBytes): Promise<Joined> {
  const { privateKeyPem, csr } = await joiningKey(joiner)
  const { nodeId, clusterAddress, apiAddress, voter: votes, formats } = joiner
  const claim = { node_id: nodeId, csr, cluster_address: clusterAddress, api_address: apiAddress, voter: votes, formats }
  const joinRequest = makeJoinRequest(claim, proof, key)
  const answer = await post(leader, 'sys/storage/raft/bootstrap/answer', joinRequest)
  const parsed = parseJoinAnswer(answer['data'] ?? answer)
  const { identity, incarnation } = openJoinAnswer(parsed, joinRequest, key, privateKeyPem)
  const members = parsed.members.map(({ id, cluster_address, api_address, fingerprint, voter }) => ({
    id,
    clusterAddress: cluster_address,
    apiAddress: api_address,
    fingerprint,
    voter,
  }))
  return { identity, incarnation, members }
}

const joiningPath = (dataDir: string): string => joinPath(dataDir, 'identity', 'joining.json')

/**
 * The key of this join, the same for every try: the member certifies an id for one key only, and an answer can get lost.
 * `forgetJoiningKey` ends it.
 */
async function joiningKey({ nodeId, dataDir }: Joiner): Promise<{ privateKeyPem: string; csr: string }> {
  const path = joiningPath(dataDir)
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8')) as { privateKeyPem: string; csr: string }
  const { privateKeyPem } = await createNodeKey()
  const made = { privateKeyPem, csr: await createCsr({ nodeId, privateKeyPem }) }
  mkdirSync(joinPath(dataDir, 'identity'), { recursive: true, mode: 0o700 })
  // On the disk before it leaves: certified once, the id is this key's for ever, and lost with it.
  writeFileSync(`${path}.tmp`, JSON.stringify(made), { mode: 0o600, flush: true })
  renameSync(`${path}.tmp`, path)
  syncFolder(joinPath(dataDir, 'identity'))
  return made
}

/** To be called once the identity is saved. */
export function forgetJoiningKey(dataDir: string): void {
  rmSync(joiningPath(dataDir), { force: true })
}

async function post(leader: LeaderAddress, path: string, body: unknown): Promise<Record<string, unknown>> {
  const agent = new Agent({
    connect: {
      ...(leader.caCertificatePem === null ? {} : { ca: leader.caCertificatePem }),
      ...(leader.clientCertificatePem === null ? {} : { cert: leader.clientCertificatePem }),
      ...(leader.clientKeyPem === null ? {} : { key: leader.clientKeyPem }),
      ...(leader.tlsServerName === null ? {} : { servername: leader.tlsServerName }),
    },
    maxResponseSize: answerBytesMax,
  })
  try {
    const answer = await request(`${leader.apiAddress.replace(/\/+$/, '')}/v1/${path}`, {
      method: 'POST',
      dispatcher: agent,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(joinTimeoutMs),
    })
    const text = await answer.body.text()
    const parsed = parseObject(text)
    if (answer.statusCode === 200) return parsed
    throw refusal(leader, answer.statusCode, parsed)
  } catch (error) {
    if (error instanceof HoldfastError) throw error
    throw new HoldfastError(
      'ERR_UPSTREAM',
      `join: expected an answer from ${leader.apiAddress}, got ${(error as NodeJS.ErrnoException).code ?? 'none'}`,
      {
        cause: error,
        hint: 'check leader_api_addr and, for TLS, leader_ca_cert',
      },
    )
  } finally {
    await agent.close()
  }
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value = JSON.parse(text) as unknown
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch {
    // Said below: what answered speaks no JSON.
  }
  throw new HoldfastError('ERR_UPSTREAM', 'join: expected a JSON object, got something else', {
    hint: 'is leader_api_addr the API address of a member?',
  })
}

/** A member's refusal in its own words; a sealed or leaderless cluster is worth trying again, a bad token is not. */
function refusal(leader: LeaderAddress, status: number, body: Record<string, unknown>): HoldfastError {
  const errors = Array.isArray(body['errors']) ? body['errors'].filter((text) => typeof text === 'string') : []
  const code = status === 400 ? 'ERR_BAD_JOIN_TOKEN' : status === 403 ? 'ERR_PERMISSION_DENIED' : 'ERR_UPSTREAM'
  const { hint } = body
  return new HoldfastError(
    code,
    `join: expected ${leader.apiAddress} to agree, got status ${status}: ${errors.join('; ').slice(0, textCharsMax)}`,
    typeof hint === 'string' ? { hint: hint.slice(0, textCharsMax) } : {},
  )
}
