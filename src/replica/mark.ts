/**
 * Where the chain of commands stands in a state, as it lies in the state's meta record (`chain`): the newest link that was applied, and, on a node that
 * applied some while it was sealed, from where on they are still to be checked. Alone the newest link means that all is checked.
 *
 * It is a node's word to itself. What a snapshot brings of its sender's is replaced when it is received.
 */
import { Packr } from 'msgpackr'
import { HoldfastError } from '#base/errors.ts'
import { macBytes } from './authenticator.ts'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })
const version = 1

/** The state at `index` is to be believed: because this node checked it, or (`proof`) if a holder of the key says so when it is asked. */
export interface Base {
  readonly index: number
  /** The newest link up to there. */
  readonly tip: Uint8Array
  readonly proof: Uint8Array | null
}

export interface Mark {
  /** MAC of the newest link applied; empty before the first. */
  readonly tip: Uint8Array
  /** Null: everything applied was checked. */
  readonly base: Base | null
}

export function encodeMark({ tip, base }: Mark): Uint8Array {
  return base === null ? tip : packr.pack([version, tip, base.index, base.tip, base.proof])
}

/** @throws ERR_STORE_CORRUPT */
export function markFrom(chain: Uint8Array): Mark {
  if (chain.length === 0 || chain.length === macBytes) return { tip: chain, base: null }
  const record = unpack(chain)
  const [found, tip, index, baseTip, proof] = Array.isArray(record) ? (record as unknown[]) : []
  if (found !== version || !(tip instanceof Uint8Array) || typeof index !== 'number' || !(baseTip instanceof Uint8Array)) {
    throw new HoldfastError('ERR_STORE_CORRUPT', 'state: expected to be told how far its commands are checked, got something else')
  }
  return { tip, base: { index, tip: baseTip, proof: proof instanceof Uint8Array ? proof : null } }
}

function unpack(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes)
  } catch {
    return null
  }
}
