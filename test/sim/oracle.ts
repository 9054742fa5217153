/**
 * What must hold at every moment, whatever is broken. The oracles see all nodes at once and remember across restarts; each failure
 * names the rule.
 */
import { MessageType, type Entry, type HardState, type Message } from '#raft/index.ts'
import type { SimDisk, State } from './disk.ts'
import { Hash } from './hash.ts'

export class OracleError extends Error {
  override readonly name = 'OracleError'
}

export function must(condition: boolean, rule: string, detail: () => string): asserts condition {
  if (!condition) throw new OracleError(`${rule}: ${detail()}`)
}

/** Reasons that no honest cluster ever produces. */
const impossible = [
  'second-leader-in-term',
  'acknowledged-beyond-log',
  'commit-beyond-log',
  'malformed',
  'entry-not-understood',
  'misdirected',
]

export class Oracle {
  readonly #leaders = new Map<number, string>()
  readonly #entries = new Map<string, string>()
  /** With the term in which it was seen to be committed: only leaders of later terms must hold it. */
  readonly #committed = new Map<number, { readonly entry: Entry; readonly term: number }>()
  readonly #digests = new Map<number, string>()
  readonly #votes = new Map<string, string>()
  readonly #hardStates = new Map<string, HardState>()
  committedMax = 0
  /** The newest state that a client has seen, by a write acknowledged or a read served. */
  observed = 0

  /** Election safety, and leader completeness: a new leader holds all that was ever committed. */
  leader(id: string, term: number, termOf: (index: number) => number | null, firstIndex: number): void {
    const known = this.#leaders.get(term) ?? id
    must(known === id, 'one leader a term', () => `term ${term} has ${known} and ${id}`)
    if (this.#leaders.has(term)) return
    this.#leaders.set(term, id)
    for (let index = firstIndex; index <= this.committedMax; index += 1) {
      const committed = this.#committed.get(index)
      // A leader of an earlier term may be elected late, by votes that were long under way, and lack what was committed meanwhile.
      if (committed === undefined || committed.term >= term) continue
      must(termOf(index) === committed.entry.term, 'leader completeness', () => {
        return `leader ${id} of term ${term} has term ${termOf(index)} at committed index ${index}, expected ${committed.entry.term}`
      })
    }
  }

  /** Log matching, by induction: an entry (index, term) has the same content and the same predecessor everywhere. */
  appended(id: string, entries: readonly Entry[], termBefore: number): void {
    let before = termBefore
    for (const entry of entries) {
      const key = `${entry.index}/${entry.term}`
      const value = `${before}:${new Hash().number(entry.type).bytes(entry.data).hex()}`
      const known = this.#entries.get(key) ?? value
      must(known === value, 'log matching', () => `${id} holds ${key} as ${value}, expected ${known}`)
      this.#entries.set(key, value)
      before = entry.term
    }
  }

  /** State machine safety: one entry an index, for good. `term` is the node's, when it learned of it. */
  committed(id: string, term: number, entries: readonly Entry[]): void {
    for (const entry of entries) {
      const known = this.#committed.get(entry.index) ?? { entry, term }
      must(known.entry.term === entry.term, 'state machine safety', () => {
        return `${id} commits ${entry.index} of term ${entry.term}, which was committed of term ${known.entry.term}`
      })
      this.#committed.set(entry.index, known)
      this.committedMax = Math.max(this.committedMax, entry.index)
    }
  }

  applied(id: string, state: State): void {
    const known = this.#digests.get(state.index) ?? state.digest
    must(known === state.digest, 'state digest', () => `${id} differs at index ${state.index}`)
    this.#digests.set(state.index, known)
  }

  /** Durables never regress: terms grow, and a vote stays what it is within its term. */
  persisted(id: string, next: HardState): void {
    const last = this.#hardStates.get(id)
    must(last === undefined || next.term >= last.term, 'monotone durables', () => `${id}'s term went from ${last?.term} to ${next.term}`)
    const revoted = last !== undefined && last.term === next.term && last.vote !== null && last.vote !== next.vote
    must(!revoted, 'monotone durables', () => `${id} changed its vote in term ${next.term}`)
    this.#hardStates.set(id, next)
  }

  /** Persist before send: what a message speaks of is on the sender's disk. */
  sent(message: Message, disk: SimDisk): void {
    const { type, from, to, term } = message
    const speaksOfTerm = type !== MessageType.preVote && !(type === MessageType.preVoteReply && message.reject !== true)
    must(!speaksOfTerm || disk.hardState.term >= term, 'persist before send', () => `${from} speaks of term ${term}`)
    if (message.reject === true) return
    if (type === MessageType.voteReply) {
      const key = `${from}/${term}`
      const known = this.#votes.get(key) ?? to
      must(known === to, 'one vote a term', () => `${from} voted for ${known} and ${to} in term ${term}`)
      this.#votes.set(key, to)
      must(disk.hardState.vote === to || disk.hardState.term > term, 'persist before send', () => `${from}'s vote for ${to}`)
    }
    if (type === MessageType.appendReply) {
      this.#acknowledges(message, disk)
      must(disk.lastIndex() >= (message.logIndex ?? 0), 'persist before send', () => {
        return `${from} acknowledges ${message.logIndex}, its disk ends at ${disk.lastIndex()}`
      })
    }
  }

  /** What a leader tells others of its log: an acknowledgement in its term speaks of exactly that. */
  readonly #told = new Map<string, number>()

  /** Notes the entries of an append, and the one before them. */
  tells({ term, logIndex = 0, logTerm = 0, entries = [] }: Message): void {
    this.#told.set(`${term}/${logIndex}`, logTerm)
    for (const entry of entries) this.#told.set(`${term}/${entry.index}`, entry.term)
  }

  #acknowledges({ from, term, logIndex = 0 }: Message, disk: SimDisk): void {
    const told = this.#told.get(`${term}/${logIndex}`)
    const held = logIndex < disk.firstIndex() ? null : disk.term(logIndex)
    must(told === undefined || held === null || held === told, 'acknowledged is held', () => {
      return `${from} acknowledges ${logIndex} of term ${told} in term ${term}, its disk has one of term ${held}`
    })
  }

  /** Pre-votes granted, by candidate and term. */
  readonly #granted = new Map<string, Set<string>>()

  grants({ from, to, term }: Message): void {
    const key = `${to}/${term}`
    this.#granted.set(key, (this.#granted.get(key) ?? new Set([to])).add(from))
  }

  /** Who asks for votes must have been encouraged by a majority before: otherwise a node that nobody hears raises terms for ever. */
  asksForVotes({ from, term }: Message, halves: readonly (readonly string[])[]): void {
    const granted = this.#granted.get(`${from}/${term}`) ?? new Set([from])
    const won = halves.every((half) => half.length === 0 || half.filter((id) => granted.has(id)).length * 2 > half.length)
    must(
      won,
      'pre-vote',
      () => `${from} asks for votes in term ${term} with pre-votes of ${[...granted].join(' ')} of ${halves.join(' and ')}`,
    )
  }

  /** A read sees everything that any client has seen before the read began. */
  read(id: string, index: number, observedAtStart: number): void {
    must(index >= observedAtStart, 'linearizable read', () => `${id} reads at ${index}, a client had seen ${observedAtStart}`)
    this.observed = Math.max(this.observed, index)
  }

  acknowledged(index: number): void {
    this.observed = Math.max(this.observed, index)
  }

  /** A proposal that was called lost must not be in the committed log, and one that was acknowledged must. */
  outcome(index: number, term: number, outcome: 'committed' | 'lost'): void {
    const entry = this.#committed.get(index)?.entry
    if (entry === undefined) return
    must((entry.term === term) === (outcome === 'committed'), 'proposal outcome', () => `(${index}, ${term}) was called ${outcome}`)
  }

  dropped(id: string, dropped: Readonly<Record<string, number>>): void {
    for (const reason of impossible) must(dropped[reason] === undefined, 'honest peers', () => `${id} dropped a message as ${reason}`)
  }
}
