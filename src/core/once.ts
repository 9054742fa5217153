/**
 * A retried write is applied once: what a request did, and its answer, lie beside what it wrote, in the same commit. Section 'sys/once':
 *
 *   client/HASH         by the client's own id (X-Holdfast-Request-Id) and token; kept for `keptMs` by the leader's clock
 *   due/MINUTE/HASH     of those, by the minute in which they may go
 *   node/NODE/SLOT      of requests that another node forwarded in this life of the cluster, by its slots (slots.ts); overwritten by the slot's next request
 *
 * Whoever evaluates a request reads its record in the request's own transaction. So of two that run at the same time one meets a conflict, is
 * evaluated again, and finds what the other did; and a record is there exactly if the write is, on every leader.
 */
import { createHash } from 'node:crypto'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { ReadView, Section, Transaction } from '#barrier/types.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { errorBody, errorHeaders } from './errors.ts'
import { judge, type SlotMark, type Ticket } from './slots.ts'
import { parseStored } from './storage.ts'
import type { CoreResponse, Operation, Request } from './types.ts'

export const onceSection: Section = { namespace: 'root', mount: 'sys/once' }

export const onceLimits = {
  /** How long a client's id is remembered, at least. */
  keptMs: 600_000,
  /** New ids a minute that are remembered. With `keptMs` this bounds the table. */
  idsPerMinuteMax: 60_000,
  /** A longer answer is not kept: a repetition is told that the request was carried out, and no more. */
  answerBytesMax: 64 * 1024,
  /** Requests that a node may have under way at the leader. */
  slotsPerNodeMax: 1_024,
} as const

const minuteMs = 60_000
const formatVersion = 1

/** What is kept of a request that was carried out. */
export interface Kept {
  readonly version: number
  readonly timeMs: number
  /** The id under which the audit has the request that was carried out. */
  readonly requestId: string
  readonly fingerprint: string
  /** As it was decided then: a repetition finds that what it creates exists. */
  readonly operation: Operation
  /** The caller's token as it was, where the request itself has ended it (its last use, its own revocation): who repeats it has no other. */
  readonly endedToken: TokenEntry | null
  /** null: carried out by the node that took it, for a client's id. */
  readonly sender: { readonly node: string; readonly mark: SlotMark } | null
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** False where only that it was carried out is known: the answer was too long, or the effect lies outside of the state. */
  readonly hasAnswer: boolean
}

/** Where a request's record lies, and what it must agree with. Made once a request. */
export interface OnceKey {
  readonly path: string
  readonly fingerprint: string
  readonly byClient: boolean
  readonly sender: { readonly node: string; readonly ticket: Ticket } | null
  /** An earlier sending may still be on its way. */
  readonly repeated: boolean
  /** The request's id where what was begun under it was surely not done (a leader that handed over instead); else null. */
  readonly undoneId: string | null
  /** Counted among the ids of its minute already. */
  counted: boolean
}

export type Found =
  /** Not carried out yet. */
  | { readonly kind: 'first' }
  /** `sameSending`: this very request, sent once more by the node that took it; else the client's repetition. */
  | { readonly kind: 'again'; readonly kept: Kept; readonly answer: CoreResponse | null; readonly sameSending: boolean }
  /** Another request was carried out under the client's id. */
  | { readonly kind: 'reused' }
  | { readonly kind: 'superseded' }

/** What goes into a record beside what the key says. */
export interface Done {
  readonly requestId: string
  readonly operation: Operation
  readonly endedToken: TokenEntry | null
  /** null: begun, outside of the state. */
  readonly answer: CoreResponse | null
}

/**
 * The key of a request that asks for it: with a client's id, or a ticket. null for all others. `tokenHash` is the hash of its token,
 * null for what can't be a token.
 */
export function onceKeyOf(request: Request, nodeId: string, tokenHash: string | null, incarnation: number = 1): OnceKey | null {
  const { retryId, ticket, repeated = false } = request
  const undoneId = request.undone === true ? request.id : null
  if (retryId === undefined && ticket === undefined) return null
  const node = request.forwardedFrom ?? nodeId
  const sender = ticket === undefined ? null : { node, ticket }
  if (retryId === undefined) {
    // A sending node sends nothing else under its ticket: nothing to compare.
    return {
      path: `node/${nodeName(node, incarnation)}/${ticket!.slot}`,
      fingerprint: '',
      byClient: false,
      sender,
      repeated,
      undoneId,
      counted: false,
    }
  }
  const hash = createHash('sha256')
    .update(JSON.stringify([tokenHash, retryId]))
    .digest('base64url')
  return { path: `client/${hash}`, fingerprint: fingerprintOf(request), byClient: true, sender, repeated, undoneId, counted: false }
}

/**
 * A node's id as a folder of the table. After a restore it is another one: what the snapshot has there may be of a namesake in another cluster, whose runs
 * say nothing of this node's.
 */
export const nodeName = (node: string, incarnation: number = 1): string =>
  Buffer.from(incarnation > 1 ? `${node}\0${incarnation}` : node).toString('base64url')

/** What makes two requests the same: all that the core is asked, but not by whom (that is in the key), nor from where. */
function fingerprintOf({ operation, namespace, path, query, wrapTtlSeconds, body, rawBody }: Request): string {
  const queries = Object.keys(query)
    .toSorted()
    .map((name) => [name, query[name]])
  const hash = createHash('sha256').update(JSON.stringify([operation, namespace, path, queries, wrapTtlSeconds]))
  return hash
    .update('\0')
    .update(rawBody ?? JSON.stringify(body))
    .digest('base64url')
}

/** Finds and writes records. Keeps nothing but the count of this minute's ids. */
export class Once {
  readonly #idsPerMinuteMax: number
  /** Ids of the newest minute that this node has counted. A leader that takes over in a minute begins at zero: that much more may be kept then. */
  #minute = 0
  #ids = 0
  readonly #incarnation: () => number

  constructor(idsPerMinuteMax: number = onceLimits.idsPerMinuteMax, incarnation: () => number = () => 1) {
    this.#idsPerMinuteMax = idsPerMinuteMax
    this.#incarnation = incarnation
  }

  /**
   * What was done of the request. Read in its own transaction: only then does a conflict show that it has changed meanwhile.
   */
  async find(view: ReadView, key: OnceKey): Promise<Found> {
    // Asked before a restore: it may have been done, and is gone with what it did. Done again (a sending that comes late), it would be done twice.
    if (key.sender !== null && (key.sender.ticket.incarnation ?? 1) !== this.#incarnation()) return { kind: 'superseded' }
    const stored = await view.get(onceSection, key.path)
    if (stored === null) return { kind: 'first' }
    const { kept, answer } = decodeKept(stored)
    if (key.undoneId !== null && !kept.hasAnswer && kept.requestId === key.undoneId) return { kind: 'first' }
    const ticket = key.sender?.ticket
    const sameSender = kept.sender !== null && key.sender !== null && kept.sender.node === key.sender.node
    const verdict = ticket !== undefined && kept.sender !== null ? judge(kept.sender.mark, ticket) : 'first'
    const sameSending = sameSender && verdict === 'again'
    if (key.byClient) {
      if (kept.fingerprint !== key.fingerprint) return { kind: 'reused' }
      return { kind: 'again', kept, answer, sameSending }
    }
    if (verdict === 'superseded') return { kind: 'superseded' }
    if (verdict === 'first') return { kind: 'first' }
    return { kind: 'again', kept, answer, sameSending }
  }

  /** Before anything is done. @throws ERR_BUSY when it comes by a client's id, and no more ids can be remembered in this minute. */
  checkRoom(nowMs: number, { byClient }: OnceKey): void {
    if (!byClient || Math.floor(nowMs / minuteMs) > this.#minute || this.#ids < this.#idsPerMinuteMax) return
    throw new HoldfastError('ERR_BUSY', `the table of request ids is full: expected at most ${this.#idsPerMinuteMax} new ones a minute`, {
      hint: 'nothing was done: send it again in a minute, or without X-Holdfast-Request-Id',
    })
  }

  /** Writes the record of a request that was found to be a first one. */
  put(transaction: Transaction, key: OnceKey, done: Done): void {
    const { sender } = key
    const tooLong = done.answer !== null && done.answer.body.length > onceLimits.answerBytesMax
    const answer = tooLong ? null : done.answer
    const kept: Kept = {
      version: formatVersion,
      timeMs: transaction.nowMs,
      requestId: done.requestId,
      fingerprint: key.fingerprint,
      operation: done.operation,
      endedToken: done.endedToken,
      sender: sender === null ? null : { node: sender.node, mark: { boot: sender.ticket.boot, serial: sender.ticket.serial } },
      status: answer?.status ?? 0,
      headers: answer?.headers ?? {},
      hasAnswer: answer !== null,
    }
    transaction.put(onceSection, key.path, encodeKept(kept, answer?.body ?? new Uint8Array(0)))
    if (!key.byClient) return
    this.#count(transaction.nowMs, key)
    const minute = Math.floor((transaction.nowMs + onceLimits.keptMs) / minuteMs) + 1
    transaction.put(onceSection, `due/${minute}/${key.path.slice('client/'.length)}`, new Uint8Array(0))
  }

  #count(nowMs: number, key: OnceKey): void {
    const minute = Math.floor(nowMs / minuteMs)
    if (minute > this.#minute) {
      this.#minute = minute
      this.#ids = 0
    }
    if (key.counted) return
    key.counted = true
    this.#ids += 1
  }
}

/** A record: one line of JSON, then the answer's body as it is. */
export function encodeKept(kept: Kept, body: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`${JSON.stringify(kept)}\n`), body])
}

/** @throws ERR_STORE_CORRUPT when it is no record; ERR_UPGRADE_REQUIRED for one of another version. */
export function decodeKept(stored: Uint8Array): { readonly kept: Kept; readonly answer: CoreResponse | null } {
  const end = stored.indexOf(0x0a)
  const kept = parseStored<Kept>(stored.subarray(0, Math.max(0, end)), "a repeated request's record")
  if (!checkVersion("a repeated request's record", formatVersion, kept.version))
    throw new HoldfastError('ERR_STORE_CORRUPT', "expected a repeated request's record to have a version")
  const { status, headers } = kept
  return { kept, answer: kept.hasAnswer ? { status, headers, body: stored.subarray(end + 1) } : null }
}

/** The answer of a failure that is committed all the same (a token's use). */
export function answerOfFailure(error: unknown): CoreResponse {
  const known = isHoldfastError(error) ? error : new HoldfastError('ERR_INTERNAL', 'internal error')
  return { status: known.status, headers: errorHeaders(known), body: Buffer.from(`${JSON.stringify(errorBody(known))}\n`) }
}

const replayedHeader = 'x-holdfast-replayed'

/** The kept answer, flagged. @throws ERR_ANSWER_NOT_KEPT where there is none. */
export function replay(answer: CoreResponse | null): CoreResponse {
  if (answer === null) {
    throw new HoldfastError(
      'ERR_ANSWER_NOT_KEPT',
      'this request was carried out, or begun, before: it is not repeated, and its answer was not kept',
      {
        hint: 'read what it should have changed',
      },
    )
  }
  return { ...answer, headers: { ...answer.headers, [replayedHeader]: 'true' } }
}

export const superseded = (): HoldfastError =>
  new HoldfastError(
    'ERR_ANSWER_NOT_KEPT',
    'this request comes too late: its sender has given it up, and it may or may not have been carried out',
    {
      hint: 'read what it should have changed',
    },
  )

export const reusedId = (): HoldfastError =>
  new HoldfastError('ERR_REQUEST_ID_REUSED', 'X-Holdfast-Request-Id expected the request that it was first sent with, got another', {
    hint: 'a new request needs a new id; only a repetition, the same in path, query and body, keeps it',
  })
