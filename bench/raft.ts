/**
 * The consensus core alone: three nodes in memory, disks that write at once, no network. Proposals and messages a second, and what a
 * message costs in allocated bytes. Run: node --expose-gc bench/raft.ts [--seconds 3]
 */
import { parseArgs } from 'node:util'
import {
  createRaft,
  emptyMembership,
  type Entry,
  type LogReader,
  type Message,
  type Raft,
  type RaftConfig,
  type SnapshotMeta,
} from '#raft/index.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '3' } } })
const runMs = Number(values.seconds) * 1_000
const ids = ['a', 'b', 'c'] as const
const membership = { ...emptyMembership, voters: [...ids] }
/** Entries behind the newest that a node keeps: the bench must not measure a growing array. */
const keptEntries = 4_096

const config: Omit<RaftConfig, 'id' | 'randomBelow'> = {
  electionTicks: 10,
  heartbeatTicks: 2,
  sealedElectionFactor: 3,
  entryBytesMax: 1024 * 1024,
  appendBytesMax: 1024 * 1024,
  inflightMessagesMax: 64,
  inflightBytesMax: 16 * 1024 * 1024,
  uncommittedBytesMax: 64 * 1024 * 1024,
  committedBytesMax: 16 * 1024 * 1024,
  pendingReadsMax: 1_024,
  preVote: true,
  checkQuorum: true,
}

/** A log that is durable as soon as it is told to be. */
class MemoryLog implements LogReader {
  #entries: Entry[] = []
  #first = 1
  #cutTerm = 0

  firstIndex(): number {
    return this.#first
  }
  lastIndex(): number {
    return this.#first + this.#entries.length - 1
  }
  term(index: number): number | null {
    if (index === this.#first - 1) return this.#cutTerm
    return this.#entries[index - this.#first]?.term ?? null
  }
  entries(lo: number, hi: number, bytesMax: number): readonly Entry[] | null {
    if (lo < this.#first) return null
    const found: Entry[] = []
    let bytes = 0
    for (const entry of this.#entries.slice(lo - this.#first, hi - this.#first)) {
      bytes += entry.data.length
      if (found.length > 0 && bytes > bytesMax) break
      found.push(entry)
    }
    return found
  }
  snapshot(): SnapshotMeta {
    return { index: this.#first - 1, term: this.#cutTerm, membership }
  }
  append(entries: readonly Entry[]): void {
    const [head] = entries
    if (head === undefined) return
    this.#entries.length = head.index - this.#first
    for (const entry of entries) this.#entries.push(entry)
    const surplus = this.#entries.length - 2 * keptEntries
    if (surplus <= 0) return
    this.#cutTerm = this.#entries[surplus - 1]?.term ?? 0
    this.#first += surplus
    this.#entries = this.#entries.slice(surplus)
  }
}

class Trio {
  readonly rafts = new Map<string, Raft>()
  readonly #logs = new Map<string, MemoryLog>()
  readonly #pool: Message[] = []
  messages = 0
  committed = 0

  constructor() {
    for (const [i, id] of ids.entries()) {
      const log = new MemoryLog()
      this.#logs.set(id, log)
      this.rafts.set(
        id,
        createRaft(
          { ...config, id, randomBelow: (n) => (i * 3) % n },
          { hardState: { term: 0, vote: null, commit: 0 }, membership, applied: 0 },
          log,
        ),
      )
    }
  }

  get leader(): Raft {
    for (let tick = 0; tick < 100; tick++) {
      for (const raft of this.rafts.values()) if (raft.status().ready) return raft
      for (const raft of this.rafts.values()) raft.tick()
      this.settle()
    }
    throw new Error('expected a leader within 100 ticks, got none')
  }

  /** Carries out effects and delivers messages until nothing is left. */
  settle(): void {
    do {
      for (const [id, raft] of this.rafts) if (raft.hasEffects()) this.#carryOut(id, raft)
      for (const message of this.#pool.splice(0)) {
        this.messages += 1
        this.rafts.get(message.to)?.step(message)
      }
    } while (this.#pool.length > 0 || [...this.rafts.values()].some((raft) => raft.hasEffects()))
  }

  #carryOut(id: string, raft: Raft): void {
    const { messages, persist, committed } = raft.takeEffects()
    this.#pool.push(...messages)
    if (persist !== null) {
      this.#logs.get(id)?.append(persist.entries)
      this.#pool.push(...persist.messagesAfterPersist)
      raft.persisted(persist.persistId)
    }
    const last = committed.at(-1)
    if (last === undefined) return
    this.committed += committed.length
    raft.applied(last.index)
  }
}

function measure(batch: number): Record<string, number> {
  const trio = new Trio()
  const { leader } = trio
  const data = Array.from({ length: batch }, () => new Uint8Array(400))
  const propose = (): void => {
    const result = leader.propose(leader.status().term, data)
    if (!result.ok) throw new Error(`expected the proposal to be taken, got ${result.reason}`)
    trio.settle()
  }
  for (let i = 0; i < 2_000; i++) propose()
  globalThis.gc?.()
  const before = { messages: trio.messages, committed: trio.committed, heap: process.memoryUsage().heapUsed }
  // Few enough that no collection runs in between: what the heap grew by is what was allocated.
  const sample = 200
  for (let i = 0; i < sample; i++) propose()
  const bytesPerMessage = (process.memoryUsage().heapUsed - before.heap) / (trio.messages - before.messages)
  const start = { messages: trio.messages, committed: trio.committed, at: performance.now() }
  let rounds = 0
  while (performance.now() - start.at < runMs) {
    for (let i = 0; i < 100; i++) propose()
    rounds += 100
  }
  const seconds = (performance.now() - start.at) / 1_000
  return {
    proposals_per_second: Math.round((rounds * batch) / seconds),
    messages_stepped_per_second: Math.round((trio.messages - start.messages) / seconds),
    bytes_allocated_per_message: Math.round(bytesPerMessage),
  }
}

if (globalThis.gc === undefined) console.warn('without --expose-gc the figure of allocated bytes is not to be trusted')
recordFigures('raft-core', 'node --expose-gc bench/raft.ts', { batch_of_1: measure(1), batch_of_64: measure(64) })
