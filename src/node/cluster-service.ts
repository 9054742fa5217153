/** `sys/storage/raft/*` and `sys/step-down`: the cluster's membership as operators change it. */
import { isHoldfastError, HoldfastError } from '#base/errors.ts'
import type { Clock } from '#base/clock.ts'
import { sleep } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import type { ClusterService, JoinOptions } from '#engines/sys/types.ts'
import type { ReplicaStatus } from '#replica/types.ts'
import type { SealManager } from '#seal/types.ts'
import type { Granter } from './granting.ts'
import { fetchChallenge, joinByChallenge, joinByToken, type Joiner, type LeaderAddress } from './joining.ts'
import type { LateReplica } from './late-replica.ts'
import type { Birth } from './lifecycle.ts'

const stepDownTimeoutMs = 5_000
const retryEveryMs = 2_000
/** Background attempts of one `join` call with `retry`: an hour. */
const retriesMax = 1_800

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

  withoutMajorityMs(): number {
    return this.#withoutMajoritySinceMs === null ? 0 : this.#options.clock.monotonicMs() - this.#withoutMajoritySinceMs
  }

  activeSinceMs(): number | null {
    return this.#leadsSinceMs
  }

  async join(options: JoinOptions): Promise<{ readonly joined: boolean }> {
    if (options.autoJoin !== null)
      throw new HoldfastError('ERR_BAD_REQUEST', 'auto_join is not supported', { hint: 'give leader_api_addr' })
    if (options.leaderApiAddress === '')
      throw new HoldfastError('ERR_BAD_REQUEST', "expected leader_api_addr, the URL of a member's API, got none")
    // As the peers answer it: a node that is a member already has joined.
    if (this.#options.replica.attached) return { joined: true }
    try {
      await this.#joinOnce(options)
    } catch (error) {
      if (!options.retry) throw error
      this.#retry(options)
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
  }): Promise<{ readonly token: string; readonly expiresMs: number }> {
    return this.#options.granter.createToken(options)
  }

  removePeer(nodeId: string): Promise<void> {
    return this.#options.replica.removeMember(nodeId)
  }

  setVoter(nodeId: string, voter: boolean): Promise<void> {
    return this.#options.replica.setVoter(nodeId, voter)
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

  #retry(options: JoinOptions): void {
    void this.#retryLoop([options])
  }

  async #retryLoop(leaders: readonly JoinOptions[]): Promise<void> {
    const { clock, log, replica } = this.#options
    for (let attempt = 0; attempt < retriesMax && !this.#stopped && !replica.attached; attempt++) {
      for (const leader of leaders) {
        try {
          await this.#joinOnce(leader)
          return
        } catch (error) {
          if (isHoldfastError(error, 'ERR_ALREADY_INITIALIZED')) return
          log.warn({ leader: leader.leaderApiAddress, error: (error as Error).message }, 'could not join yet: trying again')
        }
      }
      await sleep(clock, retryEveryMs)
    }
  }

  async #joinOnce(options: JoinOptions): Promise<void> {
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
      return
    }
    const { challenge, records } = await fetchChallenge(leader, self.nodeId)
    const key = seal.openForJoin(records)
    // With shares this waits for people: the call that asked for it is answered meanwhile, the join goes on when the last share is given.
    const finish = async (): Promise<void> => {
      using proof = await key
      await birth.join(() => joinByChallenge(leader, self, challenge, proof))
      log.info({ leader: leader.apiAddress }, "joined by the seal's proof")
    }
    finish().catch((error: unknown) => log.error({ error: (error as Error).message }, 'joining by the seal failed: join again'))
  }

  #noteRole(status: ReplicaStatus): void {
    const leads = status.role === 'leader' && status.ready
    if (!leads) this.#leadsSinceMs = null
    else this.#leadsSinceMs ??= this.#options.clock.nowMs()
    if (status.hasQuorum) this.#withoutMajoritySinceMs = null
    else this.#withoutMajoritySinceMs ??= this.#options.clock.monotonicMs()
  }
}
