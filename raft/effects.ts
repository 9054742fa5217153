/** Collects what is to be done, hands it out exactly once, and takes note of what was done. */
import { invariant } from './assert.ts'
import { countOwnVote } from './election.ts'
import { entryBytes, type LogWrite } from './log.ts'
import { drop, type Node } from './node.ts'
import { flushReads } from './readindex.ts'
import { flushAppends } from './replication.ts'
import { drawElectionTimeout } from './roles.ts'
import { Role, type Effects, type Entry, type HardState, type NodeId } from './types.ts'

interface InFlight {
  readonly persistId: number
  readonly write: LogWrite
  readonly hardState: HardState | null
}

export class Courier {
  readonly #node: Node
  #nextPersistId = 1
  #inFlight: InFlight | null = null
  /** Committed entries that the driver has and has not applied: a bound on what waits in its hands. */
  #pages: { readonly last: number; readonly bytes: number }[] = []
  #outstandingBytes = 0
  #told: { readonly role: Role; readonly term: number; readonly leader: NodeId | null }

  constructor(node: Node) {
    this.#node = node
    this.#told = { role: node.role, term: node.term, leader: node.leader }
  }

  hasEffects(): boolean {
    this.#prepare()
    const { outbox } = this.#node
    const writable = this.#inFlight === null && (this.#needsPersist() || outbox.hasDurable())
    return writable || !outbox.isEmpty() || this.#roleChange() !== null || this.#mayHandOut()
  }

  take(): Effects {
    this.#prepare()
    const { outbox } = this.#node
    const persist = this.#startPersist()
    const roleChange = this.#roleChange()
    if (roleChange !== null) this.#told = roleChange
    return {
      messages: outbox.takeMessages(),
      persist,
      committed: this.#handOut(),
      readStates: outbox.takeReadStates(),
      snapshotsToSend: outbox.takeSnapshots(),
      roleChange,
    }
  }

  /** Composes late what inputs in between can share: appends, commit indexes, read rounds. */
  #prepare(): void {
    flushReads(this.#node)
    flushAppends(this.#node)
  }

  #roleChange(): Effects['roleChange'] {
    const { role, term, leader } = this.#node
    const told = this.#told
    return told.role === role && told.term === term && told.leader === leader ? null : { role, term, leader }
  }

  /** Term and vote only: the commit index is a hint, and not worth an fsync of its own. */
  #hardStateDirty(): boolean {
    const { term, vote, durable } = this.#node
    return durable.term !== term || durable.vote !== vote
  }

  #needsPersist(): boolean {
    return this.#hardStateDirty() || this.#node.log.hasUnpersisted()
  }

  #startPersist(): Effects['persist'] {
    const { outbox, term, vote, log, durable } = this.#node
    if (this.#inFlight !== null) return null
    if (!this.#needsPersist()) {
      for (const message of outbox.takeDurable(term)) outbox.send(message)
      return null
    }
    // The hard state reaches the disk before the entries do. A commit index that spoke of entries of this write would, after a
    // crash between the two, make old entries at the same indexes count as committed.
    const hardState = this.#hardStateDirty() ? { term, vote, commit: log.durableCommit(durable.commit) } : null
    const write = log.unpersisted()
    const persistId = this.#nextPersistId
    this.#nextPersistId += 1
    this.#inFlight = { persistId, write, hardState }
    return { persistId, hardState, entries: write.entries, snapshot: write.snapshot, messagesAfterPersist: outbox.takeDurable(term) }
  }

  persisted(persistId: number): void {
    const node = this.#node
    const done = this.#inFlight
    if (done?.persistId !== persistId) return drop(node, 'unknown-persist')
    this.#inFlight = null
    if (done.hardState !== null) node.durable = done.hardState
    node.log.persisted(done.write)
    if (done.write.snapshot !== null) this.applied(done.write.snapshot.index)
    countOwnVote(node)
  }

  #mayHandOut(): boolean {
    const { log, handed, config } = this.#node
    return Math.min(log.commit, log.durableIndex()) > handed && this.#outstandingBytes < config.committedBytesMax
  }

  /**
   * The next page of committed entries, once they are on this node's own disk: a state machine that is ahead of its own log could
   * not be explained after a crash.
   */
  #handOut(): readonly Entry[] {
    if (!this.#mayHandOut()) return []
    const node = this.#node
    const { log, config } = node
    const entries = log.entries(node.handed + 1, Math.min(log.commit, log.durableIndex()) + 1, config.committedBytesMax)
    const last = entries?.at(-1)
    invariant(entries !== null && last !== undefined, () => `entry ${node.handed + 1} was compacted before it was applied`)
    node.handed = last.index
    const bytes = entries.reduce((sum, entry) => sum + entryBytes(entry), 0)
    this.#pages.push({ last: last.index, bytes })
    this.#outstandingBytes += bytes
    return entries
  }

  applied(index: number): void {
    const node = this.#node
    invariant(index <= node.handed, () => `applied ${index} was never handed out: the last was ${node.handed}`)
    node.applied = Math.max(node.applied, index)
    while ((this.#pages[0]?.last ?? Infinity) <= node.applied) this.#outstandingBytes -= this.#pages.shift()?.bytes ?? 0
  }
}

/** A node that was sealed or unsealed campaigns later or sooner from now on; what it has heard of its leader stays as it is. */
export function setSealed(node: Node, sealed: boolean): void {
  if (node.sealed === sealed) return
  node.sealed = sealed
  drawElectionTimeout(node)
}
