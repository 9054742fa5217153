/** Seeded bugs in the log and the state on disk. */
import type { Mutant } from './types.ts'

export const storeMutants: readonly Mutant[] = []
