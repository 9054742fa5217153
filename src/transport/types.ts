import type { Readable } from 'node:stream'
import type { NodeId } from '#raft/types.ts'

/** Where and as whom a peer is reached; the fingerprint is what it must prove (SHA-256 of its SPKI, hex). */
export interface PeerAddress {
  readonly id: NodeId
  readonly clusterAddress: string
  readonly fingerprint: string
}

/** A node's transport identity: lies in its data folder, mode 0600, apart from the store. */
export interface Identity {
  readonly nodeId: NodeId
  readonly clusterId: string
  readonly caCertificatePem: string
  readonly certificatePem: string
  readonly privateKeyPem: string
  readonly fingerprint: string
}

export interface TransportHandlers {
  /** A raft message (decoded, size- and version-checked) from an accepted peer. */
  message(from: NodeId, message: unknown): void
  /** A peer's snapshot arrives; resolve when it is stored and verified. */
  snapshot(from: NodeId, header: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<void>
  /** A peer's request (forwarded client request, ...). Answer or throw; a HoldfastError crosses the wire with its code. */
  request(from: NodeId, kind: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array>
  /** The stream to a peer broke or could not be opened. */
  unreachable(peer: NodeId): void
}

export interface Transport {
  /** Fire and forget; per-peer queue bounded in bytes, the oldest is dropped. */
  send(to: NodeId, message: unknown): void
  /** Streams a snapshot; resolves when the peer has stored it. */
  sendSnapshot(to: NodeId, header: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<void>
  /** One request, one answer, over mutual TLS, keep-alive. `timeoutMs` bounds it; rejects ERR_UPSTREAM (`sent: false` in data when it surely did not arrive). */
  request(to: NodeId, kind: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array>
  /** Replaces the set of accepted peers; connections of those no longer in it end at once. */
  setPeers(peers: readonly PeerAddress[]): void
  /** Milliseconds (monotonic) since anything arrived from the peer; null if never. */
  lastContactMs(peer: NodeId): number | null
  listen(): Promise<void>
  close(): Promise<void>
}

export type SnapshotBody = Readable
