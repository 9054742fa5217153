/** `sys/storage/raft/*` and `sys/step-down`: the cluster's membership as operators change it. */
import { isHoldfastError, HoldfastError } from '#base/errors.ts'
import type { Clock } from '#base/clock.ts'
import { sleep } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import type { SecretBytes } from '#base/secret.ts'
import type { ClusterService, JoinOptions, JoinTokenInfo } from '#engines/sys/types.ts'
import type { ReplicaStatus, VerifyReport } from '#replica/types.ts'
import { parseSealConfig } from '#seal/config.ts'
import type { SealManager } from '#seal/types.ts'
import type { Granter } from './granting.ts'
import { fetchChallenge, joinByChallenge, joinByToken, type Joiner, type LeaderAddress } from './joining.ts'
import type { LateReplica } from './late-replica.ts'
import type { Birth } from './lifecycle.ts'
import { lastRecovery } from './recovery.ts'

const stepDownTimeoutMs = 5_000
/** Comparisons of the members' states for one request, while some can't be compared yet. */
const comparisonsMax = 5
const comparisonPauseMs = 200
const retryEveryMs = 2_000
/** How long a join waits for the cluster's state to arrive; it is answered as joined in any case. */
const firstCopyMsMax = 10_000
const firstCopyPollMs = 20
/** Background attempts of one `join` call with `retry`: an hour. */
const retriesMax = 1_800

const isHttpUrl = (text: string): boolean => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)

export interface ClusterServiceOptions {
  readonly birth: Birth
  readonly granter: Granter
  readonly replica: LateReplica
  readonly seal: SealManager
  readonly joiner: Joiner
  readonly clock: Clock
  readonly log: Logger
}

export class NodeCluster implements ClusterService {
  readonly #options: ClusterServiceOptions
  #leadsSinceMs: number | null = null
  /** The same on the monotonic clock. */
  #leadingSinceMs: number | null = null
  /** On the monotonic clock; null while there is a majority. */
  #withoutMajoritySinceMs: number | null = null
  #stopped = false

  constructor(options: ClusterServiceOptions) {
    this.#options = options
    options.replica.onStatus((status) => this.#noteRole(status))
  }

  status(): ReplicaStatus | null {
    return this.#options.replica.attached ? this.#options.replica.status() : null
  }

  lastRecovery(): Readonly<Record<string, unknown>> | null {
    return lastRecovery(this.#options.joiner.dataDir)
  }

  withoutMajorityMs(): number {
    return this.#withoutMajoritySinceMs === null ? 0 : this.#options.clock.monotonicMs() - this.#withoutMajoritySinceMs
  }

  activeSinceMs(): number | null {
    return this.#leadsSinceMs
  }

  async join(options: JoinOptions): Promise<{ readonly joined: boolean }> {
    if (options.autoJoin !== null)
      throw new HoldfastError('ERR_BAD_REQUEST', 'auto_join is not supported', { hint: 'give leader_api_addr' })
    if (!isHttpUrl(options.leaderApiAddress))
      throw new HoldfastError(
        'ERR_BAD_REQUEST',
        `expected leader_api_addr, the URL of a member's API, got ${options.leaderApiAddress === '' ? 'none' : 'something else'}`,
        { hint: 'for example https://node1:8200' },
      )
    // As the peers answer it: a node that is a member already has joined.
    if (this.#options.replica.attached) return { joined: true }
    try {
      const finish = await this.#joinOnce(options)
      // Answered before the last share is given, as by the peers: whoever asked is the one who now gives them.
      finish().catch((error: unknown) =>
        this.#options.log.error({ error: (error as Error).message }, 'joining by the seal failed: join again'),
      )
    } catch (error) {
      if (!options.retry) throw error
      this.retryJoin([options])
      return { joined: false }
    }
    return { joined: true }
  }

  async bootstrapChallenge(body: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>> {
    const serverId = body['server_id']
    if (typeof serverId !== 'string' || serverId === '' || serverId.length > 255)
      throw new HoldfastError('ERR_BAD_REQUEST', 'server_id expected 1 to 255 characters, got something else')
    return this.#options.granter.challenge(serverId)
  }

  async bootstrapAnswer(body: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>> {
    return { ...(await this.#options.granter.answer(body)) }
  }

  createJoinToken(options: {
    readonly ttlSeconds: number
    readonly nonVoter: boolean
  }): Promise<{ readonly id: string; readonly token: string; readonly expiresMs: number }> {
    return this.#options.granter.createToken(options)
  }

  listJoinTokens(): Promise<readonly JoinTokenInfo[]> {
    return this.#options.granter.listTokens()
  }

  revokeJoinToken(id: string): Promise<boolean> {
    return this.#options.granter.revokeToken(id)
  }

  async verifyStates(): Promise<VerifyReport> {
    const { replica, clock } = this.#options
    for (let left = comparisonsMax - 1; ; left -= 1) {
      const report = await replica.verify()
      // Under load nodes are at different indexes for a moment: they meet at the next one at which all of them stop.
      const open = report.nodes.some(({ answered, agrees, damage }) => answered && agrees === null && damage === null)
      if (!open || left === 0) return report
      await sleep(clock, comparisonPauseMs)
    }
  }

  scrub(): void {
    this.#options.replica.scrub()
  }

  async removePeer(nodeId: string): Promise<void> {
    const { replica } = this.#options
    if (nodeId !== replica.nodeId || replica.status().members.length < 2) return replica.removeMember(nodeId)
    // Removed, it could not even say that it is done, and the cluster would wait out an election: its successor removes it. The core asks there.
    await replica.transferLeadership(null, stepDownTimeoutMs)
    throw new HoldfastError('ERR_NOT_LEADER', 'leadership was handed over: the next leader removes this node', {
      hint: 'send it to the leader',
    })
  }

  setVoter(nodeId: string, voter: boolean): Promise<void> {
    return this.#options.replica.setVoter(nodeId, voter)
  }

  silentMs(nodeId: string): number | null {
    return this.#options.birth.transport?.lastContactMs(nodeId) ?? null
  }

  leadingMs(): number {
    return this.#leadingSinceMs === null ? 0 : this.#options.clock.monotonicMs() - this.#leadingSinceMs
  }

  async removeDead(nodeId: string): Promise<void> {
    const { log, replica } = this.#options
    try {
      await replica.removeMember(nodeId)
      log.warn({ member: nodeId, silent_ms: this.silentMs(nodeId) }, 'removed a dead member: it can come back only under a new id')
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_BUSY')) throw error
    }
  }

  stepDown(): Promise<void> {
    return this.#options.replica.transferLeadership(null, stepDownTimeoutMs)
  }

  /** Keeps joining by any of `leaders` until one agrees. Detached: what goes wrong is logged, and tried again. */
  retryJoin(leaders: readonly JoinOptions[]): void {
    if (leaders.length > 0) void this.#retryLoop(leaders)
  }

  stop(): void {
    this.#stopped = true
  }

  async #retryLoop(leaders: readonly JoinOptions[]): Promise<void> {
    const { clock, log, replica } = this.#options
    for (let attempt = 0; attempt < retriesMax && !this.#stopped && !replica.attached; attempt++) {
      for (const leader of leaders) {
        try {
          // With the seal this waits for people too: nobody else looks after this join.
          const finish = await this.#joinOnce(leader)
          await finish()
          return
        } catch (error) {
          if (isHoldfastError(error, 'ERR_ALREADY_INITIALIZED')) return
          log.warn({ leader: leader.leaderApiAddress, error: (error as Error).message }, 'could not join yet: trying again')
        }
      }
      await sleep(clock, retryEveryMs)
    }
  }

  /**
   * One try with one leader. Resolves when this node is a member, or, without a token, as soon as the leader's seal is known: the function that
   * it then gives waits for the seal to open, which may take people with shares, and ends the join.
   */
  async #joinOnce(options: JoinOptions): Promise<() => Promise<void>> {
    const { birth, seal, joiner, log } = this.#options
    const leader: LeaderAddress = {
      apiAddress: options.leaderApiAddress,
      caCertificatePem: options.leaderCaCertificatePem,
      clientCertificatePem: options.leaderClientCertificatePem,
      clientKeyPem: options.leaderClientKeyPem,
      tlsServerName: options.leaderTlsServerName,
    }
    const self = { ...joiner, voter: !options.nonVoter }
    const { token } = options
    if (token !== null) {
      await birth.join(() => joinByToken(leader, self, token))
      log.info({ leader: leader.apiAddress }, 'joined by token')
      await this.#awaitFirstCopy()
      return async () => {}
    }
    const { records } = await fetchChallenge(leader, self.nodeId)
    const opened = seal.openForJoin(records)
    opened.catch(() => {}) // Whoever waits below is told.
    // No people are waited for: a KMS that refuses is this call's failure, not something to be found in a log later.
    if (parseSealConfig(records.sealConfig).type !== 'shamir') await opened
    return async () => {
      using proof = await opened
      await this.#joinBySeal(leader, self, proof)
      log.info({ leader: leader.apiAddress }, "joined by the seal's proof")
    }
  }

  /** The seal is open: a leader that fell meanwhile must not cost people their shares a second time. */
  async #joinBySeal(leader: LeaderAddress, self: Joiner, proof: SecretBytes): Promise<void> {
    const { birth, clock, log } = this.#options
    for (let attempt = 1; ; attempt++) {
      try {
        // A new one each time: that of before may have expired while shares were looked for.
        const { challenge } = await fetchChallenge(leader, self.nodeId)
        return await birth.join(() => joinByChallenge(leader, self, challenge, proof))
      } catch (error) {
        if (!isHoldfastError(error, 'ERR_UPSTREAM') || attempt >= retriesMax || this.#stopped) throw error
        log.warn({ leader: leader.apiAddress, error: error.message }, 'the seal is open, but joining failed: trying again')
        await sleep(clock, retryEveryMs)
      }
    }
  }

  /** Until the seal's record is here, the share that people give next would be answered "server is not yet initialized". */
  async #awaitFirstCopy(): Promise<void> {
    const { clock, seal } = this.#options
    const deadlineMs = clock.monotonicMs() + firstCopyMsMax
    while (!this.#stopped && !seal.status().initialized && clock.monotonicMs() < deadlineMs) await sleep(clock, firstCopyPollMs)
  }

  #noteRole(status: ReplicaStatus): void {
    const leads = status.role === 'leader' && status.ready
    if (!leads) this.#leadsSinceMs = this.#leadingSinceMs = null
    else {
      this.#leadsSinceMs ??= this.#options.clock.nowMs()
      this.#leadingSinceMs ??= this.#options.clock.monotonicMs()
    }
    if (status.hasQuorum) this.#withoutMajoritySinceMs = null
    else this.#withoutMajoritySinceMs ??= this.#options.clock.monotonicMs()
  }
}
