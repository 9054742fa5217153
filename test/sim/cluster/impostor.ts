/**
 * Somebody who has stolen the identities of members, but not the barrier's key: in some seeds it speaks in their names to unsealed nodes, and must not be
 * believed. It forges what a leader alone may say (commands, membership, read indexes, snapshots), and asks for votes in far terms. What a thief
 * can do for certain (vote and acknowledge falsely) it does not: that breaks what the oracles hold, as the threat model says.
 */
import { isHoldfastError } from '#base/errors.ts'
import { encodeMembershipChange, EntryType, MessageType, type Message } from '#raft/index.ts'
import { encodeCommand, macsOf, writeMacs } from '#replica/command.ts'
import { encodeUpdate } from '#replica/directory.ts'
import { encodeHeader } from '#replica/snapshots.ts'
import type { StartedReplica } from '#replica/index.ts'
import { Prng } from '../prng.ts'
import { keys } from './clients.ts'
import { clusterId } from './life.ts'
import type { Life } from './life.ts'
import type { SimNode } from './node.ts'
import { OracleError } from './oracle.ts'
import { isRestore } from '#replica/restore.ts'
import type { World } from './world.ts'

/** No term that honest elections lead to is further away. */
const termsMax = 2_000_000

interface Victim {
  readonly node: SimNode
  readonly replica: StartedReplica
  /** In whose name. */
  readonly name: string
}

export class Impostor {
  readonly #world: World
  /** Of its own, so that a seed without an impostor is the run that it was before there was one. */
  readonly #random: Prng
  readonly #chance: number
  /** The newest answer with a proof that each node got: to be given again. */
  readonly #heard = new Map<string, object>()

  constructor(world: World, seed: number) {
    this.#world = world
    this.#random = new Prng(seed + 0x7415ef)
    this.#chance = this.#random.chance(0.25) ? this.#random.pick([0.02, 0.1]) : 0
  }

  /** Once a tick. */
  tick(): void {
    if (this.#chance === 0 || !this.#random.chance(this.#chance)) return
    const victim = this.#pick()
    if (victim === null) return
    const kind = this.#random.pick(['command', 'membership', 'snapshot', 'term'] as const)
    this.#count(`forged-${kind}`, victim)
    if (kind === 'command') this.#append(victim, EntryType.command, this.#command(victim))
    else if (kind === 'membership') this.#append(victim, EntryType.membership, this.#change(victim))
    else if (kind === 'snapshot') this.#snapshot(victim)
    else this.#term(victim)
  }

  /** A message on its way from `from`. Questions get a quicker answer than the leader's; answers are kept. */
  overhear(from: SimNode, message: Message, sent: object): void {
    if (this.#chance === 0) return
    if (message.type === MessageType.readIndexReply) this.#heard.set(message.to, sent)
    if (message.type !== MessageType.readIndex || !this.#random.chance(0.5)) return
    this.#world.scheduler.after(this.#random.between(1, 40), () => {
      const victim = this.#victim(from, message.to)
      if (victim === null) return
      this.#count('forged-read', victim)
      const { context = 0, term, to } = message
      const logIndex = Math.max(1, victim.replica.status().applied - 3)
      const old = this.#heard.get(from.id) as { readonly proof?: Uint8Array } | undefined
      const proof = this.#random.pick([null, new Uint8Array(32), old?.proof ?? null])
      const answer = { version: 1, type: MessageType.readIndexReply, from: to, to: from.id, term, context, logIndex, leaderTimeMs: 0 }
      from.life?.receive(to, proof === null ? answer : { ...answer, proof })
    })
  }

  #count(what: string, { node, name }: Victim): void {
    this.#world.count(what)
    this.#world.trace(what, name, node.id, 0, 0)
  }

  #pick(): Victim | null {
    const nodes = [...this.#world.nodes.values()]
    return this.#victim(this.#random.pick(nodes), this.#random.pick(nodes).id)
  }

  /** Null where nobody would listen to the name, or where it would be believed: sealed nodes can't check. */
  #victim(node: SimNode, name: string): Victim | null {
    const { life } = node
    const other = this.#world.nodes.get(name)
    if (other === undefined || other === node || life === null || life.paused || !life.genuine || !life.accepts(other)) return null
    const { replica } = life
    if (replica !== null && this.#behindAnOrder(node, life)) return null
    return replica === null || node.sealed || replica.status().failed !== null ? null : { node, replica, name }
  }

  /** What stands behind an order to restore is of another life, and is looked at only when it is applied (docs/internals/snapshot-restore.md). */
  #behindAnOrder(node: SimNode, { log, state, replica }: Life): boolean {
    if (log === null || state === null || replica === null || !this.#world.restores.active) return false
    const { applied } = state.meta
    if (replica.status().lastIndex > log.lastIndex()) return true
    // A log may begin behind what is applied, where the state was lost: asked for from further down it shows nothing.
    const from = Math.max(applied + 1, log.firstIndex())
    return (this.#look(node, () => log.entries(from, log.lastIndex() + 1, Infinity)) ?? []).some(isRestore)
  }

  #command({ node }: Victim): Uint8Array {
    const ops = [{ key: new Uint8Array(Buffer.from(`\x10${this.#random.pick(keys)}`)), value: new Uint8Array(Buffer.from('forged')) }]
    const data = encodeCommand({ timeMs: 1, sections: [{ section: new Uint8Array(1), ops }], directory: null })
    const log = node.life?.log
    const held = this.#look(node, () => log?.entries(log.firstIndex(), log.lastIndex() + 1, Infinity)) ?? []
    const genuine = held.filter(({ type }) => type === EntryType.command)
    if (genuine.length === 0 || this.#random.chance(0.3)) return data
    const { data: other } = this.#random.pick(genuine)
    // What was once said, in another place; or its MACs, over something else.
    if (this.#random.chance(0.5)) return Uint8Array.from(other)
    const { mac, prev } = macsOf(other)
    writeMacs(data, mac, prev)
    return data
  }

  #change({ node }: Victim): Uint8Array {
    const id = this.#random.pick([...this.#world.nodes.keys()])
    const put = { ...node.member(true), id, fingerprint: 'forged' }
    const steps = this.#random.pick([[{ kind: 'remove' as const, node: id }], [{ kind: 'add-voter' as const, node: id }], []])
    return encodeMembershipChange({ steps, joint: steps.length === 0 ? 'leave' : 'auto', context: encodeUpdate({ put }) })
  }

  #append(victim: Victim, type: EntryType, data: Uint8Array): void {
    const { node, replica } = victim
    const { lastIndex, term: own } = replica.status()
    const logTerm = this.#look(node, () => node.life?.log?.term(lastIndex)) ?? own
    const term = own + this.#random.pick([0, 1])
    this.#say(victim, {
      type: MessageType.append,
      term,
      logIndex: lastIndex,
      logTerm,
      commit: lastIndex + 1,
      entries: [{ index: lastIndex + 1, term, type, data }],
    })
    const after = replica.status()
    if (after.lastIndex !== lastIndex || after.term !== own) this.#believed(victim, 'an entry')
  }

  #term(victim: Victim): void {
    const { term } = victim.replica.status()
    const far = Math.min(Number.MAX_SAFE_INTEGER, term + this.#random.pick([2, 50, 2 ** 40, 2 ** 53]))
    this.#say(victim, { type: MessageType.vote, term: far, logIndex: 1_000_000, logTerm: Math.max(1, far - 1) })
    if (victim.replica.status().term > termsMax) this.#believed(victim, 'a term')
  }

  #snapshot(victim: Victim): void {
    const { applied, term } = victim.replica.status()
    const proof = this.#random.pick([null, new Uint8Array(100)])
    const header = encodeHeader({ clusterId, term: Math.max(1, term), index: applied + 5, proof })
    victim.node.life?.receiveSnapshot(victim.name, header, nothing()).then(
      () => this.#believed(victim, 'a snapshot'),
      (error: unknown) => {
        if (isHoldfastError(error, 'ERR_FRAME')) this.#believed(victim, 'the header of a snapshot')
      },
    )
  }

  #say({ node, name }: Victim, message: Omit<Message, 'version' | 'from' | 'to'>): void {
    node.life?.receive(name, { version: 1, from: name, to: node.id, ...message })
  }

  #believed({ node, name }: Victim, what: string): void {
    this.#world.fail(new OracleError(`impostor: ${node.id} believed ${what} of somebody who only called itself ${name}`))
  }

  /** Null where its disk is damaged: the node finds out by itself. */
  #look<T>(node: SimNode, look: () => T): T | null {
    const { wrongValues } = node.disk.faults
    node.disk.faults.wrongValues = 0
    try {
      return look()
    } catch {
      return null
    } finally {
      node.disk.faults.wrongValues = wrongValues
    }
  }
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}
