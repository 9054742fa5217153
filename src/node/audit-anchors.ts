/**
 * Anchors this node's audit lanes in the Raft log: every few seconds while there is something new, soon after a rotation, and once more when the node stops.
 * The leader writes; another node tells it, sealed as forwarded requests are: who has stolen a node's identity can anchor nothing.
 */
import type { ProofFile } from '#audit/anchor.ts'
import { anchorHeads, proofOf } from '#audit/anchor-store.ts'
import type { ManagedAuditBroker } from '#audit/broker.ts'
import type { LaneHead } from '#audit/types.ts'
import type { BarrierControl, ReadView } from '#barrier/types.ts'
import type { Clock, Timer } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { Replica } from '#replica/types.ts'
import { decode, encode } from '#transport/msgpack.ts'
import type { Transport } from '#transport/types.ts'
import { ForwardSeal, type ForwardSealOptions } from './forward-seal.ts'

export const anchorKind = 'audit-anchor'
const timeoutMs = 3_000
/** After a rotation: those of other devices come along. */
const soonMs = 200
/** A node that stops waits so long at most for its last anchor. */
const lastMsMax = 2_000
const headsMax = 64
const formatVersion = 1

export interface AuditAnchorsOptions extends ForwardSealOptions {
  readonly barrier: Pick<BarrierControl, 'derivedKey' | 'transact' | 'sealed' | 'status'>
  readonly replica: Pick<Replica, 'nodeId' | 'status'>
  readonly transport: () => Pick<Transport, 'request'> | null
  readonly audit: ManagedAuditBroker
  readonly everyMs: number
  readonly clock: Clock
  readonly log: Logger
}

export interface AnchorStatus {
  /** When this node's lanes were last anchored, ms since 1970; 0: not yet. */
  readonly lastMs: number
  readonly failures: number
}

export class AuditAnchors {
  readonly #options: AuditAnchorsOptions
  readonly #seal: ForwardSeal
  /** What was anchored last, by device: `BOOT SEQ`. */
  readonly #known = new Map<string, string>()
  #timer: Timer | null = null
  #round: Promise<void> = Promise.resolve()
  #stopped = false
  #failing = false
  #lastMs = 0
  #failures = 0

  constructor(options: AuditAnchorsOptions) {
    this.#options = options
    this.#seal = new ForwardSeal(options)
  }

  /** As ForwardSeal's. */
  forget(): void {
    this.#seal.forget()
  }

  status(): AnchorStatus {
    return { lastMs: this.#lastMs, failures: this.#failures }
  }

  start(): void {
    this.#options.audit.onRotated(() => this.#arm(soonMs))
    this.#arm(this.#options.everyMs)
  }

  /** The last round, while there is still somebody to tell. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    const { clock } = this.#options
    await Promise.race([this.round(), new Promise<void>((resolve) => clock.setTimer(lastMsMax, resolve))])
  }

  /** One round, after the one under way. Never rejects. */
  round(): Promise<void> {
    this.#round = this.#round.then(() => this.#anchor())
    return this.#round
  }

  /** All that checking files needs, as of `view`; null while nothing is anchored. @throws ERR_SEALED. */
  async proof(view: ReadView): Promise<ProofFile | null> {
    const { barrier, replica, clock } = this.#options
    using key = barrier.derivedKey('audit')
    // Awaited here: returned as it is, the key would be wiped before an epoch's key is derived from it, and untouched files would be called altered.
    return await proofOf(view, key.reveal(), replica.status().clusterId, clock.nowMs())
  }

  /** Writes what member `from` tells of its own lanes. @throws ERR_NOT_LEADER, ERR_SEALED, ERR_FRAME, ERR_PEER_REFUSED. */
  async answer(from: string, sealed: Uint8Array): Promise<Uint8Array> {
    const { nodeId } = this.#options.replica
    const heads = decodeHeads(this.#seal.open(place('heads', from, nodeId), sealed))
    await this.#write(from, heads)
    return this.#seal.seal(place('anchored', nodeId, from), encode([formatVersion, heads.length]))
  }

  async #anchor(): Promise<void> {
    const { audit, barrier, replica, clock, log } = this.#options
    const { leader } = replica.status()
    if (barrier.sealed || leader === null) return
    try {
      const heads = (await audit.heads()).filter(({ device, boot, seq }) => this.#known.get(device) !== `${boot} ${seq}`)
      if (heads.length === 0) return
      if (leader === replica.nodeId) await this.#write(replica.nodeId, heads)
      else await this.#tell(leader, heads)
      for (const { device, boot, seq } of heads) this.#known.set(device, `${boot} ${seq}`)
      this.#lastMs = clock.nowMs()
      this.#failing = false
    } catch (error) {
      this.#failures += 1
      // The next round tells all that this one did not: only a lasting failure is worth a line.
      if (this.#failing)
        log.warn({ code: isHoldfastError(error) ? error.code : undefined }, 'the audit could not be anchored: it is tried again')
      this.#failing = true
    }
  }

  async #write(node: string, heads: readonly LaneHead[]): Promise<void> {
    const { role, ready } = this.#options.replica.status()
    if (role !== 'leader' || !ready) throw new HoldfastError('ERR_NOT_LEADER', 'this node is not the leader')
    const { barrier, replica } = this.#options
    const { clusterId: cluster } = replica.status()
    await barrier.transact((transaction) => {
      const keyringTerm = barrier.status().keyringTerm ?? 0
      return anchorHeads(transaction, { cluster, node, timeMs: transaction.nowMs, keyringTerm }, heads)
    })
  }

  async #tell(leader: string, heads: readonly LaneHead[]): Promise<void> {
    const { nodeId } = this.#options.replica
    const transport = this.#options.transport()
    if (transport === null) throw new HoldfastError('ERR_NO_LEADER', 'no connection to the leader')
    const sealed = this.#seal.seal(place('heads', nodeId, leader), encode([formatVersion, heads.slice(0, headsMax).map(rowOf)]))
    this.#seal.open(place('anchored', leader, nodeId), await transport.request(leader, anchorKind, sealed, timeoutMs))
  }

  #arm(delayMs: number): void {
    if (this.#stopped) return
    this.#timer?.cancel()
    this.#timer = this.#options.clock.setTimer(delayMs, () => void this.round().then(() => this.#arm(this.#options.everyMs)))
  }
}

const place = (what: string, from: string, to: string): string => `audit ${what} ${JSON.stringify([from, to])}`

const rowOf = ({ device, boot, seq, head, epoch, oldest }: LaneHead): unknown[] => [
  device,
  boot,
  seq,
  head,
  epoch,
  oldest === null ? null : [oldest.boot, oldest.seq],
]

const isPlace = (boot: unknown, seq: unknown): boolean => typeof boot === 'string' && boot.length === 36 && Number.isSafeInteger(seq)

/** From a node that holds the barrier's key: damaged rather than hostile, and checked all the same. @throws ERR_FRAME. */
function decodeHeads(bytes: Uint8Array): LaneHead[] {
  const refuse = (): never => {
    throw new HoldfastError('ERR_FRAME', `audit heads: expected format ${formatVersion} with at most ${headsMax} rows, got another`)
  }
  const message: unknown = decode(bytes)
  if (!Array.isArray(message) || message[0] !== formatVersion || !Array.isArray(message[1]) || message[1].length > headsMax) return refuse()
  return message[1].map((row: unknown) => {
    if (!Array.isArray(row)) return refuse()
    const [device, boot, seq, head, epoch, oldest] = row as unknown[]
    const goodOldest = oldest === null || (Array.isArray(oldest) && isPlace(oldest[0], oldest[1]))
    const good = typeof device === 'string' && typeof head === 'string' && /^[0-9a-f]{64}$/.test(head) && Number.isSafeInteger(epoch)
    if (!good || !goodOldest || !isPlace(boot, seq)) return refuse()
    const [oldestBoot, oldestSeq] = (oldest ?? []) as [string?, number?]
    const at = oldestBoot === undefined || oldestSeq === undefined ? null : { boot: oldestBoot, seq: oldestSeq }
    return { device, boot: boot as string, seq: seq as number, head, epoch: epoch as number, oldest: at }
  })
}
