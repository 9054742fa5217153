/**
 * Namespaces, one a node, on one bridge. Node i is at .10+i; its door, as the others see it, is the face .100+i on the bridge, and the door calls
 * node i from the face of whoever called: all packets between i and j are, in i's namespace, packets between i and face j.
 */
import { createHash } from 'node:crypto'
import { run } from '../command.ts'
import type { Janitor } from '../janitor.ts'
import type { Place } from './network.ts'

const apiPort = 8200
const clusterPort = 8201
/** A locally administered address that nothing has: frames to it get lost. */
const nowhere = '02:00:00:00:00:01'

export class NamespaceHosts {
  readonly places: readonly Place[]
  readonly #run: string
  readonly #subnet: string

  private constructor(slots: number, runName: string, subnet: string) {
    this.#run = runName
    this.#subnet = subnet
    this.places = Array.from({ length: slots }, (_, slot) => ({
      host: `${subnet}.${10 + slot}`,
      apiPort,
      clusterPort,
      door: { host: `${subnet}.${100 + slot}`, port: clusterPort },
      // Not `ip netns exec`: that copies the mounts, too, and a copy would keep a disk that was cut off.
      prefix: ['nsenter', `--net=/run/netns/${runName}n${slot}`],
    }))
  }

  static make(slots: number, runName: string, janitor: Janitor): NamespaceHosts {
    const hosts = new NamespaceHosts(slots, runName, freeSubnet(runName))
    const bridge = `${runName}b`
    janitor.owe({ command: ['ip', 'link', 'del', bridge] })
    run('ip', 'link', 'add', bridge, 'type', 'bridge')
    run('ip', 'addr', 'add', `${hosts.#subnet}.1/24`, 'dev', bridge)
    run('ip', 'link', 'set', bridge, 'up')
    for (const [slot, { host, door }] of hosts.places.entries()) {
      const name = hosts.#name(slot)
      const outside = `${runName}v${slot}`
      janitor.owe({ command: ['ip', 'netns', 'del', name] })
      run('ip', 'addr', 'add', `${door.host}/24`, 'dev', bridge)
      run('ip', 'netns', 'add', name)
      run('ip', 'link', 'add', outside, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
      run('ip', 'link', 'set', outside, 'master', bridge, 'up')
      run('ip', '-n', name, 'addr', 'add', `${host}/24`, 'dev', 'eth0')
      run('ip', '-n', name, 'link', 'set', 'eth0', 'up')
      run('ip', '-n', name, 'link', 'set', 'lo', 'up')
    }
    return hosts
  }

  /** The slot whose node has this address. */
  slotOf(address: string | undefined): number | null {
    const slot = this.places.findIndex(({ host }) => host === address)
    return slot < 0 ? null : slot
  }

  dropPackets(from: number, to: number): void {
    run('ip', '-n', this.#name(from), 'neigh', 'replace', this.#face(to), 'lladdr', nowhere, 'dev', 'eth0', 'nud', 'permanent')
  }

  losePackets(from: number, to: number, part: number): void {
    const nft = (...args: string[]): string => run('ip', 'netns', 'exec', this.#name(from), 'nft', ...args)
    nft('add', 'table', 'ip', 'chaos')
    nft('add', 'chain', 'ip', 'chaos', 'out', '{ type filter hook output priority 0 ; }')
    const lost = String(Math.round(part * 100))
    nft('add', 'rule', 'ip', 'chaos', 'out', 'ip', 'daddr', this.#face(to), 'numgen', 'random', 'mod', '100', '<', lost, 'drop')
  }

  calm(): void {
    for (const slot of this.places.keys()) {
      const name = this.#name(slot)
      run('ip', '-n', name, 'neigh', 'flush', 'dev', 'eth0', 'nud', 'permanent')
      const tables = succeedsQuietly(() => run('ip', 'netns', 'exec', name, 'nft', 'list', 'tables'))
      if (tables?.includes('chaos') === true) run('ip', 'netns', 'exec', name, 'nft', 'delete', 'table', 'ip', 'chaos')
    }
  }

  #name(slot: number): string {
    return `${this.#run}n${slot}`
  }

  #face(slot: number): string {
    return this.places[slot]?.door.host ?? ''
  }
}

function succeedsQuietly(act: () => string): string | null {
  try {
    return act()
  } catch {
    return null // No nft here: then no table either.
  }
}

/** A /24 of 10/8 that this machine does not use, begun at a place that depends on the run, so that two runs do not meet. */
function freeSubnet(runName: string): string {
  const used = run('ip', '-4', 'addr')
  const start = createHash('sha256').update(runName).digest().readUInt16BE(0)
  for (let i = 0; i < 65_536; i++) {
    const at = (start + i) % 65_536
    const subnet = `10.${at >> 8}.${at & 255}`
    if (!used.includes(`${subnet}.`)) return subnet
  }
  throw new Error('expected a free /24 in 10/8, found none')
}
