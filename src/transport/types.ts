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
  /** The authority of before a restored snapshot replaced it: until the next renewal members show certificates of either. Absent: none. */
  readonly previousCaCertificatePem?: string
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

/** What `createTransport` makes: the contract above, and what the node that owns it needs besides. */
export interface NodeTransport extends Transport {
  /**
   * As above. `provisional`: these come from a join answer and not from replicated membership, so go on accepting whatever the cluster's CA
   * vouches for until the next call (a leader elected meanwhile could not reach this node otherwise).
   */
  setPeers(peers: readonly PeerAddress[], options?: { readonly provisional?: boolean }): void
  /** host:port that is listened on (the real port where 0 was asked for). Only after `listen`. */
  address(): string
  /** A renewed certificate: new connections use it, old ones go on. Same node, same key or one that the membership already names. */
  setIdentity(identity: Identity): void
  stats(): TransportStats
}

export interface PeerStats {
  readonly id: NodeId
  /** This node's stream to the peer is open. */
  readonly connected: boolean
  readonly messagesSent: number
  readonly messagesReceived: number
  readonly messagesDropped: number
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly queueBytes: number
  /** How often the stream to the peer was opened. */
  readonly connects: number
  readonly requestsPending: number
}

export interface TransportStats {
  readonly peers: readonly PeerStats[]
  readonly inboundConnections: number
  readonly inboundRequests: number
  /** Connections refused for who they are, since the start. */
  readonly refused: number
  /** Streams closed because of what came over them. */
  readonly framesRefused: number
}
