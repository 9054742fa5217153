/**
 * A Replica that stands before there is one. A server must answer `sys/init` and `sys/health` before it belongs to any cluster,
 * and the barrier, the seal and the core are built once, over this; `attach` lets them reach the real one from then on.
 */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { releasedFormats, type FormatRange } from '#base/formats.ts'
import { Role } from '#raft/types.ts'
import type { Authenticator } from '#replica/authenticator.ts'
import type { AppliedChange, Member, Proposal, Replica, ReplicaStatus, VerifyReport } from '#replica/types.ts'
import { emptyMeta } from '#store/statemeta.ts'
import type { StateView } from '#store/types.ts'

/** The state of a node that belongs to no cluster: there is nothing in it. */
const emptyView: StateView = {
  meta: emptyMeta,
  get: () => undefined,
  async *entriesFrom() {},
  keyCursor: () => ({ next: async () => undefined, close: async () => {} }),
  release: () => {},
}

export class LateReplica implements Replica {
  readonly nodeId: string
  #replica: Replica | null = null
  #authenticator: Authenticator | null = null
  readonly #applied = new Set<(change: AppliedChange) => void>()
  readonly #status = new Set<(status: ReplicaStatus) => void>()

  constructor(nodeId: string) {
    this.nodeId = nodeId
  }

  get attached(): boolean {
    return this.#replica !== null
  }

  /** Hands over to the real replica; every listener from before hears it too. Call once. */
  attach(replica: Replica): void {
    this.#replica = replica
    replica.setAuthenticator(this.#authenticator)
    replica.onApplied((change) => {
      for (const listener of this.#applied) listener(change)
    })
    replica.onStatus((status) => {
      for (const listener of this.#status) listener(status)
    })
    const status = replica.status()
    for (const listener of this.#status) listener(status)
  }

  status(): ReplicaStatus {
    return (
      this.#replica?.status() ?? {
        nodeId: this.nodeId,
        clusterId: '',
        incarnation: 0,
        role: Role.follower,
        term: 0,
        leader: null,
        leaderMember: null,
        commit: 0,
        applied: 0,
        lastIndex: 0,
        ready: false,
        hasQuorum: false,
        failed: null,
        repair: null,
        logRepair: null,
        members: [],
        peers: [],
        logEntries: 0,
        level: releasedFormats.min,
        formats: releasedFormats,
        memberFormats: {},
        readsConfirmed: { byLease: 0, byRound: 0 },
      }
    )
  }

  // Async, so that "not yet initialised" is a rejection like every other refusal, never a synchronous throw.
  async readIndex(timeoutMs: number): Promise<{ readonly index: number; readonly leaderTimeMs: number }> {
    return this.#real().readIndex(timeoutMs)
  }

  view(): StateView {
    return this.#replica?.view() ?? emptyView
  }

  async propose(proposal: Proposal): Promise<{ readonly index: number }> {
    return this.#real().propose(proposal)
  }

  onApplied(listener: (change: AppliedChange) => void): () => void {
    this.#applied.add(listener)
    return () => this.#applied.delete(listener)
  }

  onStatus(listener: (status: ReplicaStatus) => void): () => void {
    this.#status.add(listener)
    return () => this.#status.delete(listener)
  }

  setAuthenticator(authenticator: Authenticator | null): void {
    this.#replica?.setAuthenticator(authenticator)
    this.#authenticator = authenticator
  }

  async addMember(member: Member, formats?: FormatRange): Promise<void> {
    return this.#real().addMember(member, formats)
  }

  async removeMember(id: string): Promise<void> {
    return this.#real().removeMember(id)
  }

  async setVoter(id: string, voter: boolean): Promise<void> {
    return this.#real().setVoter(id, voter)
  }

  async transferLeadership(to: string | null, timeoutMs: number): Promise<void> {
    return this.#real().transferLeadership(to, timeoutMs)
  }

  async verify(): Promise<VerifyReport> {
    return this.#real().verify()
  }

  scrub(): void {
    this.#real().scrub()
  }

  async stop(): Promise<void> {
    await this.#replica?.stop()
  }

  #real(): Replica {
    if (this.#replica === null)
      throw new HoldfastError('ERR_NOT_INITIALIZED', wellKnown.notInitialized, {
        hint: 'initialise this cluster (operator init), or join it to one (operator raft join)',
      })
    return this.#replica
  }
}
