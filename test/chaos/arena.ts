/** The cluster of a run, and what faults may do to it. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Api } from '#cmd/dev/api.ts'
import { until } from '#test/support/server-process.ts'
import { Prng } from '#test/sim/prng.ts'
import { AuditReader } from './audit-reader.ts'
import { Disk } from './disk.ts'
import type { Janitor } from './janitor.ts'
import type { Machine } from './machine.ts'
import { Network } from './network/network.ts'
import { ChaosNode } from './node.ts'

export interface ArenaOptions {
  readonly nodes: number
  readonly run: string
  readonly dir: string
  readonly launcher: string
  readonly seed: number
  readonly machine: Machine
  readonly janitor: Janitor
}

/** Few, so that a node that was away for some seconds needs a snapshot. */
const trailingEntries = 400
const shares = 3
const threshold = 2
const recoverMsMax = 60_000

export class Arena {
  readonly nodes: ChaosNode[] = []
  readonly options: ArenaOptions
  readonly api = new Api(null)
  network!: Network
  token = ''
  #keys: readonly string[] = []

  private constructor(options: ArenaOptions) {
    this.options = options
  }

  /** A cluster that serves, with both kinds of kv mounted. */
  static async make(options: ArenaOptions): Promise<Arena> {
    const arena = new Arena(options)
    const { nodes, run, dir, launcher, seed, machine, janitor } = options
    const pidOf = (slot: number): number | null => arena.nodes[slot]?.pid ?? null
    arena.network = await Network.make({ slots: nodes, run, machine, janitor, dice: new Prng(seed + 1), pidOf })
    for (const [slot, place] of arena.network.places.entries()) {
      const own = join(dir, `slot${slot + 1}`)
      mkdirSync(own, { recursive: true })
      const kind = machine.powerCut === null ? 'power' : machine.mounts === null ? 'tmpfs' : 'folder'
      const disk = await Disk.make(kind, own, janitor)
      const audit = new AuditReader(join(own, 'audit.fifo'), janitor)
      const time = machine.fakeTimeLibrary === null ? null : { library: machine.fakeTimeLibrary, file: join(own, 'clock') }
      arena.nodes.push(new ChaosNode({ slot, place, disk, audit, api: arena.api, janitor, dir, launcher, trailingEntries, time }))
    }
    await arena.#found()
    return arena
  }

  /** Who says that it leads; null when nobody does just now. */
  async findLeader(): Promise<ChaosNode | null> {
    const answers = await Promise.all(
      this.nodes.map(async (node) => {
        const answer = await node.call('GET', 'sys/leader', { timeoutMs: 1_000 }).catch(() => null)
        return answer?.body?.['is_self'] === true ? node : null
      }),
    )
    return answers.find((node) => node !== null) ?? null
  }

  leader(timeoutMs = 20_000): Promise<ChaosNode> {
    return until('a leader', () => this.findLeader(), timeoutMs)
  }

  /** A node by the dice: as often the leader as not. */
  async victim(dice: Prng): Promise<ChaosNode> {
    const wantsLeader = dice.chance(0.5)
    const other = dice.pick(this.nodes)
    return wantsLeader ? ((await this.findLeader()) ?? other) : other
  }

  others(node: ChaosNode): ChaosNode[] {
    return this.nodes.filter((other) => other !== node)
  }

  /** Starts what is not running, and unseals what answers. */
  async startAndUnseal(node: ChaosNode): Promise<void> {
    if (node.child === null) node.start()
    await node.answering()
    await node.unseal(this.#keys)
  }

  /** Back to a calm cluster in which every node serves. @throws when it does not come to that. */
  async recover(): Promise<void> {
    this.network.calm()
    for (const node of this.nodes) {
      node.audit.goOn()
      node.signal('SIGCONT')
    }
    await Promise.all(this.nodes.map((node) => this.startAndUnseal(node)))
    for (const node of this.nodes)
      await until(`${node.id} to serve again`, async () => ((await node.isServing()) ? true : null), recoverMsMax)
    for (const node of this.nodes) node.mayEnd = false
  }

  async call(node: ChaosNode, method: string, path: string, body?: unknown, timeoutMs = 10_000): ReturnType<Api['call']> {
    return node.call(method, path, { token: this.token, body, timeoutMs })
  }

  async join(node: ChaosNode, member: ChaosNode): Promise<void> {
    const token = await until(
      'a join token',
      async () => {
        const answer = await this.call(member, 'POST', 'sys/storage/raft/join-token', { ttl: '5m' })
        return (answer.body?.['data'] as { token?: string } | undefined)?.token ?? null
      },
      20_000,
    )
    const answer = await node.call('POST', 'sys/storage/raft/join', {
      body: { leader_api_addr: member.apiAddress, token },
      timeoutMs: 30_000,
    })
    if (answer.status !== 200) throw new Error(`join of ${node.id}: expected 200, got ${answer.status}: ${JSON.stringify(answer.body)}`)
    await node.unseal(this.#keys)
  }

  /** Resolves when as many voters as nodes are in the configuration. */
  async allVote(timeoutMs = 30_000): Promise<void> {
    await until(
      'every node to vote',
      async () => {
        const leader = await this.leader()
        const answer = await this.call(leader, 'GET', 'sys/storage/raft/configuration')
        const data = answer.body?.['data'] as { config?: { servers?: { voter: boolean }[] } } | undefined
        const voters = data?.config?.servers?.filter(({ voter }) => voter).length
        return voters === this.nodes.length ? true : null
      },
      timeoutMs,
    )
  }

  async stop(): Promise<void> {
    for (const node of this.nodes) node.mayEnd = true
    await Promise.all(this.nodes.map((node) => node.end()))
    this.network.close()
    await this.api.close()
  }

  async #found(): Promise<void> {
    const [first, ...others] = this.nodes as [ChaosNode, ...ChaosNode[]]
    for (const node of this.nodes) node.start()
    await Promise.all(this.nodes.map((node) => node.answering()))
    const answer = await first.call('POST', 'sys/init', { body: { secret_shares: shares, secret_threshold: threshold }, timeoutMs: 30_000 })
    if (answer.status !== 200) throw new Error(`init: expected 200, got ${answer.status}: ${JSON.stringify(answer.body?.['errors'])}`)
    const init = answer.body as { keys_base64: string[]; root_token: string }
    this.token = init.root_token
    this.#keys = init.keys_base64.slice(0, threshold)
    await first.unseal(this.#keys)
    await until('the first node to serve', async () => ((await first.isServing()) ? true : null), 20_000)
    for (const node of others) await this.join(node, first)
    await this.allVote()
    await this.#mount('secret', '2')
    await this.#mount('plain', '1')
    await this.#expect('secret/config', { max_versions: 5_000 })
    await this.#passwords()
    await this.recover()
    // The first reads after a mount are answered by nodes that have it: the mount was applied everywhere when all serve; one round more is cheap.
    await delay(200)
  }

  /** What the flood of logins tries to log in to. A lock would spare the server the hash after five tries, and that is not the worst. */
  async #passwords(): Promise<void> {
    await this.#expect('sys/auth/userpass', { type: 'userpass', config: { user_lockout_config: { lockout_disable: true } } })
    await this.#expect('auth/userpass/users/chaos', { password: 'not that one' })
  }

  async #mount(path: string, version: string): Promise<void> {
    await this.#expect(`sys/mounts/${path}`, { type: 'kv', options: { version } })
  }

  async #expect(path: string, body: unknown): Promise<void> {
    const answer = await this.call(this.nodes[0] as ChaosNode, 'POST', path, body)
    if (answer.status >= 300) throw new Error(`${path}: expected 2xx, got ${answer.status}: ${JSON.stringify(answer.body?.['errors'])}`)
  }
}
