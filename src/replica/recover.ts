/** Brings log and state into agreement before consensus starts: after a crash each is right by itself, but one may be ahead. */
import { HoldfastError } from '#base/errors.ts'
import { firstLevel } from '#base/formats.ts'
import type { LogReader, Membership, SnapshotMeta } from '#raft/types.ts'
import { emptyMembership } from '#raft/index.ts'
import type { LogStore, StateStore } from '#store/types.ts'
import { directoryOp, emptyDirectory, levelOp, updateDirectory } from './directory.ts'
import { namesOthers, type Kept } from './keepsake.ts'
import type { Member } from './types.ts'

/**
 * Makes `self` the only voter of a new cluster, which begins at `level`. The first state is a snapshot at index 1 and not an entry: the log then begins behind it, and whoever
 * joins is brought there by a snapshot that carries the membership, which no entry of the log could tell him.
 */
export async function bootstrap(
  log: LogStore,
  state: StateStore,
  self: Member,
  incarnation: number,
  level: number = firstLevel,
): Promise<void> {
  if (state.meta.applied > 0 || log.lastIndex() > 0 || log.hardState.term > 0) return
  const directory = updateDirectory({ ...emptyDirectory, incarnation, level }, { put: { ...self, voter: true } })
  const meta = { ...state.meta, applied: 1, appliedTerm: 1, membership: { ...emptyMembership, voters: [self.id] }, leaderTimeMs: 0 }
  await state.apply([directoryOp(directory), levelOp(level)], meta)
  await state.sync()
}

/**
 * A crash between the installation of a snapshot (or the bootstrap) and the reset of the log leaves a state that is ahead of the log, or a log that
 * contradicts it: what the state holds is committed, so the log begins anew behind it. A state that is damaged, or older than the log reaches back, is
 * fetched from the other members, if `kept` names some.
 * @throws ERR_STORE_CORRUPT when it can't be.
 */
export async function reconcile(log: LogStore, state: StateStore, kept: Kept | null, nodeId: string): Promise<Beginning> {
  const { applied, appliedTerm, membership } = state.meta
  const damage = state.damage ?? (applied < log.firstIndex() - 1 ? olderThanLog(log.firstIndex() - 1, applied) : null)
  if (damage !== null) return beginWithoutState(log, state, kept, nodeId, damage)
  const beginning = { applied, membership, damage: null }
  const { hardState } = log
  // No vote was ever cast in a term that is not in the hard state, so raising it forgets none.
  if (hardState.term < appliedTerm) await log.append({ term: appliedTerm, vote: null, commit: hardState.commit }, [])
  if (applied <= log.lastIndex() && log.term(applied) === appliedTerm) return beginning
  await state.sync()
  await log.reset(snapshotMeta(state))
  return beginning
}

/** Where the core begins. */
export interface Beginning {
  readonly applied: number
  readonly membership: Membership
  /** Why the state must be fetched first; the core then begins where the log does. */
  readonly damage: HoldfastError | null
}

/**
 * The log is sound: this node goes on voting and acknowledging by it, and applies nothing. What its log begins behind is committed, and so is what `kept`
 * speaks of; a change of members behind that stands in the log.
 */
async function beginWithoutState(
  log: LogStore,
  state: StateStore,
  kept: Kept | null,
  nodeId: string,
  damage: HoldfastError,
): Promise<Beginning> {
  const applied = Math.max(log.firstIndex() - 1, kept?.index ?? 0)
  if (kept === null || !namesOthers(kept, nodeId) || applied > log.lastIndex() || log.hardState.term === 0) throw damage
  await state.condemn(damage)
  return { applied, membership: kept.membership, damage }
}

function olderThanLog(expected: number, applied: number): HoldfastError {
  return new HoldfastError('ERR_STORE_CORRUPT', `state: expected to be applied up to ${expected} at least, got ${applied}`, {
    hint: 'the state lost what the log had handed over to it: keep the folder, and let a node with a new id join in its place',
  })
}

export function snapshotMeta(state: StateStore): SnapshotMeta {
  const { applied, appliedTerm, membership } = state.meta
  return { index: applied, term: appliedTerm, membership }
}

/** The log as the core reads it; the newest snapshot that can be streamed is the state itself. */
export function logReader(log: LogStore, state: StateStore): LogReader {
  return {
    firstIndex: () => log.firstIndex(),
    lastIndex: () => log.lastIndex(),
    term: (index) => log.term(index),
    entries: (lo, hi, bytesMax) => log.entries(lo, hi, bytesMax),
    // Of index 0: nothing can be sent.
    snapshot: () => (state.damage === null ? snapshotMeta(state) : { index: 0, term: 0, membership: emptyMembership }),
  }
}
