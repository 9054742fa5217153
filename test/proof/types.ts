import type { LocalCluster, LocalClusterOptions } from '#cmd/dev/local-cluster.ts'
import type { openLogStore } from '#store/log.ts'
import type { openStateStore } from '#store/state.ts'
import type { Prng } from '#test/sim/prng.ts'

/** The production code as it was at the commit that the experiment runs on. */
export interface Subject {
  /** A prepared cluster below `dir`; nothing is started. */
  cluster(dir: string, options: Pick<LocalClusterOptions, 'nodes'> & Partial<LocalClusterOptions>): Promise<LocalCluster>
  readonly openLogStore: typeof openLogStore
  readonly openStateStore: typeof openStateStore
}

export interface Bench {
  readonly subject: Subject
  /** The experiment's own folder; removed at the end. */
  readonly dir: string
  readonly say: (line: string) => void
}

/** A long experiment: so many rounds, each of which leaves a plain record, so that what was interrupted goes on where it stopped. */
export interface Proof<Round> {
  readonly name: string
  /** What is shown, as issue and reader would say it. */
  readonly claim: string
  readonly rounds: number
  /** Makes what the rounds need. Called once a run, on resumption, too. */
  prepare(bench: Bench): Promise<Rig<Round>>
  /** From all rounds; `clean` decides about the exit code. */
  conclude(rounds: readonly Round[]): { readonly figures: object; readonly clean: boolean }
}

export interface Rig<Round> {
  /** `dice` depends on seed and number only. @throws when the round could not be carried out: that is no verdict. */
  round(number: number, dice: Prng): Promise<Round>
  stop(): Promise<void>
}
