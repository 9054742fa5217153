import { assert } from '#base/assert.ts'
import { limits } from '#base/limits.ts'

/** Every bound of one listener, units last. Defaults are `defaultHttpLimits`; an operator changes them in the listener's block. */
export interface HttpLimits {
  /** One body; beyond it 413. */
  readonly bodyBytesMax: number
  /** Bodies of all requests of this listener that are held at the same time; beyond it 503. */
  readonly bufferedBodyBytesMax: number
  /** Request line and headers; beyond it 431. */
  readonly headerBytesMax: number
  readonly jsonDepthMax: number
  /** Keys and string values of one JSON body. */
  readonly jsonStringsMax: number
  /** From the request's headers to its answer. The core is told to give up then, and answered for `requestGraceMs` later. */
  readonly requestDurationMsMax: number
  readonly requestGraceMs: number
  /** From the first byte of a request (or the connection) to the end of its headers. */
  readonly headerReadMsMax: number
  /** From the first byte of a request to the end of its body. */
  readonly requestReadMsMax: number
  /** A kept connection without a request. */
  readonly idleMsMax: number
  /** A connection on which nothing moves, request or not: the client does not read its answer. */
  readonly stallMsMax: number
  /** A body that brings less than `bodyWindowBytesMin` in a whole `bodyWindowMs` is dropped with 408. */
  readonly bodyWindowMs: number
  readonly bodyWindowBytesMin: number
  readonly handshakeMsMax: number
  readonly connectionsMax: number
  readonly requestsInFlightMax: number
}

export const defaultHttpLimits: HttpLimits = {
  bodyBytesMax: limits.requestBodyBytesMax,
  bufferedBodyBytesMax: 256 * 1024 * 1024,
  headerBytesMax: limits.requestHeaderBytesMax,
  jsonDepthMax: limits.jsonDepthMax,
  jsonStringsMax: limits.jsonStringsMax,
  requestDurationMsMax: limits.requestDurationMsMax,
  requestGraceMs: 5_000,
  headerReadMsMax: 10_000,
  requestReadMsMax: 30_000,
  idleMsMax: 300_000,
  stallMsMax: 120_000,
  bodyWindowMs: 5_000,
  bodyWindowBytesMin: 2_048,
  handshakeMsMax: 10_000,
  connectionsMax: 10_000,
  requestsInFlightMax: 4_096,
}

assert(
  defaultHttpLimits.stallMsMax > defaultHttpLimits.requestDurationMsMax + defaultHttpLimits.requestGraceMs,
  'a connection whose request is still being handled must not be dropped as stalled',
)
assert(defaultHttpLimits.bufferedBodyBytesMax >= 2 * defaultHttpLimits.bodyBytesMax, 'one large body must not keep out all others')

/** How often deadlines and body rates are looked at: they are late by at most this. */
export const sweepMs = 1_000
/** How long a closed connection's unread input is thrown away, so that the client reads our last answer before a reset. */
export const lingerMs = 500
/** From the moment that the core begins to read an upload to its end. */
/** How long the answer to one may take once all of it is here: a restore sends it on to the other nodes. */
export const uploadAnswerMsMax = 3_600_000
export const uploadDurationMsMax = 24 * 3_600_000
/** How long the rest of an upload is thrown away, once its answer is given. */
export const uploadLingerMs = 2_000
/** An oversized body is read and thrown away up to this many times the limit, so that its sender sees the 413. */
export const oversizeDiscardFactor = 4
export const queryParametersMax = 128
