/**
 * Protocol stories as text: blocks of "command, ----, what it shows". Nothing moves between commands; a reader needs no TypeScript.
 *
 *   nodes a b c              a cluster of voters (log NODE TERMS... first gives one a history; set NODE TERM a hard state)
 *   elect a | campaign a     campaign until settled | only send the requests
 *   propose a TEXT           at the leader; shows what became of it
 *   deliver | deliver a>b    one hop of all messages, or of one link's | settle: until none is left
 *   tick a 5 | run 20        one clock | all clocks, delivering in between
 *   isolate c | cut a>b | heal | lose     lose: drops what is under way
 *   crash a | restart a | hold a | write a   hold: the disk of a waits for `write`
 *   change a auto +d ~e -f   + voter, ~ learner, - removal; modes auto, explicit, leave
 *   lease MS, before nodes   lease reads on such promises, with no drift | clock a 500 | clocks 500
 *   add d | snapshot a d | compact a | transfer a b | seal a | unseal a | read a 7
 *   show | membership a | messages
 */
import type { MembershipChange, MembershipStep, Message, Raft } from '#raft/index.ts'
import { Cluster, logOf, MessageType } from '#test/unit/raft/cluster.ts'

const typeNames = new Map<number, string>(Object.entries(MessageType).map(([name, type]) => [type, name]))

export class Scenario {
  #cluster = new Cluster([])
  readonly #setups: Record<string, { log?: ReturnType<typeof logOf>; hardState?: { term: number; vote: null; commit: number } }> = {}
  #promiseMs = 0
  readonly #readsShown = new Map<string, number>()

  /** Runs one command and returns what it shows, without a newline at the end. */
  run(line: string): string {
    const [command = '', ...words] = line.split(' ').filter((word) => word !== '')
    const action = this.#commands[command]
    if (action === undefined) throw new Error(`expected a command, got '${line}'`)
    return action(words) ?? 'ok'
  }

  readonly #commands: Readonly<Record<string, (words: string[]) => string | void>> = {
    nodes: (ids) => {
      const setups = Object.entries(this.#setups).map(([id, setup]) => [id, { voters: ids, ...setup }])
      const overrides = this.#promiseMs === 0 ? {} : { lease: { promiseMs: this.#promiseMs, clockDriftMax: 0 } }
      this.#cluster = new Cluster(ids, overrides, Object.fromEntries(setups))
    },
    lease: ([ms]) => {
      this.#promiseMs = Number(ms)
    },
    clock: ([id = '', ms]) => this.#setClock(id, Number(ms)),
    clocks: ([ms]) => {
      for (const id of this.#cluster.members.keys()) this.#setClock(id, Number(ms))
    },
    log: ([id = '', ...terms]) => {
      this.#setups[id] = { ...this.#setups[id], log: logOf(...terms.map(Number)) }
    },
    set: ([id = '', term]) => {
      this.#setups[id] = { ...this.#setups[id], hardState: { term: Number(term), vote: null, commit: 0 } }
    },
    add: ([id = '']) => void this.#cluster.add(id, {}),
    elect: ([id = '']) => {
      this.#cluster.elect(id)
      return this.#show()
    },
    campaign: ([id = '']) => this.#cluster.do(id, (raft) => raft.campaign()),
    propose: ([id = '', ...texts]) => {
      const result = this.#cluster.propose(id, ...texts)
      return result.ok ? `appended at ${result.index} in term ${result.term}` : `refused: ${result.reason}`
    },
    deliver: ([link]) => {
      this.#cluster.deliver((message) => link === undefined || `${message.from}>${message.to}` === link)
    },
    settle: () => {
      this.#cluster.deliverAll()
      return this.#show()
    },
    tick: ([id = '', ticks]) => this.#cluster.tick(id, Number(ticks)),
    run: ([ticks]) => {
      this.#cluster.run(Number(ticks))
      return this.#show()
    },
    isolate: ([id = '']) => this.#cluster.isolate(id),
    cut: ([link = '']) => void this.#cluster.cut.add(link),
    heal: () => this.#cluster.heal(),
    lose: () => this.#cluster.drop(),
    crash: ([id = '']) => {
      this.#cluster.node(id).down = true
    },
    restart: ([id = '']) => this.#cluster.restart(id),
    hold: ([id = '']) => {
      this.#cluster.node(id).holdPersist = true
    },
    write: ([id = '']) => this.#cluster.write(id),
    change: ([id = '', mode, ...steps]) => this.#change(id, mode as MembershipChange['joint'], steps.map(stepOf)),
    snapshot: ([from = '', to = '']) => this.#cluster.streamSnapshot(from, to),
    compact: ([id = '']) => {
      const { disk } = this.#cluster.node(id)
      disk.sync()
      disk.compact(disk.state.index)
    },
    transfer: ([id = '', to]) => this.#ask(id, (raft) => raft.transferLeadership(to ?? null).detail),
    seal: ([id = '']) => this.#cluster.do(id, (raft) => raft.setSealed(true)),
    unseal: ([id = '']) => this.#cluster.do(id, (raft) => raft.setSealed(false)),
    read: ([id = '', context]) => {
      this.#cluster.do(id, (raft) => raft.readIndex(Number(context)))
      return this.#reads(id)
    },
    reads: ([id = '']) => this.#reads(id),
    show: () => this.#show(),
    membership: ([id = '']) => this.#membership(id),
    messages: () => this.#cluster.pool.map(describe).join('\n') || 'none',
  }

  #setClock(id: string, ms: number): void {
    this.#cluster.clocks.set(id, ms)
    this.#cluster.pump(this.#cluster.node(id))
  }

  #ask(id: string, question: (raft: Raft) => string): string {
    let answer = ''
    this.#cluster.do(id, (raft) => {
      answer = question(raft)
    })
    return answer
  }

  #change(id: string, joint: MembershipChange['joint'], steps: MembershipStep[]): string {
    return this.#ask(id, (raft) => {
      const result = raft.proposeMembership({ steps, joint, context: new Uint8Array(0) })
      return result.ok ? `appended at ${result.index}` : `refused: ${result.reason}, ${result.detail}`
    })
  }

  #reads(id: string): string {
    const { reads } = this.#cluster.node(id)
    const fresh = reads.slice(this.#readsShown.get(id) ?? 0)
    this.#readsShown.set(id, reads.length)
    return (
      fresh.map(({ context, index }) => (index === null ? `${context} refused` : `${context} safe at ${index}`)).join('\n') ||
      'no answer yet'
    )
  }

  #membership(id: string): string {
    const { voters, votersOutgoing, learners, learnersNext } = this.#cluster.raft(id).status().membership
    const parts = [`voters ${voters.join(' ')}`]
    if (votersOutgoing.length > 0) parts.push(`outgoing ${votersOutgoing.join(' ')}`)
    if (learners.length > 0) parts.push(`learners ${learners.join(' ')}`)
    if (learnersNext.length > 0) parts.push(`next learners ${learnersNext.join(' ')}`)
    return parts.join(', ')
  }

  #show(): string {
    const lines = [...this.#cluster.members.values()].map(({ id, raft, disk, down }) => {
      if (down) return `${id}: down`
      const { role, term, leader, commit, applied, firstIndex, lastIndex, sealed } = raft.status()
      const terms = Array.from({ length: lastIndex - firstIndex + 1 }, (_, i) => disk.term(firstIndex + i) ?? '?')
      const log = `${firstIndex > 1 ? `..${firstIndex - 1} ` : ''}${terms.join(' ')}`
      const who = role === 'leader' ? 'leader' : `${role} of ${leader ?? 'nobody'}`
      return `${id}: ${sealed ? 'sealed ' : ''}${who}, term ${term}, log [${log}], commit ${commit}, applied ${applied}`
    })
    return lines.join('\n')
  }
}

function stepOf(word: string): MembershipStep {
  const kind = word.startsWith('+') ? 'add-voter' : word.startsWith('~') ? 'add-learner' : 'remove'
  return { kind, node: word.slice(1) }
}

function describe({ type, from, to, term, logIndex, reject, entries }: Message): string {
  const parts = [`${from}>${to} ${typeNames.get(type)} term ${term}`]
  if (logIndex !== undefined) parts.push(`at ${logIndex}`)
  if (entries !== undefined && entries.length > 0) parts.push(`entries ${entries.map((entry) => `${entry.index}/${entry.term}`).join(' ')}`)
  if (reject === true) parts.push('refused')
  return parts.join(', ')
}

/** The commands of a scenario file, in order, with the comment lines that stand before each. */
export function commandsOf(text: string): string[] {
  const blocks = text.split(/\n\n+/).map((block) => block.split('\n----\n')[0] ?? '')
  return blocks.map((block) => block.trim()).filter((block) => block !== '')
}

/** Runs a scenario's text and returns it with the outputs as they are now. */
export function replay(text: string): string {
  const scenario = new Scenario()
  const blocks = commandsOf(text).map((block) => {
    const lines = block.split('\n').filter((line) => !line.startsWith('#'))
    const outputs = lines.map((line) => scenario.run(line))
    return outputs.length === 0
      ? block
      : `${block}\n----\n${outputs.filter((output, i) => output !== 'ok' || i === outputs.length - 1).join('\n')}`
  })
  return `${blocks.join('\n\n')}\n`
}
