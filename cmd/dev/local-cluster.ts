/**
 * A cluster of separate server processes on loopback: what `npm start` shows to a newcomer and what the end-to-end tests break.
 * It writes each node's configuration, starts and stops processes by pid, initialises, joins and unseals. Files beside the data:
 * NODE.hcl, NODE.log, NODE.audit.log, and the development key file, which no production cluster has.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Api } from './api.ts'
import { writeApiCertificates } from './certificates.ts'

export interface LocalClusterOptions {
  readonly nodes: number
  /** API port of the first node; node i has apiPort + 10*i, and its cluster port is one above. */
  readonly apiPort: number
  readonly dataDir: string
  readonly tls: boolean
  /** false: no audit device (measurements). */
  readonly audit?: boolean
  /** Added verbatim to every node's configuration (tests). */
  readonly extraConfig?: string
  /** Runs each server under this program, e.g. GNU time (measurements). It must hand standard input on. */
  readonly under?: readonly string[]
  /** Progress for a human. */
  readonly say?: (line: string) => void
}

export interface LocalNode {
  readonly id: string
  readonly apiAddress: string
  readonly clusterAddress: string
  readonly dataDir: string
  readonly configPath: string
  readonly logPath: string
  readonly auditPath: string
  process: ChildProcess | null
}

export interface DevelopmentKeys {
  readonly root_token: string
  readonly unseal_keys_b64: readonly string[]
  readonly unseal_keys_hex: readonly string[]
  readonly threshold: number
}

const launcher = fileURLToPath(new URL('../holdfast.mjs', import.meta.url))
const shares = 5
const threshold = 3

export class LocalCluster {
  readonly nodes: readonly LocalNode[]
  readonly options: LocalClusterOptions
  readonly caPath: string | null
  readonly keysPath: string
  readonly api: Api
  #keys: DevelopmentKeys | null = null
  #onExit: ((node: LocalNode, code: number | null, signal: string | null) => void) | null = null
  readonly #stopping = new Set<LocalNode>()

  private constructor(options: LocalClusterOptions, caPath: string | null) {
    this.options = { ...options, dataDir: resolve(options.dataDir) }
    this.caPath = caPath
    this.keysPath = join(this.options.dataDir, 'development-keys.json')
    this.api = new Api(caPath)
    const scheme = options.tls ? 'https' : 'http'
    this.nodes = Array.from({ length: options.nodes }, (_, i) => {
      const id = `node${i + 1}`
      const port = options.apiPort + 10 * i
      return {
        id,
        apiAddress: `${scheme}://127.0.0.1:${port}`,
        clusterAddress: `https://127.0.0.1:${port + 1}`,
        dataDir: join(this.options.dataDir, id),
        configPath: join(this.options.dataDir, `${id}.hcl`),
        logPath: join(this.options.dataDir, `${id}.log`),
        auditPath: join(this.options.dataDir, `${id}.audit.log`),
        process: null,
      }
    })
  }

  /**
   * Prepares folders, certificates and configurations; starts nothing.
   * @throws Error with a sentence for the operator: an unwritable folder, a taken port.
   */
  static async prepare(options: LocalClusterOptions): Promise<LocalCluster> {
    const dataDir = resolve(options.dataDir)
    try {
      mkdirSync(dataDir, { recursive: true, mode: 0o700 })
      writeFileSync(join(dataDir, '.writable'), '')
    } catch (error) {
      throw new Error(`expected a writable folder, got ${dataDir}: ${(error as NodeJS.ErrnoException).code ?? 'not writable'}`, {
        cause: error,
      })
    }
    const caPath = options.tls ? await writeApiCertificates(join(dataDir, 'tls')) : null
    const cluster = new LocalCluster(options, caPath)
    if (cluster.hasKeys) cluster.#expectSameLayout()
    for (const node of cluster.nodes) {
      for (const address of [node.apiAddress, node.clusterAddress]) await expectFreePort(Number(new URL(address).port))
      writeFileSync(node.configPath, cluster.#configuration(node), { mode: 0o600 })
    }
    return cluster
  }

  get keys(): DevelopmentKeys {
    if (this.#keys === null) throw new Error('expected an initialised cluster; call start() first')
    return this.#keys
  }

  get rootToken(): string {
    return this.keys.root_token
  }

  /** Was this folder's cluster initialised by an earlier start? */
  get hasKeys(): boolean {
    return existsSync(this.keysPath)
  }

  onExit(listener: (node: LocalNode, code: number | null, signal: string | null) => void): void {
    this.#onExit = listener
  }

  /** The members know each other by their addresses: on other ports, or as more or fewer, they would wait for each other for ever. */
  #expectSameLayout(): void {
    const earlier = readdirSync(this.options.dataDir)
      .filter((name) => /^node\d+\.hcl$/.test(name))
      .map((name) => /^api_addr *= *"(.*)"$/m.exec(readFileSync(join(this.options.dataDir, name), 'utf8'))?.[1] ?? 'an unknown address')
      .toSorted()
    const now = this.nodes.map((node) => node.apiAddress).toSorted()
    if (earlier.join() === now.join()) return
    throw new Error(
      `expected the nodes that ${this.options.dataDir} was made with (${earlier.join(', ')}), got ${now.join(', ')}\n` +
        'hint: give the same --nodes, --api-port and --tls as at its first start, or another folder by --data',
    )
  }

  /** Starts every node, initialises on the first start (else unseals with the key file), and resolves when all serve. */
  async start(): Promise<void> {
    const say = this.options.say ?? (() => {})
    const first = !this.hasKeys
    for (const node of this.nodes) this.spawn(node)
    await Promise.all(this.nodes.map((node) => this.waitForAnswer(node)))
    if (first) await this.#initialise(say)
    else {
      this.#keys = JSON.parse(readFileSync(this.keysPath, 'utf8')) as DevelopmentKeys
      say(`found data of an earlier start: unsealing with ${this.keysPath} (for development only)`)
      await Promise.all(this.nodes.map((node) => this.unseal(node)))
    }
    await this.waitUntilServing()
  }

  async #initialise(say: (line: string) => void): Promise<void> {
    const [leader, ...others] = this.nodes
    if (leader === undefined) throw new Error('expected at least one node')
    const answer = await this.api.call(leader.apiAddress, 'POST', 'sys/init', {
      body: { secret_shares: shares, secret_threshold: threshold },
      timeoutMs: 30_000,
    })
    if (answer.status !== 200)
      throw new Error(`init: expected status 200, got ${answer.status}: ${JSON.stringify(answer.body?.['errors'])}`)
    const init = answer.body as { keys: string[]; keys_base64: string[]; root_token: string }
    this.#keys = { root_token: init.root_token, unseal_keys_b64: init.keys_base64, unseal_keys_hex: init.keys, threshold }
    writeFileSync(this.keysPath, `${JSON.stringify(this.#keys, null, 2)}\n`, { mode: 0o600 })
    chmodSync(this.keysPath, 0o600)
    say(`initialised on ${leader.id}: ${shares} unseal shares, threshold ${threshold}`)
    await this.unseal(leader)
    for (const node of others) {
      await this.join(node, leader)
      say(`${node.id} joined`)
    }
    await Promise.all(others.map((node) => this.unseal(node)))
  }

  /** Joins `node` to the cluster that `leader` serves, by a one-time token. */
  async join(node: LocalNode, leader: LocalNode): Promise<void> {
    const token = await this.#until('a join token', async () => {
      const answer = await this.api.call(leader.apiAddress, 'POST', 'sys/storage/raft/join-token', {
        token: this.rootToken,
        body: { ttl: '5m' },
      })
      return (answer.body?.['data'] as { token?: string } | undefined)?.token ?? null
    })
    await this.#until(`${node.id} to join`, async () => {
      const answer = await this.api.call(node.apiAddress, 'POST', 'sys/storage/raft/join', {
        body: {
          leader_api_addr: leader.apiAddress,
          token,
          ...(this.caPath === null ? {} : { leader_ca_cert: readFileSync(this.caPath, 'utf8') }),
        },
        timeoutMs: 30_000,
      })
      if (answer.status === 200) return true
      throw new Error(`join of ${node.id}: expected status 200, got ${answer.status}: ${JSON.stringify(answer.body?.['errors'])}`)
    })
  }

  /** Starts one node's process; its output goes to its log file. */
  spawn(node: LocalNode): void {
    const log = openSync(node.logPath, 'a', 0o600)
    // Standard input is a lifeline: when this process dies, however it dies, the pipe closes and the node stops.
    const [program, ...rest] = [...(this.options.under ?? []), process.execPath, launcher, 'server', '--config', node.configPath]
    const child = spawn(program as string, rest, {
      stdio: ['pipe', log, log],
      env: { ...process.env, HOLDFAST_LIFELINE: 'stdin' },
    })
    closeSync(log)
    child.stdin?.on('error', () => {}) // The node may die first; its exit is reported below.
    node.process = child
    this.#stopping.delete(node)
    child.on('exit', (code, signal) => {
      if (node.process === child) node.process = null
      if (!this.#stopping.has(node)) this.#onExit?.(node, code, signal)
    })
  }

  /** Gives `node` as many shares as it needs. Returns when it says that it is unsealed. */
  async unseal(node: LocalNode): Promise<void> {
    await this.#until(`${node.id} to unseal`, async () => {
      for (const key of this.keys.unseal_keys_b64.slice(0, threshold)) {
        const answer = await this.api.call(node.apiAddress, 'POST', 'sys/unseal', { body: { key } })
        if (answer.status === 200 && answer.body?.['sealed'] === false) return true
      }
      return null
    })
  }

  async waitForAnswer(node: LocalNode): Promise<void> {
    await this.#until(`${node.id} to answer`, async () => {
      if (node.process === null) throw new Stop(`${node.id} ended before it answered; see ${node.logPath}`)
      const answer = await this.api.call(node.apiAddress, 'GET', 'sys/seal-status', { timeoutMs: 2_000 })
      return answer.status === 200 ? true : null
    })
  }

  async waitUntilServing(nodes: readonly LocalNode[] = this.nodes, timeoutMs = 30_000): Promise<void> {
    for (const node of nodes) {
      await this.#until(
        `${node.id} to serve`,
        async () => {
          const answer = await this.api.call(node.apiAddress, 'GET', 'sys/health?standbyok=true', { timeoutMs: 2_000 })
          return answer.status === 200 ? true : null
        },
        timeoutMs,
      )
    }
  }

  /** The node that says that it leads; null when none does just now. */
  async leader(): Promise<LocalNode | null> {
    for (const node of this.nodes) {
      if (node.process === null) continue
      try {
        const answer = await this.api.call(node.apiAddress, 'GET', 'sys/leader', { timeoutMs: 1_000 })
        if (answer.body?.['is_self'] === true) return node
      } catch {
        continue // A node that does not answer does not lead; the next one is asked.
      }
    }
    return null
  }

  /** Sends a signal; resolves when the process has ended. SIGKILL is not announced. */
  async stopNode(node: LocalNode, signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const child = node.process
    if (child === null) return
    this.#stopping.add(node)
    const ended = once(child, 'exit')
    child.kill(signal)
    const killer = setTimeout(() => child.kill('SIGKILL'), 7_000)
    await ended
    clearTimeout(killer)
    node.process = null
  }

  /** Closes the lifeline, as the end of this process would; resolves when the process has ended. */
  async releaseNode(node: LocalNode): Promise<void> {
    const child = node.process
    if (child === null) return
    this.#stopping.add(node)
    const ended = once(child, 'exit')
    child.stdin?.end()
    await ended
    node.process = null
  }

  /** Stops all nodes within 8 s, the last resort being SIGKILL. */
  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => this.stopNode(node)))
    await this.api.close()
  }

  /** What `--cluster-json` writes. */
  describe(): object {
    return {
      nodes: this.nodes.map((node) => ({
        node_id: node.id,
        api_address: node.apiAddress,
        cluster_address: node.clusterAddress,
        data_dir: node.dataDir,
        log_file: node.logPath,
        audit_file: node.auditPath,
        pid: node.process?.pid ?? null,
      })),
      ca_cert_path: this.caPath,
      root_token: this.keys.root_token,
      unseal_keys_b64: this.keys.unseal_keys_b64,
    }
  }

  /** Tries until `attempt` gives something; refusals to connect are expected while a node starts. */
  async #until<T>(what: string, attempt: () => Promise<T | null>, timeoutMs = 30_000): Promise<T> {
    const deadline = performance.now() + timeoutMs
    let last: unknown = null
    while (performance.now() < deadline) {
      try {
        const value = await attempt()
        if (value !== null) return value
      } catch (error) {
        if (error instanceof Stop) throw error
        last = error
      }
      await delay(50)
    }
    throw new Error(`waited ${timeoutMs / 1_000} s for ${what}${last instanceof Error ? `; last: ${last.message}` : ''}`)
  }

  #configuration(node: LocalNode): string {
    const api = new URL(node.apiAddress)
    const cluster = new URL(node.clusterAddress)
    const tls =
      this.caPath === null
        ? '  tls_disable     = true'
        : `  tls_cert_file   = "${join(this.options.dataDir, 'tls', 'server.crt')}"\n  tls_key_file    = "${join(this.options.dataDir, 'tls', 'server.key')}"`
    return `# Written by the development cluster at every start.
api_addr     = "${node.apiAddress}"
cluster_addr = "${node.clusterAddress}"
cluster_name = "development"

listener "tcp" {
  address         = "${api.host}"
  cluster_address = "${cluster.host}"
${tls}
}

storage "raft" {
  path    = "${node.dataDir}"
  node_id = "${node.id}"
}

${this.options.audit === false ? '' : auditOf(node)}
${this.options.extraConfig ?? ''}`
  }
}

const auditOf = (node: LocalNode): string => `audit "file" "file" {
  options {
    file_path = "${node.auditPath}"
  }
}`

/** Ends the waiting: trying again cannot help. */
class Stop extends Error {}

async function expectFreePort(port: number): Promise<void> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  } catch (error) {
    throw new Error(
      `expected port ${port} on 127.0.0.1 to be free, got ${(error as NodeJS.ErrnoException).code ?? 'an error'}\n` +
        'hint: is a cluster running already? A second one needs ports and a folder of its own: npm start -- --api-port 9200 --data second',
      { cause: error },
    )
  } finally {
    server.close()
  }
}
