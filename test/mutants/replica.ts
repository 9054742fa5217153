/** Seeded bugs in the driver and around it. */
import type { Mutant } from './types.ts'

export const replicaMutants: readonly Mutant[] = []
