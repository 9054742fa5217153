/**
 * Limits over the whole cluster: each node tells the leader a few times a second what it let through, of the buckets that are in use, and is answered its
 * share (quotas/shares.ts). Sealed as forwarded requests are: who has stolen a node's identity neither hears who our clients are nor spends what is theirs.
 */
import type { Clock, Timer } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { Leasing } from '#core/leasing.ts'
import type { LeaseCounter } from '#core/quota-gate.ts'
import { limiterBounds, type Cluster, type Limiter } from '#quotas/limiter.ts'
import { flowOf } from '#quotas/limits.ts'
import { Ledger, type Grant, type Report } from '#quotas/shares.ts'
import type { QuotaStore } from '#quotas/store.ts'
import type { Replica } from '#replica/types.ts'
import { decode, encode } from '#transport/msgpack.ts'
import type { Transport } from '#transport/types.ts'
import { ForwardSeal, type ForwardSealOptions } from './forward-seal.ts'

export const quotaKind = 'quota'
const everyMs = 250
const timeoutMs = 1_000
/** Buckets whose count the leader keeps, some 500 bytes each. */
const accountsMax = 32_768
const keyBytesMax = 1_024
const formatVersion = 1

export interface QuotaSyncOptions extends ForwardSealOptions {
  readonly replica: Pick<Replica, 'nodeId' | 'status'>
  readonly transport: () => Pick<Transport, 'request'> | null
  readonly sealed: () => boolean
  readonly store: QuotaStore
  readonly clock: Clock
  readonly log: Logger
}

export class QuotaSync {
  readonly #options: QuotaSyncOptions
  readonly #seal: ForwardSeal
  readonly #ledger = new Ledger(accountsMax)
  #limiter: Limiter | null = null
  #term = 0
  #reached = true
  #timer: Timer | null = null
  #stopped = false

  constructor(options: QuotaSyncOptions) {
    this.#options = options
    this.#seal = new ForwardSeal(options)
  }

  /** As ForwardSeal's; and who led meanwhile has counted. */
  forget(): void {
    this.#seal.forget()
    this.#ledger.clear()
  }

  /** For the limiter: how many nodes share a limit, and whether somebody counts. */
  cluster(): Cluster {
    const { members, hasQuorum, leader } = this.#options.replica.status()
    return { nodes: Math.max(1, members.length), inContact: hasQuorum && leader !== null && this.#reached }
  }

  /** Buckets that this node counts for all as the leader. */
  get accounts(): number {
    return this.#ledger.size
  }

  start(limiter: Limiter): void {
    this.#limiter = limiter
    this.#arm()
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  /** One round. Never rejects. */
  async round(): Promise<void> {
    const { replica, sealed, clock, log } = this.#options
    const { leader, members } = replica.status()
    if (this.#limiter === null || sealed() || leader === null || members.length < 2) return
    const reports = this.#limiter.report(clock.monotonicMs())
    if (reports.length === 0) return
    try {
      const grants = leader === replica.nodeId ? this.#count(replica.nodeId, reports) : await this.#ask(leader, reports)
      this.#limiter.adopt(grants, clock.monotonicMs())
      this.#reached = true
    } catch (error) {
      if (this.#reached)
        log.info(
          { code: isHoldfastError(error) ? error.code : undefined },
          'the leader counts no quotas: each node holds its part of each limit',
        )
      this.#reached = false
    }
  }

  /** Answers the report of a member. @throws ERR_NOT_LEADER, ERR_SEALED, ERR_FRAME, ERR_PEER_REFUSED. */
  async answer(from: string, sealed: Uint8Array): Promise<Uint8Array> {
    const { nodeId } = this.#options.replica
    const grants = this.#count(from, decodeReports(this.#seal.open(place('report', from, nodeId), sealed)))
    return this.#seal.seal(place('grants', nodeId, from), encode([formatVersion, grants.map(grantRow)]))
  }

  /** As the leader. What an earlier term counted is another's business by now. */
  #count(node: string, reports: readonly Report[]): Grant[] {
    const { replica, store, clock } = this.#options
    const { role, ready, term } = replica.status()
    if (role !== 'leader' || !ready) throw new HoldfastError('ERR_NOT_LEADER', 'this node is not the leader')
    if (term !== this.#term) {
      this.#term = term
      this.#ledger.clear()
    }
    const nowMs = clock.monotonicMs()
    return reports.flatMap((report) => {
      const flow = flowOf(report.key.slice(0, Math.max(0, report.key.indexOf('\0'))), (name) => store.current.rateLimitNamed(name))
      return flow === null ? [] : [this.#ledger.report(node, report, flow, nowMs)]
    })
  }

  async #ask(leader: string, reports: readonly Report[]): Promise<Grant[]> {
    const { nodeId } = this.#options.replica
    const transport = this.#options.transport()
    if (transport === null) throw new HoldfastError('ERR_NO_LEADER', 'no connection to the leader')
    const sealed = this.#seal.seal(place('report', nodeId, leader), encode([formatVersion, reports.map(reportRow)]))
    const answer = await transport.request(leader, quotaKind, sealed, timeoutMs)
    return decodeGrants(this.#seal.open(place('grants', leader, nodeId), answer))
  }

  #arm(): void {
    if (this.#stopped) return
    this.#timer = this.#options.clock.setTimer(everyMs, () => {
      this.round().then(
        () => this.#arm(),
        () => this.#arm(),
      )
    })
  }
}

/** What lease counts ask of the book of leases. */
export const leaseCounterOf = (leasing: Pick<Leasing, 'leaseCount' | 'status'>): LeaseCounter => ({
  count: (namespaceId, mountUuid) => leasing.leaseCount(namespaceId, mountUuid),
  total: () => (leasing.leaseCount('root', null) === null ? null : leasing.status().leases),
})

const place = (what: string, from: string, to: string): string => `quota ${what} ${JSON.stringify([from, to])}`

const reportRow = ({ key, epoch, taken, wantedPerMs, tokens, shared, blockedMs }: Report): unknown[] => [
  key,
  epoch,
  taken,
  wantedPerMs,
  tokens,
  shared,
  blockedMs,
]
const grantRow = ({ key, epoch, taken, tokens, perMs, blockedMs }: Grant): unknown[] => [key, epoch, taken, tokens, perMs, blockedMs]

function rowsOf(bytes: Uint8Array): readonly unknown[][] {
  const decoded = decode(bytes)
  const [version, rows] = Array.isArray(decoded) ? (decoded as unknown[]) : []
  if (version !== formatVersion) throw new HoldfastError('ERR_FRAME', `quota report: expected version ${formatVersion}, got another`)
  if (!Array.isArray(rows) || rows.length > limiterBounds.reportsMax || !rows.every(Array.isArray)) {
    throw new HoldfastError('ERR_FRAME', `quota report: expected at most ${limiterBounds.reportsMax} rows, got something else`)
  }
  return rows as unknown[][]
}

const isKey = (value: unknown): value is string => typeof value === 'string' && value.length <= keyBytesMax
const isAmount = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value) && value >= 0

/** @throws ERR_FRAME: a member that is not of our release says what we can't use. */
function decodeReports(bytes: Uint8Array): Report[] {
  return rowsOf(bytes).map(([key, epoch, taken, wantedPerMs, tokens, shared, blockedMs]) => {
    if (!isKey(key) || ![epoch, taken, wantedPerMs, blockedMs].every(isAmount) || !Number.isFinite(tokens) || typeof shared !== 'boolean') {
      throw new HoldfastError('ERR_FRAME', 'quota report: expected a bucket and its amounts, got something else')
    }
    return { key, epoch, taken, wantedPerMs, tokens, shared, blockedMs } as Report
  })
}

function decodeGrants(bytes: Uint8Array): Grant[] {
  return rowsOf(bytes).map(([key, epoch, taken, tokens, perMs, blockedMs]) => {
    if (!isKey(key) || ![epoch, taken, perMs, blockedMs].every(isAmount) || !Number.isFinite(tokens)) {
      throw new HoldfastError('ERR_FRAME', 'quota grant: expected a bucket and its amounts, got something else')
    }
    return { key, epoch, taken, tokens, perMs, blockedMs } as Grant
  })
}
