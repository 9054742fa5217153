/**
 * What a holder of the key says of a whole state: this is the state at this index. With it travel snapshots; and leaders log one now and then, so that a
 * node that is sealed for long need not keep every command until somebody opens it (chain.ts).
 *
 * It names the state by its digest, which whoever receives the state computes for itself (store/state.ts), and by the newest link of the chain, where
 * checking goes on.
 */
import { hash } from 'node:crypto'
import { Packr } from 'msgpackr'
import type { StateMeta } from '#store/types.ts'
import { isProven, macBytes, macOf, sameBytes, type Authenticator, type Scope } from './authenticator.ts'
import { markFrom } from './mark.ts'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })
const version = 1

/** The state that `meta` describes, in few bytes: equal on every node that has applied the same log. */
export function stateStatement(meta: StateMeta): Uint8Array {
  const { applied, appliedTerm, membership, leaderTimeMs, chain, digest } = meta
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = membership
  const rest = packr.pack([voters, votersOutgoing, learners, learnersNext, autoLeave, leaderTimeMs])
  const sums = [digest, rest].map((bytes) => hash('sha256', bytes, 'buffer'))
  return packr.pack([version, applied, appliedTerm, markFrom(chain).tip, ...sums])
}

/** Vouches for a state: for the key's holders alone, and only for a state that they have checked. */
export function proveState(authenticator: Authenticator, scope: Scope, meta: StateMeta): Uint8Array {
  const statement = stateStatement(meta)
  return Buffer.concat([macOf(authenticator, 'state', scope, [statement]), statement])
}

/** Does `proof` speak of the state that `meta` describes? Says nothing of who made it. */
export function speaksOf(proof: Uint8Array, meta: StateMeta): boolean {
  return sameBytes(proof.subarray(macBytes), stateStatement(meta))
}

/** Did a holder of the key make it? */
export function isStateProof(proof: Uint8Array, authenticator: Authenticator, scope: Scope): boolean {
  return isProven(authenticator, 'state', scope, [proof.slice(macBytes)], proof.slice(0, macBytes))
}
