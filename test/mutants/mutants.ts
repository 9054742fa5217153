/** The whole set. Each listed failure that can happen in this code base has at least one mutant; `notHere` says why the others have none. */
import { coreMutants } from './core.ts'
import { electionMutants } from './elections.ts'
import { leaseMutants } from './leases.ts'
import { levelMutants } from './levels.ts'
import { onceMutants } from './once.ts'
import { replicaMutants } from './replica.ts'
import { storeMutants } from './store.ts'
import { unprovenMutants } from './unproven.ts'
import type { Mutant } from './types.ts'

export const mutants: readonly Mutant[] = [
  ...electionMutants,
  ...coreMutants,
  ...replicaMutants,
  ...storeMutants,
  ...leaseMutants,
  ...levelMutants,
  ...unprovenMutants,
  ...onceMutants,
]

/** How many failures the list has. */
export const failuresCount = 34

/** Failures without a mutant, with the reason. */
export const notHere: Readonly<Record<number, string>> = {}
