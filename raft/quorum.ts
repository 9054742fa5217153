/**
 * Majorities, and nothing else: no node, no log, no message.
 *
 * Intuition: a joint configuration is two majorities that must both agree, so every question is asked of each half and the
 * answers are combined (minimum of indexes; all won, any lost). An empty half agrees with everything, which makes the plain
 * configuration the special case in which the outgoing half is empty.
 */
import type { Membership, NodeId } from './types.ts'

export type VoteResult = 'won' | 'lost' | 'pending'

/** The two halves that decide. */
export type Halves = Pick<Membership, 'voters' | 'votersOutgoing'>

/** How many of `count` voters are a majority. */
export function majority(count: number): number {
  return Math.floor(count / 2) + 1
}

/** Highest index that a majority of `voters` has reached; Infinity when there are none (an empty half decides nothing). */
export function committedIndexOf(voters: readonly NodeId[], reached: (id: NodeId) => number): number {
  if (voters.length === 0) return Infinity
  const indexes = voters.map(reached).sort((a, b) => b - a)
  return indexes[majority(voters.length) - 1] ?? 0
}

/**
 * Highest index that both halves have reached by majority. Also used for read rounds: anything that only grows and is
 * acknowledged per node. 0 without any voter, since nobody can have decided.
 */
export function committedIndex(halves: Halves, reached: (id: NodeId) => number): number {
  const index = Math.min(committedIndexOf(halves.voters, reached), committedIndexOf(halves.votersOutgoing, reached))
  return index === Infinity ? 0 : index
}

/** The vote of one half: `undefined` for voters who have not answered. An empty half is won. */
export function voteResultOf(voters: readonly NodeId[], vote: (id: NodeId) => boolean | undefined): VoteResult {
  let granted = 0
  let missing = 0
  for (const id of voters) {
    const answer = vote(id)
    if (answer === true) granted += 1
    else if (answer === undefined) missing += 1
  }
  if (voters.length === 0 || granted >= majority(voters.length)) return 'won'
  return granted + missing >= majority(voters.length) ? 'pending' : 'lost'
}

/** Won only if both halves are won, lost as soon as one is. Without any voter it stays pending: nobody can elect. */
export function voteResult(halves: Halves, vote: (id: NodeId) => boolean | undefined): VoteResult {
  if (halves.voters.length === 0 && halves.votersOutgoing.length === 0) return 'pending'
  const incoming = voteResultOf(halves.voters, vote)
  const outgoing = voteResultOf(halves.votersOutgoing, vote)
  if (incoming === 'lost' || outgoing === 'lost') return 'lost'
  return incoming === 'won' && outgoing === 'won' ? 'won' : 'pending'
}

/** Do those for whom `active` holds make a majority of each half? */
export function hasQuorum(halves: Halves, active: (id: NodeId) => boolean): boolean {
  return voteResult(halves, active) === 'won'
}
