/** The oracles of the core's own simulator, and those that need the driver, the stores and the clients. */
import { releasedFormats, type FormatRange } from '#base/formats.ts'
import { decodeCommand, type Command } from '#replica/command.ts'
import { EntryType, MessageType, type Entry, type HardState, type LogReader, type Membership, type Message } from '#raft/index.ts'
import type { LogStore, Op, StateStore } from '#store/types.ts'
import { Oracle, OracleError } from '../oracle.ts'
import { nextFormats } from './rolling.ts'
import { decodeValue, keyBytes } from './value.ts'

export { OracleError }

/** What a node has told others, or was told by its stores: none of it may ever be gone. Outlives its processes, not its disk. */
export interface Promised {
  hardState: HardState
  /** The log's end, as last acknowledged by the store; null while a write that shortens it is under way. */
  end: { readonly index: number; readonly term: number } | null
}

export type Fate = 'open' | 'ok' | 'failed' | 'unknown'

export class ClusterOracle {
  readonly core = new Oracle()
  /** Of each committed index: the entry's term, and the term of the node that first told of it. */
  readonly #committed = new Map<number, { readonly term: number; readonly seenIn: number }>()
  readonly #attempts = new Map<number, { fate: Fate; index: number | null }>()
  readonly #texts = new Map<string, number>()
  readonly #checked = new Map<string, number>()
  readonly #states = new Map<number, string>()
  readonly #leaders = new Map<number, string>()
  readonly #keys: readonly string[]
  committedMax = 0
  /** An entry that raises the format level was seen in a log: the way back is over, or may be. */
  raiseSeen = false
  /** Where the level was raised, once that is committed. */
  #raisedAt = Infinity

  constructor(keys: readonly string[]) {
    this.#keys = keys
  }

  /** Everything that leaves a node passes here. Persist before send; one leader a term; a new leader holds all that was ever committed. */
  sent(id: string, message: Message, promised: Promised, log: LogReader & Pick<LogStore, 'fence'>): void {
    const { type, to, term, reject } = message
    const from = id
    if (log.fence !== null && hasSay(message))
      fail('no vote without its log', `${from} lost what it acknowledged, and sends ${JSON.stringify(message)}`)
    const speaksOfTerm = type !== MessageType.preVote && !(type === MessageType.preVoteReply && reject !== true)
    if (speaksOfTerm && promised.hardState.term < term)
      fail('persist before send', `${from} speaks of term ${term} in ${JSON.stringify(message)}`)
    if (type === MessageType.append || type === MessageType.heartbeat || type === MessageType.snapshot) this.#leads(from, term, log)
    if (reject === true) return
    if (type === MessageType.voteReply) {
      const { term: held, vote } = promised.hardState
      if (held === term && vote !== to) fail('persist before send', `${from}'s vote for ${to}, its disk has one for ${vote}`)
      this.#votes(from, term, to)
    }
    if (type === MessageType.appendReply && (message.logIndex ?? 0) > log.lastIndex())
      fail('persist before send', `${from} acknowledges ${message.logIndex}, its disk ends at ${log.lastIndex()}`)
  }

  readonly #voted = new Map<string, string>()
  #votes(from: string, term: number, to: string): void {
    const key = `${from}/${term}`
    const known = this.#voted.get(key) ?? to
    if (known !== to) fail('one vote a term', `${from} voted for ${known} and ${to} in term ${term}`)
    this.#voted.set(key, to)
  }

  #leads(id: string, term: number, log: LogReader): void {
    if (this.#leaders.get(term) === id) return
    this.#leaders.set(term, id)
    // What it holds beyond its disk is not seen here; the committed part of that shows when it is applied or overwritten.
    const last = Math.min(this.committedMax, log.lastIndex())
    const termOf = (index: number): number | null => (index > last ? (this.#committed.get(index)?.term ?? null) : log.term(index))
    this.core.leader(id, term, termOf, log.firstIndex())
  }

  get leader(): { readonly id: string; readonly term: number } | null {
    const term = Math.max(0, ...this.#leaders.keys())
    const id = this.#leaders.get(term)
    return id === undefined ? null : { id, term }
  }

  appending(id: string, nodeTerm: number, entries: readonly Entry[], log: LogReader): void {
    const first = entries[0]
    if (first === undefined) return
    this.core.appended(id, entries, log.term(first.index - 1) ?? 0)
    for (const { index, term } of entries) {
      if (index > this.committedMax) break
      const committed = this.#committed.get(index)
      // A node of an older term may still hold, take and lose what is decided elsewhere.
      if (committed !== undefined && committed.term !== term && log.term(index) === committed.term && nodeTerm >= committed.seenIn)
        fail('committed never lost', `${id} replaces ${index}, committed of term ${committed.term}, by one of term ${term}`)
    }
  }

  /** Everything that was promised before a crash is there after it. */
  reopened(id: string, promised: Promised, log: LogStore, state: StateStore): void {
    const { hardState, end } = promised
    const now = log.hardState
    if (now.term < hardState.term) fail('monotone durables', `${id} came back with term ${now.term}, had promised ${hardState.term}`)
    if (now.term === hardState.term && hardState.vote !== null && now.vote !== hardState.vote)
      fail('monotone durables', `${id} came back with a vote for ${now.vote}, had voted for ${hardState.vote}`)
    const inState = end !== null && state.meta.applied >= end.index
    if (end !== null && !inState && log.firstIndex() <= end.index && (log.lastIndex() < end.index || log.term(end.index) !== end.term))
      fail('acknowledged never lost', `${id} came back with a log to ${log.lastIndex()}, had acknowledged ${end.index} of term ${end.term}`)
    if (end !== null && log.firstIndex() > end.index + 1 && state.meta.applied < log.firstIndex() - 1)
      fail('acknowledged never lost', `${id} came back with a log from ${log.firstIndex()} and a state at ${state.meta.applied}`)
  }

  /** Exactly the entries behind the applied index are applied, once, in order, and each is the one that was committed there. */
  applying(id: string, nodeTerm: number, from: number, to: number, entries: readonly Entry[], ops: readonly Op[]): void {
    if (entries.length !== to - from)
      fail('applied exactly once', `${id} applies ${from + 1} to ${to}, its log has ${entries.length} of them`)
    this.core.committed(id, nodeTerm, entries)
    let at = 0
    for (const entry of entries) {
      if (!this.#committed.has(entry.index)) this.#commit(entry, nodeTerm)
      if (entry.type !== EntryType.command) continue
      for (const { ops: expected } of readCommand(entry.data).sections) {
        for (const op of expected) {
          const got = ops[at]
          at += 1
          if (got === undefined || !same(op.key, got.key) || !same(op.value, got.value))
            fail('applied exactly once', `${id} applies other changes than entry ${entry.index} has`)
        }
      }
    }
    // The members' record may follow, and the level.
    if (ops.length > at + 2) fail('applied exactly once', `${id} applies ${ops.length} changes, its entries have ${at}`)
  }

  /** An order to restore is applied as any entry is: next, once, and the one that was committed there. */
  restoring(id: string, nodeTerm: number, from: number, to: number, entries: readonly Entry[]): void {
    const [entry] = entries
    if (to !== from + 1 || entries.length !== 1 || entry === undefined || (readCommand(entry.data).restore ?? null) === null)
      fail('restored where it was ordered', `${id} restores from ${from} to ${to}, its log has ${entries.length} of them`)
    this.core.committed(id, nodeTerm, entries)
    if (!this.#committed.has(to)) this.#commit(entry as Entry, nodeTerm)
  }

  /** Nobody writes in the next release's formats before the level is raised. */
  wroteNewFormat(id: string, what: string): void {
    if (this.#raisedAt === Infinity) fail('format level', `${id} sent ${what} in the next release's format, and the level was not raised`)
  }

  mayHold(id: string, { max }: FormatRange, entries: readonly Entry[]): void {
    for (const { index, type, data } of entries) {
      if (type !== EntryType.command) continue
      const update = readCommand(data).directory
      if (update !== null && 'level' in update) this.raiseSeen = true
      if (isNewFormat(data) && max === releasedFormats.max && !this.raiseSeen)
        fail('format level', `${id} was given entry ${index} in a format that it does not understand, and the level was not raised`)
    }
  }

  /** A release that does not understand the raised level applies nothing behind it. */
  mayApply(id: string, { max }: FormatRange, index: number): void {
    if (index >= this.#raisedAt && max === releasedFormats.max)
      fail('format level', `${id} applies ${index}, the level was raised at ${this.#raisedAt} beyond what it understands`)
  }

  #noteLevel(entry: Entry): void {
    if (isNewFormat(entry.data) && entry.index <= this.#raisedAt)
      fail('format level', `entry ${entry.index} is written in the next release's format, the level was raised at ${this.#raisedAt}`)
    const { directory } = readCommand(entry.data)
    if (directory !== null && 'level' in directory) this.#raisedAt = Math.min(this.#raisedAt, entry.index)
  }

  #commit(entry: Entry, seenIn: number): void {
    this.#committed.set(entry.index, { term: entry.term, seenIn })
    this.committedMax = Math.max(this.committedMax, entry.index)
    if (entry.type !== EntryType.command) return
    this.#noteLevel(entry)
    for (const { ops } of readCommand(entry.data).sections) {
      for (const { key, value } of ops) {
        if (value === null) continue
        const { attempt, text } = decodeValue(Buffer.from(key.subarray(1)).toString('latin1'), value)
        if (attempt !== 0 && text !== null) this.#wrote(text, entry.index)
        const known = this.#attempts.get(attempt)
        if (known === undefined) continue
        if (known.fate === 'failed') fail('proposal outcome', `attempt ${attempt} was called failed, and is committed at ${entry.index}`)
        if (known.index !== null) fail('proposal outcome', `attempt ${attempt} is committed at ${known.index} and ${entry.index}`)
        known.index = entry.index
      }
    }
  }

  /** Each write has a text of its own: one that is sent again is carried out once. */
  #wrote(text: string, index: number): void {
    const known = this.#texts.get(text)
    if (known !== undefined) fail('a repeated write is applied once', `${text} is written at ${known} and ${index}`)
    this.#texts.set(text, index)
  }

  /** A call of `propose` begins. */
  attempted(attempt: number): void {
    this.#attempts.set(attempt, { fate: 'open', index: null })
  }

  /** What `propose` said. */
  outcome(attempt: number, fate: Fate, index: number | null): void {
    const known = this.#attempts.get(attempt)
    if (known === undefined) return
    if (known.fate !== 'open') fail('proposal outcome', `attempt ${attempt} ended as ${known.fate}, then as ${fate}`)
    known.fate = fate
    if (fate === 'ok' && index !== null) this.core.acknowledged(index)
    if (fate === 'failed' && known.index !== null)
      fail('proposal outcome', `attempt ${attempt} is called failed, and committed at ${known.index}`)
    if (fate === 'ok' && known.index !== index)
      fail('proposal outcome', `attempt ${attempt} is called committed at ${index}, but is at ${known.index}`)
  }

  /** One state an index, on every node, for good. */
  state(id: string, state: StateStore): void {
    const { applied } = state.meta
    const digest = this.digest(state)
    if (this.#checked.get(id) === applied) return
    this.#checked.set(id, applied)
    const known = this.#states.get(applied)
    if (known === undefined) this.#states.set(applied, digest)
    else if (known !== digest) fail('state digest', `${id} differs at index ${applied}: ${digest}, elsewhere ${known}`)
  }

  /** The whole state at the applied index, small as it is. */
  digest(state: StateStore): string {
    const view = state.view()
    const parts: string[] = []
    for (const key of [...this.#keys.map(keyBytes), new Uint8Array([0x08]), new Uint8Array([0x09])]) {
      const value = view.get(key)
      parts.push(value === undefined ? '-' : Buffer.from(value).toString('latin1'))
    }
    view.release()
    const { applied, appliedTerm, membership, leaderTimeMs } = state.meta
    parts.push(describeMembership(membership), `${applied}/${appliedTerm}`, String(leaderTimeMs))
    return parts.join(' ')
  }
}

/** Votes, asks for votes, leads. */
function hasSay({ type, reject }: Message): boolean {
  if (type === MessageType.voteReply || type === MessageType.preVoteReply) return reject !== true
  return [MessageType.vote, MessageType.preVote, MessageType.append, MessageType.heartbeat, MessageType.timeoutNow].some(
    (each) => each === type,
  )
}

function readCommand(data: Uint8Array): Command {
  return decodeCommand(data, nextFormats)
}

function isNewFormat(data: Uint8Array): boolean {
  try {
    decodeCommand(data, releasedFormats)
    return false
  } catch {
    return true
  }
}

export function describeMembership({ voters, votersOutgoing, learners, learnersNext, autoLeave }: Membership): string {
  return `(${voters.join(' ')})(${votersOutgoing.join(' ')})<${learners.join(' ')}><${learnersNext.join(' ')}>${autoLeave ? 'auto' : ''}`
}

function fail(rule: string, detail: string): never {
  throw new OracleError(`${rule}: ${detail}`)
}

function same(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return a === null || b === null ? a === b : Buffer.compare(a, b) === 0
}
