/**
 * The network of a run. Where the machine permits it each node has a namespace of its own, and partitions and loss are made of real packets;
 * elsewhere nodes sit on loopback. In both, what one node sends another goes through the other's door (proxy.ts).
 */
import type { Socket } from 'node:net'
import { freePorts } from '#test/support/cluster.ts'
import type { Prng } from '#test/sim/prng.ts'
import type { Janitor } from '../janitor.ts'
import type { Machine } from '../machine.ts'
import { Links } from './links.ts'
import { NamespaceHosts } from './namespaces.ts'
import { Proxy } from './proxy.ts'
import { ownerOfPort } from './socket-owner.ts'

export interface Place {
  readonly host: string
  readonly apiPort: number
  /** Where the node listens for the others; they are told `door`. */
  readonly clusterPort: number
  readonly door: { readonly host: string; readonly port: number }
  /** What the node's command is put behind. */
  readonly prefix: readonly string[]
}

export interface NetworkOptions {
  readonly slots: number
  readonly run: string
  readonly machine: Machine
  readonly janitor: Janitor
  readonly dice: Prng
  /** The process in a slot, if one runs; for telling callers apart on loopback. */
  readonly pidOf: (slot: number) => number | null
}

export class Network {
  readonly places: readonly Place[]
  readonly slots: number
  readonly #links: Links
  readonly #hosts: NamespaceHosts | null
  readonly #packetLoss: boolean
  #proxies: Proxy[] = []

  private constructor(options: NetworkOptions, places: readonly Place[], hosts: NamespaceHosts | null) {
    this.slots = options.slots
    this.places = places
    this.#links = new Links(options.slots, options.dice)
    this.#hosts = hosts
    this.#packetLoss = hosts !== null && options.machine.nft === null
  }

  static async make(options: NetworkOptions): Promise<Network> {
    const hosts = options.machine.namespaces === null ? NamespaceHosts.make(options.slots, options.run, options.janitor) : null
    const network = new Network(options, hosts?.places ?? (await loopbackPlaces(options.slots)), hosts)
    for (const [slot, place] of network.places.entries()) {
      const proxy = await Proxy.listen({
        slot,
        links: network.#links,
        listen: place.door,
        target: { host: place.host, port: place.clusterPort },
        caller: (socket) => hosts?.slotOf(socket.remoteAddress) ?? callerOnLoopback(socket, options),
        faceOf: (from) => hosts?.places[from]?.door.host,
      })
      network.#proxies.push(proxy)
    }
    return network
  }

  get kind(): string {
    return this.#hosts === null ? 'loopback with proxies' : `namespaces with proxies${this.#packetLoss ? ' and nft' : ''}`
  }

  /** One direction: `from` sends, `to` does not get it. */
  cut(from: number, to: number): void {
    if (from === to) return
    this.#links.set(from, to, { cut: true })
    this.#hosts?.dropPackets(from, to)
  }

  cutBoth(a: number, b: number): void {
    this.cut(a, b)
    this.cut(b, a)
  }

  delay(from: number, to: number, delayMs: number, jitterMs: number): void {
    this.#links.set(from, to, { delayMs, jitterMs })
  }

  /** `part` of what `from` sends `to` is lost at first: packets where that can be done, else what TCP makes of it. */
  lose(from: number, to: number, part: number): void {
    if (this.#packetLoss) this.#hosts?.losePackets(from, to, part)
    else this.#links.set(from, to, { loss: part })
  }

  /** Everything gets through again. */
  calm(): void {
    this.#hosts?.calm()
    this.#links.calm()
  }

  close(): void {
    for (const proxy of this.#proxies) proxy.close()
    this.#proxies = []
  }
}

function callerOnLoopback(socket: Socket, { slots, pidOf }: NetworkOptions): number | null {
  const pids = Array.from({ length: slots }, (_, slot) => pidOf(slot))
  const running = pids.filter((pid) => pid !== null)
  const owner = socket.remotePort === undefined ? null : ownerOfPort(socket.remotePort, running)
  return owner === null ? null : pids.indexOf(owner)
}

async function loopbackPlaces(slots: number): Promise<Place[]> {
  const host = '127.0.0.1'
  const first = await freePorts(slots * 3)
  return Array.from({ length: slots }, (_, slot) => {
    const apiPort = first + 3 * slot
    return { host, apiPort, clusterPort: apiPort + 1, door: { host, port: apiPort + 2 }, prefix: [] }
  })
}
