/**
 * How fast a peer's messages may raise this node's term. Pre-vote keeps honest nodes from doing so, but nobody makes a thief ask first: a request for a
 * vote in any term is followed. Without a bound, one message would bring a cluster to the end of all terms, from which there is no way back.
 *
 * An allowance that fills up with time: a node that slept through thousands of elections takes them in one step, or after a while; whoever wants
 * to waste terms wastes a few a second, for which 2^53 of them last ten million years. Elections of our own are not counted: they take their time anyway.
 */

/** What a node accepts at once, when it has not for long: a year of an election every minute is half a million. */
const allowanceMax = 1_000_000
/** An honest cluster can't elect faster than this: each election takes a timeout of at least several ticks. */
const allowancePerTick = 1

export class TermGuard {
  #allowance = allowanceMax

  tick(): void {
    this.#allowance = Math.min(allowanceMax, this.#allowance + allowancePerTick)
  }

  /** May a message of `term` be looked at by a node in term `own`? */
  admits(term: number, own: number): boolean {
    return term <= own + this.#allowance
  }

  /** A message raised the term by so much. */
  charge(terms: number): void {
    this.#allowance = Math.max(0, this.#allowance - Math.max(0, terms))
  }
}
