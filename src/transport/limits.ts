import { assert } from '#base/assert.ts'
import { limits } from '#base/limits.ts'

/** Every bound of the node-to-node transport, unit last. `createTransport` takes any of them as an override (tests do). */
export interface TransportLimits {
  /** One frame of a stream, its version and kind bytes included. */
  readonly frameBytesMax: number
  /** Frames that wait for one peer; beyond it the oldest are dropped (raft sends again what mattered). */
  readonly queueBytesMax: number
  /** How much of the queue is joined into one write. A larger frame is written alone, uncopied. */
  readonly writeBytesMax: number
  readonly requestBodyBytesMax: number
  /** Requests of all peers that this node handles at once. */
  readonly inboundRequestsMax: number
  /** Bodies of those requests, declared lengths added up. */
  readonly inboundRequestBytesMax: number
  /** Requests to one peer that this node has under way or waiting for a connection. */
  readonly outboundRequestsMax: number
  readonly connectionsPerPeerMax: number
  /** TCP connections of everybody, strangers in their handshake included. */
  readonly inboundConnectionsMax: number
  readonly snapshotHeaderBytesMax: number
  readonly inboundSnapshotsMax: number
  /** How long the receiver of a snapshot may store and check without taking more of it, while it shows signs of life. */
  readonly snapshotStoreMsMax: number
  /** How long both ends of a snapshot wait for another connection once theirs broke, or for one byte to get through. */
  readonly snapshotResumeMsMax: number
  /** What the sender of a snapshot keeps of it in memory, to go on with after a break; and one piece more. */
  readonly snapshotWindowBytesMax: number
  /** TCP and TLS together. */
  readonly connectMsMax: number
  /** A stream or request body that makes no progress for this long is reset: the other end hangs, or the network swallows packets. */
  readonly stallMsMax: number
  /** The same for the bytes of a snapshot, which come from a disk that may be busy. */
  readonly snapshotStallMsMax: number
  /** Every so often each stream is pinged, and each stream, upload and body looked at for a stall. */
  readonly pulseMs: number
  readonly reconnectMsMin: number
  readonly reconnectMsMax: number
  /** `unreachable` is said at most this often for a peer that stays away. */
  readonly unreachableEveryMs: number
  readonly keepAliveMs: number
  /** Host names that are being resolved at once: each holds one of libuv's threads, which the log's fsync needs too. */
  readonly lookupsMax: number
  readonly closeMsMax: number
}

export const transportLimits: TransportLimits = {
  frameBytesMax: limits.frameBytesMax,
  queueBytesMax: 32 * 1024 * 1024,
  writeBytesMax: 256 * 1024,
  requestBodyBytesMax: limits.forwardBodyBytesMax,
  inboundRequestsMax: 1_024,
  inboundRequestBytesMax: 256 * 1024 * 1024,
  outboundRequestsMax: 2_048,
  connectionsPerPeerMax: 16,
  inboundConnectionsMax: 1_024,
  snapshotHeaderBytesMax: 1024 * 1024,
  inboundSnapshotsMax: 2,
  snapshotStoreMsMax: 3_600_000,
  snapshotResumeMsMax: 15_000,
  snapshotWindowBytesMax: 8 * 1024 * 1024,
  connectMsMax: 5_000,
  stallMsMax: 5_000,
  snapshotStallMsMax: 20_000,
  pulseMs: 1_000,
  reconnectMsMin: 50,
  reconnectMsMax: 1_000,
  unreachableEveryMs: 500,
  keepAliveMs: 30_000,
  lookupsMax: 1,
  closeMsMax: 900,
}

/** @throws AssertionError when the bounds contradict each other. */
export function checkTransportLimits(bounds: TransportLimits): void {
  assert(bounds.queueBytesMax >= bounds.frameBytesMax, 'a queue must be able to hold the largest frame, or it would never be sent')
  assert(bounds.stallMsMax > bounds.pulseMs, 'a stream must be pinged before it is called stalled')
  assert(bounds.snapshotStallMsMax > bounds.pulseMs, 'a receiver must be able to show that it works')
  assert(bounds.snapshotWindowBytesMax >= 2 * 1024 * 1024, 'a receiver says how far it is once a MiB, or the sender would wait for it')
  assert(bounds.inboundRequestBytesMax >= bounds.requestBodyBytesMax, 'one request of the largest size must fit')
  assert(bounds.reconnectMsMax >= bounds.reconnectMsMin, 'the back-off must not shrink')
}
checkTransportLimits(transportLimits)
