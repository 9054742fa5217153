/** Three servers with an auto seal: founded, killed, started again; how long each takes, and what a node says while its seal is away. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Api, type Answer } from '#cmd/dev/api.ts'
import { freePorts } from './cluster.ts'
import { found, serving, ServerProcess, unseal, until, type Founded } from './server-process.ts'

export interface AutoFounded {
  readonly token: string
  readonly recoveryKeys: readonly string[]
}

/** All that a test of one seal makes: stopped and removed by `dispose`. */
export class SealCluster {
  readonly dir: string
  readonly api = new Api(null)
  readonly nodes: ServerProcess[]
  readonly env: Record<string, string> = {}
  founded: AutoFounded = { token: '', recoveryKeys: [] }

  private constructor(dir: string, port: number, nodes: number, name: string) {
    this.dir = dir
    this.nodes = Array.from({ length: nodes }, (_, at) => new ServerProcess(this.api, dir, `${name}${at + 1}`, port + 2 * at))
  }

  static async prepare(name: string, nodes = 3): Promise<SealCluster> {
    const dir = mkdtempSync(join(tmpdir(), `holdfast-seal-${name}-`))
    return new SealCluster(dir, await freePorts(2 * nodes + 20), nodes, `${name}-`)
  }

  get first(): ServerProcess {
    const [first] = this.nodes
    if (first === undefined) throw new Error('expected a node')
    return first
  }

  /** The same seal for all; the others join the first by the seal's proof, from their configuration. */
  configure(stanza: string, nodes: readonly ServerProcess[] = this.nodes): void {
    for (const node of nodes) {
      const raft = node === this.first ? '' : `retry_join { leader_api_addr = "${this.first.apiAddress}" }`
      node.configure({ top: stanza, raft })
    }
  }

  /** Starts all, founds on the first; the rest must join and open without a hand. Seconds from init to three open nodes. */
  async found(body: Record<string, unknown> = { recovery_shares: 3, recovery_threshold: 2 }): Promise<number> {
    await Promise.all(this.nodes.map((node) => node.startAndAnswer(this.env)))
    const started = performance.now()
    const answer = await this.first.call('POST', 'sys/init', { body, timeoutMs: 60_000 })
    if (answer.status !== 200) throw new Error(`init: expected 200, got ${answer.status}: ${JSON.stringify(answer.body)}`)
    const made = answer.body as { root_token: string; recovery_keys_base64?: string[]; keys: string[] }
    if (made.keys.length > 0) throw new Error('expected no unseal keys with an auto seal')
    this.founded = { token: made.root_token, recoveryKeys: made.recovery_keys_base64 ?? [] }
    await this.allServe()
    return seconds(started)
  }

  /** Founds with shares, and gives every node enough of them. */
  async foundByShares(shares: number, threshold: number): Promise<Founded> {
    await Promise.all(this.nodes.map((node) => node.startAndAnswer(this.env)))
    const founded = await found(this.first, shares, threshold)
    this.founded = { token: founded.token, recoveryKeys: [] }
    for (const node of this.nodes.slice(1)) {
      const known = async (): Promise<true | null> => ((await this.sealStatus(node)).body?.['initialized'] === true ? true : null)
      await until(`${node.id} to have heard of the seal`, known, 15_000)
      await unseal(node, founded)
    }
    await this.allServe()
    return founded
  }

  async allServe(timeoutMs = 45_000): Promise<void> {
    await Promise.all(this.nodes.map((node) => serving(node, timeoutMs)))
  }

  async mountKv(): Promise<void> {
    const body = { type: 'kv', options: { version: '2' } }
    const answer = await this.first.call('POST', 'sys/mounts/secret', { token: this.founded.token, body })
    if (answer.status !== 204) throw new Error(`mount: got ${answer.status}`)
  }

  async put(value: string, node = this.first): Promise<number> {
    const answer = await node.call('POST', 'secret/data/marked', {
      token: this.founded.token,
      body: { data: { value } },
      timeoutMs: 10_000,
    })
    return answer.status
  }

  async value(node: ServerProcess): Promise<unknown> {
    const answer = await node.call('GET', 'secret/data/marked', { token: this.founded.token, timeoutMs: 10_000 })
    return (answer.body?.['data'] as { data?: { value?: unknown } } | undefined)?.data?.value
  }

  /** kill -9 of all at once. */
  async killAll(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop('SIGKILL')))
  }

  /** Starts all again; seconds until each serves, with nobody's help. */
  async restartAll(): Promise<number> {
    const started = performance.now()
    await Promise.all(this.nodes.map((node) => node.startAndAnswer(this.env)))
    await this.allServe()
    return seconds(started)
  }

  sealStatus(node: ServerProcess): Promise<Answer> {
    return node.call('GET', 'sys/seal-status')
  }

  /** Resolves with the warning that `node` gives for being sealed, once it matches. */
  saysWhy(node: ServerProcess, expected: RegExp, timeoutMs = 40_000): Promise<string> {
    return until(
      `${node.id} to say ${expected}`,
      async () => {
        const { body } = await this.sealStatus(node)
        const warning = ((body?.['warnings'] ?? []) as string[]).join('; ')
        return body?.['sealed'] === true && expected.test(warning) ? warning : null
      },
      timeoutMs,
    )
  }

  /**
   * Starts `node` with a seal that does not open, and again with one that does: seconds from each start until it says why, and until it serves. `mend` runs in
   * between.
   */
  async wrongThenRight(node: ServerProcess, wrong: string, right: string, expected: RegExp, mend: () => void | Promise<void> = () => {}) {
    await node.stop()
    this.configure(wrong, [node])
    const wrongSince = performance.now()
    await node.startAndAnswer(this.env)
    await this.saysWhy(node, expected)
    const named = seconds(wrongSince)
    await node.stop()
    await mend()
    this.configure(right, [node])
    const rightSince = performance.now()
    await node.startAndAnswer(this.env)
    await serving(node, 45_000)
    return { wrong_key_named_after_seconds: named, right_key_serves_after_seconds: seconds(rightSince) }
  }

  /** The log is written after the status has changed. */
  async logs(node: ServerProcess, expected: RegExp): Promise<void> {
    await until(`${node.id} to log ${expected}`, async () => (expected.test(node.log()) ? true : null), 5_000)
  }

  async dispose(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop('SIGKILL')))
    await this.api.close()
    if (process.env['HOLDFAST_KEEP'] === undefined) rmSync(this.dir, { recursive: true, force: true })
    else console.log(`kept ${this.dir}`)
  }
}

export const seconds = (sinceMs: number): number => Math.round((performance.now() - sinceMs) / 10) / 100
