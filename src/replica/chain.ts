/**
 * The chain of commands: each names the one before, under a key that only unsealed nodes have (authenticator.ts). This is who signs, and who checks.
 *
 * A leader signs what it appends. An unsealed node looks twice: before an entry gets into its log (`admit`: did a holder of the key make it, for this
 * index and term?), and before it applies one (`follow`: does it also continue what is applied?). The first look is not needed for what is applied, but
 * memberships count from the moment that they stand in a log, and an entry that can never be applied must not come to be committed by honest nodes.
 *
 * A sealed node can't look. It applies what is committed, notes from where on it is unchecked (mark.ts), and keeps the log from there; when it is opened
 * it checks before it serves. So that its log does not grow for as long as it is sealed, leaders log a proof of their state at certain
 * indexes (proofs.ts): a node that had the very same state at that index keeps the proof in place of the log before, to be checked when it opens.
 *
 * Rejected: a chain of unkeyed hashes with a signature now and then. Whoever leads could have a node apply anything until the next signature is due.
 */
import { HoldfastError } from '#base/errors.ts'
import type { Entry, MembershipChange } from '#raft/types.ts'
import type { LogStore, StateMeta, StateStore } from '#store/types.ts'
import { isProven, macBytes, macOf, sameBytes, type Authenticator, type Scope } from './authenticator.ts'
import { signedParts, writeMacs } from './command.ts'
import { signedChange, withMacs } from './entries.ts'
import { isGenuine, linkOf, origin, signLink, type Link } from './links.ts'
import { encodeMark, markFrom, type Base, type Mark } from './mark.ts'
import { isStateProof, proveState, speaksOf, stateStatement } from './proofs.ts'

/** States of its own that a node remembers for the proofs that may come; each is a few hundred bytes. */
const statesMax = 4
const pageBytes = 1024 * 1024

export interface ChainOptions {
  readonly log: LogStore
  readonly state: StateStore
  readonly scope: () => Scope
}

interface RememberedState {
  readonly statement: Uint8Array
  readonly base: Omit<Base, 'proof'>
}

export class CommandChain {
  readonly #options: ChainOptions
  #authenticator: Authenticator | null = null
  /** Entries that were looked at on their way in: the log hands out the same objects for as long as it holds them in memory. */
  readonly #genuine = new WeakSet<Entry>()
  /** The newest link that this node appended in the term that it leads. */
  #head: { readonly term: number; readonly mac: Uint8Array } | null = null
  /** The `chain` of a meta record whose unchecked part was found right. */
  #checked: Uint8Array | null = null
  #remembered: RememberedState[] = []
  /** The life of the cluster that a genuine order to restore begins, while this node can't carry it out itself. */
  #awaited: number | null = null

  constructor(options: ChainOptions) {
    this.#options = options
  }

  get authenticator(): Authenticator | null {
    return this.#authenticator
  }

  /**
   * The barrier was opened: checks what was applied while it was not. Without a change when it throws.
   * @throws ERR_UNPROVEN
   */
  open(authenticator: Authenticator): void {
    const { meta } = this.#options.state
    if (this.#authenticator !== null) return void (this.#authenticator = authenticator)
    this.#check(meta, authenticator)
    this.#authenticator = authenticator
  }

  /** The barrier was sealed. */
  seal(): void {
    this.#authenticator = null
  }

  /** Up to here the log is not needed for checking any more. */
  get checkedIndex(): number {
    return markFrom(this.#options.state.meta.chain).base?.index ?? Infinity
  }

  // The leader's part. It appends nothing before all that it inherited is applied, so what is applied, or its own, is what comes before.

  /** Signs `data`, a command on its way to `place`, in place. The MAC returned is to be handed to `appended`. */
  signCommand(data: Uint8Array, place: { readonly index: number; readonly term: number }, begins: boolean): Uint8Array {
    const prev = begins ? origin : this.#before(place.term)
    const mac = this.#sign(place, { prev, statement: 'command', parts: signedParts(data) ?? [] })
    writeMacs(data, mac, prev)
    return mac
  }

  signChange(
    change: MembershipChange,
    place: { readonly index: number; readonly term: number },
  ): { readonly change: MembershipChange; readonly mac: Uint8Array } {
    const prev = this.#before(place.term)
    const mac = this.#sign(place, { prev, statement: 'membership', parts: signedChange(change) })
    return { change: withMacs(change, mac, prev), mac }
  }

  appended(term: number, mac: Uint8Array): void {
    this.#head = { term, mac }
  }

  #sign(
    place: { readonly index: number; readonly term: number },
    link: Pick<Link, 'prev' | 'statement'> & { parts: Uint8Array[] },
  ): Uint8Array {
    const authenticator = this.#authenticator
    if (authenticator === null) throw new HoldfastError('ERR_SEALED', 'this node is sealed: it adds nothing to the log')
    return signLink(authenticator, this.#options.scope(), place, link)
  }

  #before(term: number): Uint8Array {
    if (this.#head?.term === term) return this.#head.mac
    const { tip } = markFrom(this.#options.state.meta.chain)
    return tip.length === 0 ? origin : tip
  }

  // Everybody's part.

  /**
   * May these entries get into the log? Nothing is known of what comes before them.
   * @throws ERR_PEER_REFUSED on an unsealed node, for one that no holder of the key made for its place
   */
  admit(from: string, entries: readonly Entry[]): void {
    const authenticator = this.#authenticator
    if (authenticator === null) return
    const scope = this.#options.scope()
    for (const entry of entries) {
      const link = linkOf(entry)
      if (link === null) continue
      if (!isGenuine(link, entry, authenticator, scope)) {
        throw new HoldfastError(
          'ERR_PEER_REFUSED',
          `entry ${entry.index}: expected one that an unsealed leader made, got another from '${from}'`,
          {
            hint: `if '${from}' is not a node that is being upgraded or repaired, somebody has its identity: remove it from the cluster`,
          },
        )
      }
      this.#genuine.add(entry)
    }
  }

  /** The `chain` of the state after `entries`. @throws ERR_UNPROVEN on an unsealed node, for entries that do not continue the chain: they must not be applied. */
  follow(entries: readonly Entry[], meta: StateMeta): Uint8Array {
    const authenticator = this.#authenticator
    const mark = markFrom(meta.chain)
    if (authenticator === null) return encodeMark(this.#noted(entries, mark, meta))
    // A round that was under way when the barrier was opened.
    this.#check(meta, authenticator)
    return this.#walk(entries, mark.tip, authenticator)
  }

  /** Nothing unchecked is shown by an unsealed node. @throws ERR_UNPROVEN */
  expectChecked(meta: StateMeta): void {
    if (this.#authenticator !== null) this.#check(meta, this.#authenticator)
  }

  /** Checks that `entries` continue from `tip`; returns the newest link. */
  #walk(entries: readonly Entry[], tip: Uint8Array, authenticator: Authenticator): Uint8Array {
    const scope = this.#options.scope()
    let last = tip
    for (const entry of entries) {
      const link = linkOf(entry)
      if (link === null) continue
      const continues = sameBytes(link.prev, last.length === 0 ? origin : last) || begins(link)
      if (!continues) throw unprovenState(`entry ${entry.index}: expected it to continue the chain of commands, got one that does not`)
      if (!this.#genuine.has(entry) && !isGenuine(link, entry, authenticator, scope))
        throw unprovenState(`entry ${entry.index}: expected one that an unsealed leader made, got another`)
      last = link.mac
    }
    return last
  }

  /** What a sealed node notes: what it applied, and from where on it could not check. */
  #noted(entries: readonly Entry[], mark: Mark, meta: StateMeta): Mark {
    let { tip, base } = mark
    for (const entry of entries) {
      const link = linkOf(entry)
      if (link === null) continue
      base ??= { index: meta.applied, tip: mark.tip, proof: null }
      tip = link.mac
    }
    return { tip, base }
  }

  // Proofs of whole states.

  /** This node has applied up to an index at which leaders may log a proof. */
  remember(meta: StateMeta): void {
    const base = { index: meta.applied, tip: Uint8Array.from(markFrom(meta.chain).tip) }
    this.#remembered = [...this.#remembered, { statement: stateStatement(meta), base }].slice(-statesMax)
  }

  /** A proof of `meta`, or null where this node can't vouch for it. */
  prove(meta: StateMeta): Uint8Array | null {
    const authenticator = this.#authenticator
    const { base } = markFrom(meta.chain)
    if (authenticator !== null) {
      if (base !== null && this.#checked !== meta.chain) return null
      return proveState(authenticator, this.#options.scope(), meta)
    }
    // Sealed: what another said of this very state, if nothing was applied since.
    const proof = base?.index === meta.applied ? base.proof : null
    return proof !== null && speaksOf(proof, meta) ? proof : null
  }

  /** A proof came by in a command: does it allow `chain` to begin later? */
  rebased(chain: Uint8Array, proof: Uint8Array): Uint8Array {
    const mark = markFrom(chain)
    if (mark.base === null) return chain
    const { base } = mark
    const state = this.#remembered.find(({ statement }) => sameBytes(statement, proof.subarray(macBytes)))
    if (state === undefined || state.base.index <= base.index) return chain
    return encodeMark({ tip: mark.tip, base: { ...state.base, proof } })
  }

  /**
   * The meta record of a snapshot that a peer sent with `proof`, as this node may keep it.
   * @throws ERR_PEER_REFUSED when the proof speaks of another state, there is none, or (on an unsealed node) it does not hold.
   */
  received(from: string, meta: StateMeta, proof: Uint8Array | null, incarnation?: number): StateMeta {
    const holds = this.expectProof(from, proof, incarnation)
    if (proof === null || !speaksOf(proof, meta)) throw refusedSnapshot(from, 'expected the state that its proof speaks of, got another')
    const { tip } = markFrom(meta.chain)
    if (holds) return { ...meta, chain: tip }
    return { ...meta, chain: encodeMark({ tip, base: { index: meta.applied, tip, proof } }) }
  }

  /**
   * Before a snapshot's body is read. A sealed node can't tell whether a proof holds, and finds out when it is opened. Without any it would put a state that
   * nobody could ever check in the place of one that it can check itself, and could never be opened again if the sender is lost.
   * Of a later life of the cluster too: whoever was away while a snapshot was restored is brought there.
   * @returns whether it was found to hold; false: that is to be checked, under the keys that come with the state (`expectChecked`)
   * @throws ERR_PEER_REFUSED
   */
  expectProof(from: string, proof: Uint8Array | null, incarnation?: number): boolean {
    const authenticator = this.#authenticator
    if (authenticator === null && proof !== null) return false
    const scope = this.#options.scope()
    const life = Math.max(scope.incarnation, incarnation ?? 0)
    if (authenticator !== null && proof !== null && isStateProof(proof, authenticator, { ...scope, incarnation: life })) return true
    // An order that this node has checked says that the state is another's from here on, and its keys perhaps too.
    if (proof !== null && this.#awaited !== null && this.#awaited === incarnation) return false
    if (life > scope.incarnation)
      throw refusedSnapshot(from, 'expected a state under the keys that this node has, got one of a later incarnation of the cluster', {
        hint: 'if a snapshot of other keys was restored while this node was away: seal it, or restart it, so that it takes over the state; then unseal it',
      })
    throw refusedSnapshot(from, 'expected a proof of an unsealed node that has checked it, got none that holds')
  }

  /** Until a state of this life of the cluster is here, its proof is checked only then. Null: no more. */
  awaitRestored(incarnation: number | null): void {
    this.#awaited = incarnation
  }

  /** The MAC of what is staged: by it an unsealed node knows that an unsealed leader asks for it. Null on a sealed one. */
  signStaged(id: string, digest: Uint8Array): Uint8Array | null {
    const authenticator = this.#authenticator
    return authenticator === null ? null : macOf(authenticator, 'staged', this.#options.scope(), [id, digest])
  }

  /** A sealed node can't tell, and is called upon only once it has been opened. */
  isStagedByLeader(id: string, digest: Uint8Array, proof: Uint8Array | null): boolean {
    const authenticator = this.#authenticator
    return authenticator === null || isProven(authenticator, 'staged', this.#options.scope(), [id, digest], proof)
  }

  /** The MAC of a leader's word that what is staged as `id` will never be called for. Null on a sealed one. */
  signUnstaged(id: string): Uint8Array | null {
    const authenticator = this.#authenticator
    return authenticator === null ? null : macOf(authenticator, 'unstaged', this.#options.scope(), [id])
  }

  /** A sealed node can't tell, and keeps what it has. */
  isUnstagedByLeader(id: string, proof: Uint8Array): boolean {
    const authenticator = this.#authenticator
    return authenticator !== null && isProven(authenticator, 'unstaged', this.#options.scope(), [id], proof)
  }

  // Checking what was taken while sealed.

  /** @throws ERR_UNPROVEN */
  #check(meta: StateMeta, authenticator: Authenticator): void {
    const { tip, base } = markFrom(meta.chain)
    if (base === null || this.#checked === meta.chain) return
    const { proof } = base
    if (proof !== null && !isStateProof(proof, authenticator, this.#options.scope())) {
      throw unprovenState(`state: expected what an unsealed node vouched for at index ${base.index}, got something else`)
    }
    const entries = this.#since(base.index, meta.applied)
    // With the first command of an initialisation everything begins anew: what one before it left behind was under a key that nobody has.
    const scope = this.#options.scope()
    const first = entries.findLastIndex((entry) => {
      const link = linkOf(entry)
      return link !== null && begins(link) && isGenuine(link, entry, authenticator, scope)
    })
    const reached = first < 0 ? this.#walk(entries, base.tip, authenticator) : this.#walk(entries.slice(first), origin, authenticator)
    if (!sameBytes(reached, tip)) throw unprovenState('state: expected the commands that its log holds, got others')
    this.#checked = meta.chain
  }

  /** Entries in (base, applied]. @throws ERR_UNPROVEN when they are not there. */
  #since(base: number, applied: number): Entry[] {
    const { log } = this.#options
    const found: Entry[] = []
    while (base + found.length < applied) {
      const page = log.entries(base + found.length + 1, applied + 1, pageBytes) ?? []
      if (page.length === 0) {
        throw unprovenState(`state: expected the log since index ${base}, from where on nothing is checked, got none`)
      }
      for (const entry of page) found.push(entry)
    }
    return found
  }
}

function begins(link: Link): boolean {
  return link.statement === 'command' && sameBytes(link.prev, origin)
}

function unprovenState(message: string): HoldfastError {
  return new HoldfastError('ERR_UNPROVEN', message, {
    hint: 'somebody without the key has led the cluster or changed this node: keep its folder for inspection, remove the node, and let it join again under a new id',
  })
}

function refusedSnapshot(from: string, message: string, { hint }: { readonly hint?: string } = {}): HoldfastError {
  return new HoldfastError('ERR_PEER_REFUSED', `snapshot of '${from}': ${message}`, {
    hint: hint ?? 'a sealed leader can vouch for nothing: unseal a node that is further ahead',
  })
}
