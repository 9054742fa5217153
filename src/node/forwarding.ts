/**
 * Carries a client's request from the node that took it to the leader, and the answer back. The leader runs the whole pipeline
 * itself (token, policy, audit); the follower is believed only in what the client was: its address and certificate, and that only
 * because it has shown, by the seal, that it is unsealed.
 *
 * The body travels as JSON text: what the leader stores must be what the client sent, and msgpack has no numbers of 20 digits, no lone
 * surrogates, and no key `__proto__`.
 */
import { systemClock, type Timer } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { parseOwnJson } from '#base/exact-json.ts'
import { limits } from '#base/limits.ts'
import { onceLimits } from '#core/once.ts'
import type { Ticket } from '#core/slots.ts'
import type { CoreResponse, Operation, Request } from '#core/types.ts'
import type { Replica } from '#replica/types.ts'
import { decode, encode } from '#transport/msgpack.ts'
import type { Transport } from '#transport/types.ts'
import { ForwardSeal, type ForwardSealOptions } from './forward-seal.ts'

export const forwardKind = 'forward'
/** How long an answer of a leader that leads no more is waited for. */
const answerGraceMs = 500
const formatVersion = 3

/** What a listener can ask; 'create' is the core's own word, decided by what exists and by nobody who asks. */
const operations: ReadonlySet<unknown> = new Set<Operation>(['read', 'update', 'patch', 'delete', 'list', 'scan', 'help'])

export interface ForwardingOptions extends ForwardSealOptions {
  readonly replica: Pick<Replica, 'nodeId' | 'status' | 'onStatus'>
  readonly transport: () => Pick<Transport, 'request'> | null
  readonly handle: (request: Request) => Promise<CoreResponse>
}

export class Forwarding {
  readonly #options: ForwardingOptions
  readonly #seal: ForwardSeal

  constructor(options: ForwardingOptions) {
    this.#options = options
    this.#seal = new ForwardSeal(options)
  }

  /** As ForwardSeal's. */
  forget(): void {
    this.#seal.forget()
  }

  /**
   * Sends `request` to whoever leads now, once. Under its ticket it may be sent again: what it did is done once.
   * @throws ERR_NO_LEADER when nobody is known to lead, or whoever does can't serve: nothing was done; ERR_OUTCOME_UNKNOWN when the
   *   request may have reached a leader that did not answer, or leads no more; ERR_SEALED when this node is sealed.
   */
  async forward(request: Request): Promise<CoreResponse> {
    const { replica } = this.#options
    const { leader } = replica.status()
    const transport = this.#options.transport()
    if (leader === null || leader === replica.nodeId || transport === null) {
      throw noLeader('local node not active but active cluster node not found')
    }
    const sealed = this.#seal.seal(requestPlace(replica.nodeId, leader), encodeRequest(request))
    const answer = await this.#whileItLeads(leader, () => transport.request(leader, forwardKind, sealed, limits.requestDurationMsMax))
    try {
      return decodeResponse(this.#seal.open(answerPlace(replica.nodeId, leader, sealed), answer))
    } catch (error) {
      throw outcomeUnknown(error)
    }
  }

  /**
   * A leader that hangs, or is cut off, holds no request up for long once there is another: that one knows what became of it. But one that hands
   * over has its answer on the way, and only it knows how an effect outside of the state ended, a step-down first of all.
   */
  async #whileItLeads(leader: string, send: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const moved = Promise.withResolvers<never>()
    let grace: Timer | null = null as Timer | null
    const unsubscribe = this.#options.replica.onStatus((status) => {
      if (grace !== null || status.leader === null || status.leader === leader) return
      grace = systemClock.setTimer(answerGraceMs, () => moved.reject(outcomeUnknown(null)))
    })
    try {
      return await Promise.race([send(), moved.promise])
    } catch (error) {
      throw outcomeOf(error)
    } finally {
      unsubscribe()
      grace?.cancel()
    }
  }

  /** Answers the request of another node. @throws ERR_PEER_REFUSED, ERR_SEALED, ERR_FRAME: nothing was done then; ERR_OUTCOME_UNKNOWN. */
  async answer(from: string, sealed: Uint8Array): Promise<Uint8Array> {
    const { nodeId } = this.#options.replica
    const request = decodeRequest(from, this.#seal.open(requestPlace(from, nodeId), sealed))
    const response = await this.#options.handle(request)
    // No path that streams is ever forwarded, so whoever sent this is none of our releases.
    if (response.stream !== undefined) {
      response.stream.close()
      throw new HoldfastError('ERR_FRAME', 'forwarded request expected an answer that fits into one, got a stream')
    }
    try {
      return this.#seal.seal(answerPlace(from, nodeId, sealed), encodeResponse(response))
    } catch (error) {
      throw outcomeUnknown(error) // Sealed meanwhile; the request is done all the same.
    }
  }
}

/** Only what surely was not done may be called a failure; everything else may have been done by the leader before it fell silent. */
function outcomeOf(error: unknown): HoldfastError {
  if (!isHoldfastError(error)) return outcomeUnknown(error)
  if (error.code === 'ERR_OUTCOME_UNKNOWN') return error
  const sent = (error.data as { sent?: boolean } | undefined)?.sent
  // The leader's word that it is sealed: a caretaker, which hands over in a moment.
  if (error.code === 'ERR_SEALED') return noLeader('the leader is sealed', error)
  if (error.code === 'ERR_UPSTREAM' && sent === false) return noLeader('the leader could not be reached', error)
  return sent !== true && refusals.has(error.code) ? error : outcomeUnknown(error)
}

const outcomeUnknown = (cause: unknown): HoldfastError =>
  new HoldfastError('ERR_OUTCOME_UNKNOWN', 'the leader did not answer: the request may or may not have been carried out', {
    cause,
    hint: 'with an X-Holdfast-Request-Id send it again as it was, it is applied once; without, read the value back first',
  })

/** Answered instead of carrying the request out, by the leader's door or by our own. */
const refusals: ReadonlySet<string> = new Set(['ERR_BUSY', 'ERR_BODY_TOO_LARGE', 'ERR_BAD_REQUEST', 'ERR_FRAME', 'ERR_SHUTTING_DOWN'])

const noLeader = (message: string, cause?: unknown): HoldfastError =>
  new HoldfastError('ERR_NO_LEADER', message, {
    cause,
    hint: 'the cluster is electing a leader, or has lost its majority: nothing was done, retry; ask each node: `holdfast status -address=URL`',
  })

const requestPlace = (from: string, to: string): string => `forward request ${JSON.stringify([from, to])}`

/** Bound to its request by that one's tag: no answer can be given for another. */
const answerPlace = (from: string, to: string, sealedRequest: Uint8Array): string =>
  `forward answer ${JSON.stringify([from, to, Buffer.from(sealedRequest.subarray(-16)).toString('hex')])}`

/** The request without what belongs to this process. */
function encodeRequest(request: Request): Uint8Array {
  const { signal: _signal, body, ...rest } = request
  return encode({ version: formatVersion, request: rest, body: JSON.stringify(body) })
}

function decodeRequest(from: string, bytes: Uint8Array): Request {
  const { version, request, body } = decode(bytes) as { version?: unknown; request?: Request; body?: unknown }
  if (version !== formatVersion)
    throw new HoldfastError('ERR_FRAME', `forwarded request expected version ${formatVersion}, got ${String(version)}`)
  if (request === undefined || typeof body !== 'string' || !operations.has(request.operation))
    throw new HoldfastError('ERR_FRAME', "forwarded request expected a client's operation and a body, got something else")
  const { ticket, retryId, repeated, undone } = request
  const flags = [repeated, undone].every((flag) => flag === undefined || typeof flag === 'boolean')
  if (!isTicket(ticket) || !['undefined', 'string'].includes(typeof retryId) || !flags)
    throw new HoldfastError('ERR_FRAME', 'forwarded request expected a ticket, got something else')
  // Whatever the sender wrote there, it is the sender that forwarded it.
  return { ...request, body: parseOwnJson(body) as Request['body'], forwardedFrom: from }
}

/** A slot of its own choosing would let a node fill the table of repeated requests. */
function isTicket(ticket: Partial<Ticket> | undefined): boolean {
  const { boot, slot, serial, incarnation = 1 } = ticket ?? {}
  const whole = (number: unknown, below = Infinity): boolean =>
    Number.isSafeInteger(number) && (number as number) >= 0 && (number as number) < below
  return whole(boot) && whole(slot, onceLimits.slotsPerNodeMax) && whole(serial) && whole(incarnation)
}

function encodeResponse({ status, headers, body }: CoreResponse): Uint8Array {
  return encode({ version: formatVersion, status, headers, body })
}

function decodeResponse(bytes: Uint8Array): CoreResponse {
  const { version, status, headers, body } = decode(bytes) as CoreResponse & { version?: unknown }
  if (version !== formatVersion) throw new HoldfastError('ERR_UPSTREAM', 'forwarded answer expected another version')
  return { status, headers, body }
}
