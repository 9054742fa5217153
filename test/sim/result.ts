/** What one seed of a simulator gives, and what the command line needs to know of a simulator. */

export interface Result {
  readonly seed: number
  /** Null when the seed is clean. */
  readonly failure: string | null
  /** What was injected and what came of it, by kind. */
  readonly faults: Readonly<Record<string, number>>
  /** What clients asked for. */
  readonly operations: number
  readonly traceHash: string
  /** Ticks that recovery took. */
  readonly recoveryTicks: number
  /** The clients' history as an HTML page: where it is what failed, or a trace was asked for. */
  readonly picture: string | null
}

/** Names of counters that belong to one row of the fault table. */
export type FaultRows = Readonly<Record<string, readonly string[]>>

export interface Simulator {
  /** Its program, as the command that replays a seed names it. */
  readonly program: string
  /** Ticks of a seed where none are asked for. */
  readonly ticks: number
  /** Every counter must move in a long run: a kind of fault that never happens protects nobody. */
  readonly rows: FaultRows
  /** Never throws for what the oracles find. `trace` takes every line of what happened. */
  readonly runSeed: (seed: number, ticks: number, trace?: (line: string) => void) => Result | Promise<Result>
}
