/**
 * The node-to-node transport: one listener, and for each peer a stream of raft messages, a pool for requests, and snapshots on demand.
 * docs/internals/transport.md describes the wire; trust.ts who may use it.
 */
import type { Clock, Timer } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { NodeId } from '#raft/types.ts'
import { Dialer } from './dialer.ts'
import { FrameKind, encodeFrame } from './frames.ts'
import { Inbound } from './inbound.ts'
import { checkTransportLimits, transportLimits } from './limits.ts'
import type { TransportLimits } from './limits.ts'
import { sendSnapshot } from './outbound-snapshots.ts'
import type { SnapshotSending } from './outbound-snapshots.ts'
import { Requester } from './outbound-requests.ts'
import { PeerLink } from './peer-link.ts'
import { Trust } from './trust.ts'
import type { Identity, NodeTransport, PeerAddress, PeerStats, TransportHandlers, TransportStats } from './types.ts'
import { StallWatch } from './watch.ts'

export interface TransportOptions {
  readonly identity: Identity
  /** host:port to listen on; port 0 takes a free one. */
  readonly listenAddress: string
  readonly handlers: TransportHandlers
  readonly clock: Clock
  /** For the jitter of reconnects. */
  readonly random: RandomSource
  readonly log: Logger
  readonly limits?: Partial<TransportLimits>
  /** Until `setPeers`: accept whoever the cluster's CA vouches for. For a node that joins. */
  readonly trustCa?: boolean
  /** Fingerprints of those who are not let in on the CA's word: only as members. */
  readonly leftOut?: ReadonlySet<string>
}

/** Nothing is listened on or dialled before `listen` and `setPeers`. @throws AssertionError on limits that contradict each other. */
export function createTransport(options: TransportOptions): NodeTransport {
  return new TlsTransport(options)
}

interface Peer {
  readonly address: PeerAddress
  readonly link: PeerLink
  readonly requester: Requester
  readonly snapshots: Set<SnapshotSending>
}

/** What is remembered of a peer beside its connections. */
interface Contact {
  lastMs: number
  bytesReceived: number
  messagesReceived: number
}

const logEveryMs = 60_000
const logKeysMax = 256

class TlsTransport implements NodeTransport {
  readonly #options: TransportOptions
  readonly #limits: TransportLimits
  readonly #trust: Trust
  readonly #dialer: Dialer
  readonly #stalls: StallWatch
  readonly #inbound: Inbound
  readonly #peers = new Map<NodeId, Peer>()
  readonly #contacts = new Map<NodeId, Contact>()
  /** When each kind of line was logged last: a stranger that knocks all day must not fill the log. */
  readonly #logged = new Map<string, number>()
  #identity: Identity
  #timer: Timer | null = null
  #pulseMs: number
  #closing: Promise<void> | null = null
  #refused = 0
  #framesRefused = 0

  constructor(options: TransportOptions) {
    this.#options = options
    this.#limits = { ...transportLimits, ...options.limits }
    checkTransportLimits(this.#limits)
    const { identity, clock } = options
    this.#identity = identity
    this.#pulseMs = clock.monotonicMs()
    this.#trust = new Trust(identity, options.trustCa ?? false, options.leftOut)
    this.#stalls = new StallWatch(clock)
    this.#dialer = new Dialer({
      identity,
      trust: this.#trust,
      clock,
      limits: this.#limits,
      warn: (peer, warning) => this.#warn(peer.id, warning),
    })
    this.#inbound = this.#createInbound()
  }

  #createInbound(): Inbound {
    const { identity, listenAddress, handlers, clock, log } = this.#options
    return new Inbound({
      identity,
      listenAddress,
      handlers,
      clock,
      log,
      trust: this.#trust,
      limits: this.#limits,
      stalls: this.#stalls,
      contact: (peer, bytes, messages) => this.#contact(peer, bytes, messages),
      warn: (peer, warning) => this.#warn(peer, warning),
      connectionRefused: (address, error) => {
        this.#refused++
        this.#logSometimes(
          `refused ${address}`,
          { address, reason: error.message, hint: error.hint },
          'connection to the cluster address refused',
        )
      },
      frameRefused: (peer, error) => {
        this.#framesRefused++
        this.#logSometimes(`frame ${peer}`, { peer, reason: error.message, hint: error.hint }, 'stream of peer refused')
      },
    })
  }

  async listen(): Promise<void> {
    await this.#inbound.listen()
    this.#arm()
  }

  address(): string {
    return this.#inbound.address()
  }

  send(to: NodeId, message: unknown): void {
    const peer = this.#peers.get(to)
    // Unknown or just removed: as good as lost on the way, which raft expects of any message.
    if (peer === undefined) return
    try {
      peer.link.send(encodeFrame(FrameKind.message, message, this.#limits.frameBytesMax))
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'unknown'
      this.#logSometimes(`encode ${to}`, { peer: to, reason }, 'message dropped: it does not fit a frame')
    }
  }

  async sendSnapshot(to: NodeId, header: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<void> {
    const peer = this.#peerOrThrow(to)
    const { identity, dialer, limits, stalls } = this.#parts()
    const sending = sendSnapshot(
      {
        peer: peer.address,
        identity,
        dialer,
        limits,
        stalls,
        clock: this.#options.clock,
        transfer: Buffer.from(this.#options.random.bytes(16)).toString('hex'),
        contact: () => this.#contact(to, 0, 0),
        resumed: (bytes) => this.#options.log.info({ peer: to, bytes }, 'the connection of a snapshot broke: it goes on by another'),
      },
      header,
      body,
    )
    peer.snapshots.add(sending)
    try {
      await sending.done
    } finally {
      peer.snapshots.delete(sending)
    }
  }

  async request(to: NodeId, kind: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return await this.#peerOrThrow(to).requester.request(kind, body, timeoutMs)
  }

  setPeers(peers: readonly PeerAddress[], options: { readonly provisional?: boolean } = {}): void {
    if (this.#closing !== null) return
    this.#trust.setPeers(peers, options.provisional ?? false)
    const others = new Map(peers.filter((peer) => peer.id !== this.#identity.nodeId).map((peer) => [peer.id, peer]))
    for (const [id, peer] of this.#peers) {
      const next = others.get(id)
      if (next !== undefined && sameAddress(next, peer.address)) continue
      this.#peers.delete(id)
      if (next === undefined) this.#contacts.delete(id)
      this.#detach(closePeer(peer, new HoldfastError('ERR_UPSTREAM', `node ${id} was removed, or moved`)))
    }
    this.#inbound.recheck()
    for (const peer of others.values()) {
      if (!this.#peers.has(peer.id)) this.#addPeer(peer)
    }
  }

  setIdentity(identity: Identity): void {
    this.#identity = identity
    this.#trust.setIdentity(identity)
    this.#dialer.setIdentity(identity)
    this.#inbound.setIdentity(identity)
  }

  lastContactMs(peer: NodeId): number | null {
    const contact = this.#contacts.get(peer)
    return contact === undefined || contact.lastMs === -Infinity ? null : this.#options.clock.monotonicMs() - contact.lastMs
  }

  stats(): TransportStats {
    return {
      peers: [...this.#peers.values()].map((peer) => this.#peerStats(peer)),
      inboundConnections: this.#inbound.connections,
      inboundRequests: this.#inbound.budget.requests,
      refused: this.#refused,
      framesRefused: this.#framesRefused,
    }
  }

  #peerStats(peer: Peer): PeerStats {
    const contact = this.#contacts.get(peer.address.id)
    return {
      id: peer.address.id,
      connected: peer.link.connected,
      ...peer.link.stats(),
      messagesReceived: contact?.messagesReceived ?? 0,
      bytesReceived: contact?.bytesReceived ?? 0,
      requestsPending: peer.requester.pending,
    }
  }

  /** Ends every connection; what is under way fails with ERR_SHUTTING_DOWN. Resolves within `closeMsMax`. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#timer?.cancel()
    this.#dialer.close()
    const error = new HoldfastError('ERR_SHUTTING_DOWN', 'transport closes')
    const ends = [...this.#peers.values()].map((peer) => closePeer(peer, error))
    this.#peers.clear()
    const all = Promise.allSettled([...ends, this.#inbound.close()])
    const late = Promise.withResolvers<void>()
    const timer = this.#options.clock.setTimer(this.#limits.closeMsMax, late.resolve)
    await Promise.race([all, late.promise])
    timer.cancel()
  }

  #parts(): { identity: Identity; dialer: Dialer; limits: TransportLimits; stalls: StallWatch } {
    return { identity: this.#identity, dialer: this.#dialer, limits: this.#limits, stalls: this.#stalls }
  }

  #peerOrThrow(id: NodeId): Peer {
    if (this.#closing !== null) throw new HoldfastError('ERR_SHUTTING_DOWN', 'transport closes', { data: { sent: false } })
    const peer = this.#peers.get(id)
    if (peer !== undefined) return peer
    throw new HoldfastError('ERR_UPSTREAM', `expected a known peer, got node ${id}`, { data: { sent: false } })
  }

  #addPeer(address: PeerAddress): void {
    const { clock, random, log, handlers } = this.#options
    const { identity, dialer, limits } = this.#parts()
    const contact = (): void => this.#contact(address.id, 0, 0)
    const link = new PeerLink({
      peer: address,
      identity,
      dialer,
      clock,
      random,
      log,
      limits,
      contact,
      unreachable: () => handlers.unreachable(address.id),
    })
    const requester = new Requester({ peer: address, identity, dialer, clock, limits, contact })
    this.#peers.set(address.id, { address, link, requester, snapshots: new Set() })
    link.start()
  }

  #contact(peer: NodeId, bytes: number, messages: number): void {
    let contact = this.#contacts.get(peer)
    if (contact === undefined) {
      contact = { lastMs: -Infinity, bytesReceived: 0, messagesReceived: 0 }
      this.#contacts.set(peer, contact)
    }
    contact.lastMs = this.#options.clock.monotonicMs()
    contact.bytesReceived += bytes
    contact.messagesReceived += messages
  }

  #warn(peer: NodeId | null, warning: string): void {
    this.#logSometimes(
      `warn ${peer} ${warning}`,
      { peer, warning },
      'the certificate of a member should be renewed; its key is what counts',
    )
  }

  #logSometimes(key: string, fields: object, message: string): void {
    const now = this.#options.clock.monotonicMs()
    if (now - (this.#logged.get(key) ?? -Infinity) < logEveryMs) return
    if (this.#logged.size >= logKeysMax) this.#logged.clear()
    this.#logged.set(key, now)
    this.#options.log.warn(fields, message)
  }

  #arm(): void {
    this.#pulseMs = this.#options.clock.monotonicMs()
    this.#timer = this.#options.clock.setTimer(this.#limits.pulseMs, () => this.#pulse())
  }

  #pulse(): void {
    const lateMs = this.#options.clock.monotonicMs() - this.#pulseMs - this.#limits.pulseMs
    this.#arm()
    this.#inbound.pulse()
    // This process itself slept (a paused VM, a long collection): what the peers sent meanwhile waits in the kernel, unread.
    if (lateMs > this.#limits.pulseMs) return
    this.#stalls.look()
    for (const peer of this.#peers.values()) peer.link.pulse()
  }

  /** For ends that nobody waits for: they never reject but by a fault of ours, which must not pass unseen. */
  #detach(work: Promise<unknown>): void {
    work.catch((error: unknown) =>
      this.#options.log.error({ reason: error instanceof Error ? error.message : 'unknown' }, 'closing a peer'),
    )
  }
}

async function closePeer(peer: Peer, error: HoldfastError): Promise<void> {
  for (const sending of peer.snapshots) sending.abort(error)
  await Promise.all([peer.link.stop(), peer.requester.close(error)])
}

function sameAddress(a: PeerAddress, b: PeerAddress): boolean {
  return a.clusterAddress === b.clusterAddress && a.fingerprint === b.fingerprint
}
