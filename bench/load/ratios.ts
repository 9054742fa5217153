/** One side against another: both measured in turns, so that a slow minute of the machine meets both, and the ratio of each turn's pair. */

export interface Spread {
  readonly median: number
  readonly lowest: number
  readonly highest: number
}

/** @throws Error for an empty list: a median of nothing is no figure. */
export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new Error('expected at least one value, got none')
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median, lowest: sorted[0]!, highest: sorted.at(-1)! }
}

/**
 * A's figure over B's, turn by turn. Each turn of A is held against the mean of the B before it and the B after it (A1 B1 A2 B2 ...: A2 against
 * B1 and B2): against its one neighbour, a machine that grows steadily slower would flatter whoever comes first.
 * @throws Error unless there are as many of one as of the other, all above zero.
 */
export function ratiosOf(a: readonly number[], b: readonly number[]): Spread {
  if (a.length !== b.length) throw new Error(`expected as many turns of one side as of the other, got ${a.length} and ${b.length}`)
  if ([...a, ...b].some((value) => !(value > 0))) throw new Error('expected figures above zero on both sides, got none in one turn')
  return spreadOf(a.map((value, i) => value / ((b[i]! + (b[i - 1] ?? b[i]!)) / 2)))
}
