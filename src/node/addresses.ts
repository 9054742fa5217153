/**
 * How a node that has moved (its cluster or API address is another in its configuration than in the membership) finds its way back.
 *
 * Nobody reaches it at the address that the members know, so it can't wait to be told who leads: it dials every member that it knows, and
 * says where it is now. Whoever hears it (it has proven its key) sends there from now on; the leader also puts it into the membership.
 * The first matters as much as the second: where the moved node is needed for a majority, there is no leader before it is reached. And since
 * two that moved at once can't find each other, whoever is told answers with those who told it before.
 */
import type { Clock, Timer } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { PeerAddress, Peers, StartedReplica } from '#replica/index.ts'
import type { Member } from '#replica/types.ts'
import { parsePeerAddress } from '#transport/address.ts'
import type { NodeTransport } from '#transport/types.ts'

export const addressKind = 'address'
const announceEveryMs = 1_000
const announceTimeoutMs = 2_000
/** An announcement, or the answer with those of every member. */
const bodyBytesMax = 128 * 1_024

interface Moved {
  /** What the membership said when it was announced; once it says something else, the announcement is history. */
  readonly recorded: string
  readonly announced: string
}

export interface AddressesOptions {
  /** This node as its configuration has it. */
  readonly self: Pick<Member, 'id' | 'clusterAddress' | 'apiAddress'>
  readonly transport: Pick<NodeTransport, 'setPeers' | 'request' | 'send' | 'sendSnapshot' | 'lastContactMs'>
  readonly clock: Clock
  readonly log: Logger
}

export class Addresses {
  readonly #options: AddressesOptions
  readonly #moved = new Map<string, Moved>()
  /** As the replica last named them. */
  #peers: readonly PeerAddress[] = []
  #provisional = false
  #replica: Pick<StartedReplica, 'status' | 'updateMember'> | null = null
  #timer: Timer | null = null
  #stopped = false

  constructor(options: AddressesOptions) {
    this.#options = options
  }

  /** The transport as the replica is to see it: those who announced themselves are reached where they are. */
  get peers(): Peers {
    const { transport } = this.#options
    return {
      send: (to, message) => transport.send(to, message),
      sendSnapshot: (to, header, body) => transport.sendSnapshot(to, header, body),
      lastContactMs: (peer) => transport.lastContactMs(peer),
      setPeers: (peers, options) => {
        this.#peers = peers
        this.#provisional = options?.provisional ?? false
        this.#setPeers()
      },
    }
  }

  /** Begins to announce this node, if the membership has it elsewhere; ends once that is put right. */
  start(replica: Pick<StartedReplica, 'status' | 'updateMember'>): void {
    this.#replica = replica
    this.#arm(0)
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  /** Takes node `from`'s announcement, and answers with what others have announced here. @throws ERR_BAD_REQUEST */
  async answer(from: string, body: Uint8Array): Promise<Uint8Array> {
    const { clusterAddress, apiAddress } = decodeAnnouncement(body)
    this.#note(from, clusterAddress)
    await this.#record(from, clusterAddress, apiAddress)
    return encode({ moved: [...this.#moved].map(([id, { announced }]) => [id, announced]) })
  }

  /** Reaches `id` there from now on. Whoever answers there must still prove the key that the membership names. */
  #note(id: string, clusterAddress: string): void {
    const peer = this.#peers.find((each) => each.id === id)
    if (peer === undefined || id === this.#options.self.id || peer.clusterAddress === clusterAddress) return
    if (this.#moved.get(id)?.announced === clusterAddress) return
    this.#moved.set(id, { recorded: peer.clusterAddress, announced: clusterAddress })
    this.#setPeers()
  }

  #setPeers(): void {
    for (const [id, { recorded }] of this.#moved) {
      if (this.#peers.find((peer) => peer.id === id)?.clusterAddress !== recorded) this.#moved.delete(id)
    }
    const reached = this.#peers.map((peer) => {
      const moved = this.#moved.get(peer.id)
      return moved === undefined ? peer : { ...peer, clusterAddress: moved.announced }
    })
    this.#options.transport.setPeers(reached, { provisional: this.#provisional })
  }

  /** On the leader: into the membership. Elsewhere, and on a leader that can't write now, nothing: it is announced until it is done. */
  async #record(id: string, clusterAddress: string, apiAddress: string): Promise<void> {
    const replica = this.#replica
    const member = replica?.status().members.find((each) => each.id === id)
    if (replica === null || member === undefined || replica.status().role !== 'leader') return
    if (member.clusterAddress === clusterAddress && member.apiAddress === apiAddress) return
    try {
      await replica.updateMember({ ...member, clusterAddress, apiAddress })
      this.#options.log.info({ member: id, cluster_address: clusterAddress, api_address: apiAddress }, 'a member has moved')
    } catch (error) {
      if (!isHoldfastError(error)) throw error
      this.#options.log.debug({ member: id, code: error.code }, 'a member has moved, but its record can not be changed now')
    }
  }

  #arm(delayMs: number): void {
    if (this.#stopped) return
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      this.#announce()
        .finally(() => {
          if (!this.#isRecorded()) this.#arm(announceEveryMs)
        })
        .catch((error: unknown) => this.#options.log.error({ error: (error as Error).message }, 'announcing this node failed'))
    })
  }

  /** True also for a node that is no member: it has nothing to announce. As long as no member is known, nothing is sure. */
  #isRecorded(): boolean {
    const { id, clusterAddress, apiAddress } = this.#options.self
    const members = this.#replica?.status().members ?? []
    const member = members.find((each) => each.id === id)
    if (member === undefined) return members.length > 0
    return member.clusterAddress === clusterAddress && member.apiAddress === apiAddress
  }

  async #announce(): Promise<void> {
    if (this.#isRecorded()) return
    const { self, transport } = this.#options
    await this.#record(self.id, self.clusterAddress, self.apiAddress)
    const body = encode({ cluster_address: self.clusterAddress, api_address: self.apiAddress })
    const others = this.#peers.filter(({ id }) => id !== self.id)
    // Each on its own: one that is down must not keep the next from hearing it. Who did not hear is asked again.
    const told = others.map(async ({ id }) => {
      const answer = await transport.request(id, addressKind, body, announceTimeoutMs)
      for (const [moved, address] of decodeMoved(answer)) this.#note(moved, address)
    })
    await Promise.allSettled(told)
  }
}

const encode = (fields: object): Uint8Array => Buffer.from(JSON.stringify({ version: 1, ...fields }))

function decodeAnnouncement(body: Uint8Array): { readonly clusterAddress: string; readonly apiAddress: string } {
  const { cluster_address: clusterAddress, api_address: apiAddress } = decode(body)
  if (!isAddress(clusterAddress) || typeof apiAddress !== 'string') throw malformed()
  return { clusterAddress, apiAddress }
}

function decodeMoved(body: Uint8Array): (readonly [id: string, clusterAddress: string])[] {
  const { moved } = decode(body)
  if (!Array.isArray(moved)) throw malformed()
  return moved.map((row: unknown) => {
    if (!Array.isArray(row) || typeof row[0] !== 'string' || !isAddress(row[1])) throw malformed()
    return [row[0], row[1]] as const
  })
}

function decode(body: Uint8Array): Record<string, unknown> {
  if (body.length > bodyBytesMax) throw malformed()
  try {
    const fields = JSON.parse(Buffer.from(body).toString()) as unknown
    if (typeof fields === 'object' && fields !== null && (fields as { version?: unknown }).version === 1)
      return fields as Record<string, unknown>
  } catch {
    // Said below.
  }
  throw malformed()
}

function isAddress(value: unknown): value is string {
  if (typeof value !== 'string') return false
  try {
    parsePeerAddress(value)
    return true
  } catch {
    return false
  }
}

function malformed(): HoldfastError {
  return new HoldfastError('ERR_BAD_REQUEST', 'announced address: expected version 1 with addresses, got something else')
}
