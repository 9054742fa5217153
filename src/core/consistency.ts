/**
 * How fresh a read must be. Linearizable unless the client asks for less *and* the mount's tuning allows it with a maximum age; never for what is
 * counted, needs sudo or has no token, since token and policy are then as old as the data.
 *
 *   X-Holdfast-Consistency: linearizable | bounded;ms=N | stale
 *   X-Vault-Index: the state that a client has seen, as an answer gave it;  X-Vault-Inconsistent: fail | forward-active-node | await-state
 */
import { HoldfastError } from '#base/errors.ts'
import type { Consistency } from '#barrier/types.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { CoreResponse, MountEntry, PathDef } from './types.ts'

const boundedMsMax = 86_400_000
const indexCharsMax = 512

export interface Asked {
  readonly consistency: Consistency
  /** The client has seen this state; what it reads may not be older. */
  readonly seen: Seen | null
  /** Rather fail than wait for a state that this node does not have. */
  readonly failBehind: boolean
}

export interface Seen {
  readonly clusterId: string
  readonly incarnation: number
  readonly index: number
}

/** What a read is allowed to be, and what it turned out to be. */
export interface Freshness {
  /** Since this node last knew itself up to date, ms; 0 for a linearizable read. */
  readonly ageMs: number
  readonly index: number
}

/** Thrown where a read that may be old turns out to need a fresh view. Nothing was recorded or done yet. */
export class NeedsFresher extends Error {}

/** Whether `askedOf` has anything to say. Few ask, and each request is looked at. */
export const asksFreshness = (headers: Readonly<Record<string, string>>): boolean =>
  headers['x-holdfast-consistency'] !== undefined || headers['x-vault-index'] !== undefined || headers['x-vault-inconsistent'] !== undefined

/** What the headers ask; null when they ask nothing. @throws ERR_BAD_REQUEST */
export function askedOf(headers: Readonly<Record<string, string>>): Asked | null {
  const { 'x-holdfast-consistency': wanted, 'x-vault-index': seen, 'x-vault-inconsistent': behind } = headers
  if (wanted === undefined && seen === undefined && behind === undefined) return null
  if (behind !== undefined && !['fail', 'forward-active-node', 'await-state'].includes(behind))
    throw refused('X-Vault-Inconsistent', 'fail, forward-active-node or await-state')
  return {
    consistency: wanted === undefined ? { kind: 'linearizable' } : parseConsistency(wanted),
    seen: seen === undefined ? null : parseSeen(seen),
    failBehind: behind === 'fail',
  }
}

function parseConsistency(text: string): Consistency {
  if (text === 'linearizable' || text === 'stale') return { kind: text }
  const match = /^bounded; ?ms=(\d{1,9})$/.exec(text)
  const ageMsMax = Number(match?.[1])
  if (match === null || ageMsMax < 1 || ageMsMax > boundedMsMax)
    throw refused('X-Holdfast-Consistency', `linearizable, stale, or bounded;ms=N with N from 1 to ${boundedMsMax}`)
  return { kind: 'bounded', ageMsMax }
}

/** The header that tells a client what it has seen, opaque to it. */
export function encodeSeen({ clusterId, incarnation, index }: Seen): string {
  return Buffer.from(`v1:${clusterId}:${incarnation}:${index}`).toString('base64')
}

function parseSeen(text: string): Seen {
  const plain = text.length > indexCharsMax ? '' : Buffer.from(text, 'base64').toString()
  const [, clusterId, incarnation, index] = /^v1:([\w-]{1,128}):(\d{1,15}):(\d{1,15})$/.exec(plain) ?? []
  if (clusterId === undefined) throw refused('X-Vault-Index', 'the value that an answer of this cluster gave')
  return { clusterId, incarnation: Number(incarnation), index: Number(index) }
}

function refused(header: string, expected: string): HoldfastError {
  return new HoldfastError('ERR_BAD_REQUEST', `${header} expected ${expected}, got something else`)
}

/**
 * Whether a view at `at` is good enough for one who has seen `seen`.
 * @throws ERR_PRECONDITION for the state of another cluster, or one that this cluster never had; NeedsFresher when only this node lacks it.
 */
export function checkSeen(asked: Asked, at: Freshness, here: Pick<Seen, 'clusterId' | 'incarnation'>): void {
  const { seen, failBehind } = asked
  if (seen === null) return
  const ours = seen.clusterId === here.clusterId && seen.incarnation === here.incarnation
  if (ours && at.index >= seen.index) return
  if (ours && at.ageMs > 0 && !failBehind) throw new NeedsFresher()
  throw new HoldfastError('ERR_PRECONDITION', 'required index state not present', {
    hint: ours
      ? 'this node is behind what X-Vault-Index names: ask again, or without X-Vault-Inconsistent: fail'
      : 'X-Vault-Index is of another cluster, or of this one before it was restored: forget it',
  })
}

/** @throws NeedsFresher unless a read of this age may be answered. */
export function checkAge(ageMs: number, mount: MountEntry | null, def: PathDef | null, token: TokenEntry | null): void {
  if (ageMs === 0) return
  const ageMsMax = (mount?.config.max_read_age ?? 0) * 1_000
  const counted = token === null || token.numUses > 0
  if (ageMs > ageMsMax || counted || def === null || def.sudo === true || def.unauthenticated === true) throw new NeedsFresher()
}

/** The answer, with what was read: how old it may be, and what the client has now seen. */
export function withFreshness(response: CoreResponse, at: Freshness, seen: Omit<Seen, 'index'>): CoreResponse {
  const age = at.ageMs === 0 ? 'linearizable' : `stale;age_ms=${Math.ceil(at.ageMs)}`
  const headers = { ...response.headers, 'x-holdfast-consistency': age, 'x-vault-index': encodeSeen({ ...seen, index: at.index }) }
  return { ...response, headers }
}
