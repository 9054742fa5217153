/**
 * A member's side of a join: who may become a member, and what it is given. Runs on the leader, in transactions of the barrier,
 * since the authority's key and the join tokens lie behind it.
 */
import type { Clock } from '#base/clock.ts'
import { HoldfastError, wellKnown } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import type { BarrierControl, Section, Transaction } from '#barrier/types.ts'
import { encodeStored, parseStored } from '#core/storage.ts'
import type { JoinTokenInfo } from '#engines/sys/types.ts'
import type { Replica } from '#replica/types.ts'
import type { SealRecords } from '#seal/types.ts'
import { createClusterCa, issueNodeCertificate, type ClusterCa } from '#transport/certificates.ts'
import { makeChallenge, verifyChallengeAnswer } from '#transport/join-challenge.ts'
import { parseJoinRequest } from '#transport/join-parse.ts'
import { makeJoinToken, sealJoinAnswer, verifyJoinRequest, type JoinAnswer, type JoinRequest } from '#transport/join.ts'

const clusterSection: Section = { namespace: 'root', mount: 'sys/cluster' }
const tokenSection: Section = { namespace: 'root', mount: 'sys/join-token' }
/** Every node id that ever joined, with its key's fingerprint: an id whose disk was lost must not vote a second time under a new one. */
const nodeIdSection: Section = { namespace: 'root', mount: 'sys/node-ids' }

const authorityRecord = "the cluster's certificate authority"
const certificateDays = 365
const tokensMax = 1_024
const challengeKeyLabel = 'raft-join-challenge'

interface StoredToken {
  readonly key: string
  readonly expiresMs: number
  readonly nonVoter: boolean
  /** The MAC of the request that used it: the same request may be answered again (its answer may have been lost), no other. */
  readonly usedBy: string | null
  /** Of the cluster: those of a snapshot are void where it is restored. */
  readonly incarnation: number
}

export interface GranterOptions {
  readonly barrier: BarrierControl
  readonly replica: Replica
  readonly clock: Clock
  readonly random: RandomSource
  /** What a joiner needs to open the seal: its configuration, and the wrapped root key. */
  readonly sealRecords: () => SealRecords | null
}

export class Granter {
  readonly #options: GranterOptions

  constructor(options: GranterOptions) {
    this.#options = options
  }

  /** Writes what the founder of a cluster leaves behind the barrier: the authority, and its own id. */
  found(transaction: Transaction, ca: ClusterCa, nodeId: string, fingerprint: string): void {
    this.#keepCa(transaction, ca)
    transaction.put(nodeIdSection, encodeName(nodeId), encodeStored({ fingerprint }))
  }

  #keepCa(transaction: Transaction, ca: ClusterCa): void {
    transaction.put(clusterSection, 'ca', encodeStored({ ...ca, clusterId: this.#options.replica.status().clusterId }))
  }

  /**
   * The authority of this cluster. One that came with another cluster's snapshot certifies nobody here: who has that cluster's keys could make nodes of this one.
   * A new one takes its place; members are known by their keys' fingerprints, whoever has certified them.
   */
  async #ca(transaction: Transaction): Promise<ClusterCa> {
    const { clusterId } = this.#options.replica.status()
    const stored = await transaction.get(clusterSection, 'ca')
    if (stored === null)
      throw new HoldfastError('ERR_INTERNAL', "expected the cluster's certificate authority behind the barrier, got nothing")
    const { clusterId: of, ...ca } = parseStored<ClusterCa & { readonly clusterId: string }>(stored, authorityRecord)
    if (of === clusterId) return ca
    const fresh = await createClusterCa({ clusterId, nowMs: transaction.nowMs, random: this.#options.random })
    this.#keepCa(transaction, fresh)
    return fresh
  }

  /**
   * The certificate of the authority that lies behind this node's own barrier, which nobody without its keys can have put there; null when it is another
   * cluster's. On any node that is open. @throws ERR_SEALED, ERR_NO_LEADER
   */
  async authority(): Promise<string | null> {
    const { barrier, replica } = this.#options
    const stored = await barrier.read({ kind: 'linearizable' }, (view) => view.get(clusterSection, 'ca'))
    if (stored === null) return null
    const { clusterId: of, certificatePem } = parseStored<ClusterCa & { readonly clusterId: string }>(stored, authorityRecord)
    return of === replica.status().clusterId ? certificatePem : null
  }

  /** A one-time token, shown once. @throws ERR_BUSY when too many are open. */
  async createToken(options: {
    readonly ttlSeconds: number
    readonly nonVoter: boolean
  }): Promise<{ id: string; token: string; expiresMs: number }> {
    const made = makeJoinToken(this.#options.random)
    try {
      return await this.#options.barrier.transact(async (transaction) => {
        await dropExpired(transaction)
        const expiresMs = transaction.nowMs + options.ttlSeconds * 1_000
        const stored: StoredToken = {
          key: Buffer.from(made.key.reveal()).toString('base64'),
          expiresMs,
          nonVoter: options.nonVoter,
          usedBy: null,
          incarnation: this.#options.replica.status().incarnation,
        }
        transaction.put(tokenSection, encodeName(made.id), encodeStored(stored))
        return { id: made.id, token: made.token, expiresMs }
      })
    } finally {
      made.key[Symbol.dispose]()
    }
  }

  /** The tokens that have not expired, without what would let anybody join. */
  listTokens(): Promise<readonly JoinTokenInfo[]> {
    return this.#options.barrier.transact(async (transaction) => {
      const found: JoinTokenInfo[] = []
      for (const name of await transaction.list(tokenSection, '', { limit: tokensMax })) {
        const stored = await transaction.get(tokenSection, name)
        if (stored === null) continue
        const { expiresMs, nonVoter, usedBy, incarnation } = parseStored<StoredToken>(stored, 'a join token')
        if (expiresMs > transaction.nowMs && incarnation === this.#options.replica.status().incarnation)
          found.push({ id: decodeName(name), expiresMs, nonVoter, used: usedBy !== null })
      }
      return found
    })
  }

  /** Nobody can join by it any more; who has joined stays. False when there is no such token. */
  revokeToken(id: string): Promise<boolean> {
    return this.#options.barrier.transact(async (transaction) => {
      const known = (await transaction.get(tokenSection, encodeName(id))) !== null
      if (known) transaction.delete(tokenSection, encodeName(id))
      return known
    })
  }

  /** Stateless: a flood of challenges costs no memory. */
  challenge(serverId: string): Readonly<Record<string, unknown>> {
    const { barrier, random, clock } = this.#options
    using processKey = barrier.derivedKey(challengeKeyLabel)
    using rootKey = barrier.joinKey()
    const records = this.#options.sealRecords()
    if (records === null) throw new HoldfastError('ERR_NOT_INITIALIZED', wellKnown.notInitialized)
    const challenge = makeChallenge({ processKey, rootKey, serverId, nowMs: clock.nowMs(), random })
    const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
    return { challenge, seal_config: base64(records.sealConfig), root_key: base64(records.rootKey) }
  }

  /**
   * Checks a joiner's request, certifies its key, makes it a member (a learner at first), and answers.
   * @throws ERR_BAD_REQUEST, ERR_BAD_JOIN_TOKEN, ERR_PERMISSION_DENIED, ERR_MEMBERSHIP
   */
  async answer(body: Readonly<Record<string, unknown>>): Promise<JoinAnswer> {
    const request = parseJoinRequest(body)
    const proof = await this.#prove(request)
    try {
      const granted = await this.#options.barrier.transact((transaction) => this.#certify(transaction, request))
      const voter = request.voter && !proof.nonVoter
      await this.#options.replica.addMember(
        {
          id: request.node_id,
          clusterAddress: hostPort(request.cluster_address),
          apiAddress: request.api_address,
          fingerprint: granted.fingerprint,
          voter,
        },
        request.formats,
      )
      const status = this.#options.replica.status()
      return sealJoinAnswer(
        {
          cluster_id: status.clusterId,
          incarnation: status.incarnation,
          ca_certificate: granted.caCertificatePem,
          certificate: granted.certificatePem,
          members: status.members.map(({ id, clusterAddress, apiAddress, fingerprint, voter: votes }) => ({
            id,
            cluster_address: clusterAddress,
            api_address: apiAddress,
            fingerprint,
            voter: votes,
          })),
        },
        request,
        proof.key,
      )
    } finally {
      proof.key[Symbol.dispose]()
    }
  }

  /** A new certificate for the key of a member, whom the caller has recognised by it. @throws ERR_SEALED, ERR_NOT_LEADER, ERR_NO_LEADER */
  renew(nodeId: string, publicKeyPem: string): Promise<string> {
    return this.#options.barrier.transact(async (transaction) => {
      const issued = await this.#issue(transaction, await this.#ca(transaction), nodeId, publicKeyPem)
      return issued.certificatePem
    })
  }

  #issue(
    transaction: Transaction,
    ca: ClusterCa,
    nodeId: string,
    csrOrPublicKeyPem: string,
  ): Promise<{ certificatePem: string; fingerprint: string }> {
    return issueNodeCertificate(ca, csrOrPublicKeyPem, {
      nodeId,
      clusterId: this.#options.replica.status().clusterId,
      nowMs: transaction.nowMs,
      days: certificateDays,
      random: this.#options.random,
    })
  }

  async #prove(request: JoinRequest): Promise<{ key: SecretBytes; nonVoter: boolean }> {
    if (!('token_id' in request)) {
      using processKey = this.#options.barrier.derivedKey(challengeKeyLabel)
      return { key: verifyChallengeAnswer(request, { processKey, nowMs: this.#options.clock.nowMs() }), nonVoter: false }
    }
    return this.#options.barrier.transact((transaction) =>
      useToken(transaction, request, request.token_id, this.#options.replica.status().incarnation),
    )
  }

  async #certify(
    transaction: Transaction,
    request: JoinRequest,
  ): Promise<{ caCertificatePem: string; certificatePem: string; fingerprint: string }> {
    const ca = await this.#ca(transaction)
    const issued = await this.#issue(transaction, ca, request.node_id, request.csr)
    const name = encodeName(request.node_id)
    const known = await transaction.get(nodeIdSection, name)
    if (known !== null && parseStored<{ fingerprint: string }>(known, 'a node id').fingerprint !== issued.fingerprint) {
      throw new HoldfastError('ERR_MEMBERSHIP', `node id ${request.node_id} expected to be new, got one that another disk has used`, {
        hint: 'a wiped node must come back under a new node_id: under its old one it could vote twice; remove the old one with operator raft remove-peer',
      })
    }
    if (known === null) transaction.put(nodeIdSection, name, encodeStored({ fingerprint: issued.fingerprint }))
    return { caCertificatePem: ca.certificatePem, ...issued }
  }
}

/** Ids come from outside and may hold a '/': a storage path segment may not. */
const encodeName = (name: string): string => Buffer.from(name).toString('base64url')
const decodeName = (name: string): string => Buffer.from(name, 'base64url').toString()

const hostPort = (address: string): string => (address.includes('://') ? new URL(address).host : address)

const refused = (got: string): HoldfastError =>
  new HoldfastError('ERR_BAD_JOIN_TOKEN', `join token: expected one that is open, got ${got}`, {
    hint: 'make a new one with operator raft join-token',
  })

async function useToken(
  transaction: Transaction,
  request: JoinRequest,
  id: string,
  incarnation: number,
): Promise<{ key: SecretBytes; nonVoter: boolean }> {
  const stored = await transaction.get(tokenSection, encodeName(id))
  if (stored === null) throw refused('one that is unknown, used or revoked')
  const token = parseStored<StoredToken>(stored, 'a join token')
  if (token.expiresMs <= transaction.nowMs) throw refused('one that has expired')
  if (token.incarnation !== incarnation) throw refused('one of before a snapshot was restored')
  const key = new SecretBytes(new Uint8Array(Buffer.from(token.key, 'base64')))
  try {
    verifyJoinRequest(request, key)
    if (token.usedBy !== null && token.usedBy !== request.mac) throw refused('one that was used')
    if (token.usedBy === null) transaction.put(tokenSection, encodeName(id), encodeStored({ ...token, usedBy: request.mac }))
    return { key, nonVoter: token.nonVoter }
  } catch (error) {
    key[Symbol.dispose]()
    throw error
  }
}

/** Keeps the table bounded: what has expired goes, and beyond the bound nothing new comes. */
async function dropExpired(transaction: Transaction): Promise<void> {
  const names = await transaction.list(tokenSection, '', { limit: tokensMax })
  let open = names.length
  for (const name of names) {
    const stored = await transaction.get(tokenSection, name)
    if (stored === null || parseStored<StoredToken>(stored, 'a join token').expiresMs > transaction.nowMs) continue
    transaction.delete(tokenSection, name)
    open -= 1
  }
  if (open >= tokensMax)
    throw new HoldfastError('ERR_BUSY', `expected fewer than ${tokensMax} open join tokens, got ${open}`, {
      hint: 'revoke some: holdfast operator raft join-tokens lists them',
    })
}
