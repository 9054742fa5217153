import type { Prng } from '#test/sim/prng.ts'
import type { Arena } from '../arena.ts'
import type { Machine } from '../machine.ts'

export interface Injected {
  /** Whom it hit, for the log. */
  readonly on: string
  /** Ends it, as far as calming the network and starting what is down does not. */
  heal(): Promise<void>
}

export interface FaultKind {
  readonly name: string
  /** How long it lasts, in ms: at least and at most. */
  readonly holdMs: readonly [number, number]
  /** Why it can't be made on this machine; null where it can. */
  unavailable(machine: Machine): string | null
  inject(arena: Arena, dice: Prng): Promise<Injected>
}

export const anywhere = (): null => null
export const nothing = (): Promise<void> => Promise.resolve()
