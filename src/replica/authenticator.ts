/**
 * What a node that has the barrier's key can show to others that have it, and nobody else can make. A node's transport identity lies in its data
 * folder: whoever steals one may speak in raft's name, but these statements it can neither make nor change (architecture, decision 2).
 *
 * One key for the cluster's life, and not one a keyring term: a follower would otherwise refuse the first command after a rotation, whose term
 * it learns of only by applying the rotation, which comes in the same message.
 */
import { timingSafeEqual } from 'node:crypto'
import { Packr } from 'msgpackr'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })
const statementVersion = 1
export const macBytes = 32

/** Handed down by the barrier while it is open. */
export interface Authenticator {
  /** HMAC-SHA-256 of `input` under a key that only unsealed nodes have; 32 bytes, owned by the caller. */
  mac(input: Uint8Array): Uint8Array
}

/** Which life of which cluster a statement belongs to: a restored cluster must not believe what was said before. */
export interface Scope {
  readonly clusterId: string
  readonly incarnation: number
}

/** What is stated. Part of what the MAC is over, so that no statement of one kind passes for another. */
export type Statement = 'command' | 'membership' | 'state' | 'read index' | 'staged' | 'unstaged'

type Part = string | number | Uint8Array

/** The MAC of a statement; `parts` in an order that its kind fixes. */
export function macOf(authenticator: Authenticator, statement: Statement, scope: Scope, parts: readonly Part[]): Uint8Array {
  // msgpack is self-delimiting and writes equal values equally: no two statements have one input.
  return authenticator.mac(packr.pack(['holdfast', statementVersion, statement, scope.clusterId, scope.incarnation, ...parts]))
}

/** Is `mac` what the holder of the key says of this? In constant time. */
export function isProven(
  authenticator: Authenticator,
  statement: Statement,
  scope: Scope,
  parts: readonly Part[],
  mac: Uint8Array | null | undefined,
): boolean {
  if (!(mac instanceof Uint8Array) || mac.length !== macBytes) return false
  return timingSafeEqual(macOf(authenticator, statement, scope, parts), mac)
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0
}
