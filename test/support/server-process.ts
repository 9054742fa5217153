/** One `holdfast server` under a configuration of the test's own: what LocalCluster does not do, since its nodes all look alike. */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Api, type Answer } from '#cmd/dev/api.ts'

const launcher = fileURLToPath(new URL('../../cmd/holdfast.mjs', import.meta.url))
const nextRelease = fileURLToPath(new URL('./next-release.ts', import.meta.url))

/** HCL lines to add: at the top, in the listener, in storage "raft". */
export interface ExtraConfig {
  readonly top?: string
  readonly listener?: string
  readonly raft?: string
  /** Replaces `tls_disable = true`. */
  readonly tls?: string
}

export interface Ended {
  readonly code: number | null
  readonly signal: string | null
}

export class ServerProcess {
  readonly id: string
  readonly dir: string
  readonly dataDir: string
  readonly configPath: string
  readonly logPath: string
  readonly auditPath: string
  apiPort: number
  clusterPort: number
  scheme: 'http' | 'https' = 'http'
  /** Which release the next start runs: this one, or what stands for the one after it. */
  release: 'this' | 'next' = 'this'
  child: ChildProcess | null = null
  ended: Promise<Ended> = Promise.resolve({ code: null, signal: null })
  readonly #api: Api

  constructor(api: Api, dir: string, id: string, apiPort: number) {
    this.#api = api
    this.id = id
    this.dir = dir
    this.apiPort = apiPort
    this.clusterPort = apiPort + 1
    this.dataDir = join(dir, id)
    this.configPath = join(dir, `${id}.hcl`)
    this.logPath = join(dir, `${id}.log`)
    this.auditPath = join(dir, `${id}.audit.log`)
    mkdirSync(dir, { recursive: true })
    this.configure()
  }

  get apiAddress(): string {
    return `${this.scheme}://127.0.0.1:${this.apiPort}`
  }

  get clusterAddress(): string {
    return `127.0.0.1:${this.clusterPort}`
  }

  get pid(): number {
    return this.child?.pid ?? 0
  }

  /** Writes the configuration; read at the next start (or SIGHUP). */
  configure(extra: ExtraConfig = {}): void {
    this.scheme = extra.tls === undefined ? 'http' : 'https'
    const text = `api_addr     = "${this.apiAddress}"
cluster_addr = "https://${this.clusterAddress}"
${extra.top ?? ''}
listener "tcp" {
  address         = "127.0.0.1:${this.apiPort}"
  cluster_address = "${this.clusterAddress}"
  ${extra.tls ?? 'tls_disable = true'}
  ${extra.listener ?? ''}
}
storage "raft" {
  path    = "${this.dataDir}"
  node_id = "${this.id}"
  ${extra.raft ?? ''}
}
audit "file" "file" {
  options { file_path = "${this.auditPath}" }
}
`
    writeFileSync(this.configPath, text, { mode: 0o600 })
  }

  /** Starts the process; its output goes to `logPath`. It stops when the test's own process ends. */
  start(env: Readonly<Record<string, string>> = {}, args: readonly string[] = []): void {
    const log = openSync(this.logPath, 'a', 0o600)
    const child = spawn(
      process.execPath,
      [this.release === 'next' ? nextRelease : launcher, 'server', '--config', this.configPath, ...args],
      {
        stdio: ['pipe', log, log],
        env: { ...process.env, HOLDFAST_LIFELINE: 'stdin', ...env },
      },
    )
    closeSync(log)
    child.stdin?.on('error', () => {}) // The server may die first; `ended` tells.
    this.child = child
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        if (this.child === child) this.child = null
        resolve({ code, signal })
      })
    })
  }

  /** What it has written to its standard output and error so far, of all its starts. */
  log(): string {
    return existsSync(this.logPath) ? readFileSync(this.logPath, 'utf8') : ''
  }

  /** Resolves when the API answers. @throws when the process ended instead. */
  async answering(timeoutMs = 15_000): Promise<void> {
    await until(
      `${this.id} to answer`,
      async () => {
        if (this.child === null) throw new Final(`${this.id} ended before it answered: ${this.log().slice(-1_000)}`)
        return (await this.call('GET', 'sys/seal-status', { timeoutMs: 2_000 })).status === 200 ? true : null
      },
      timeoutMs,
    )
  }

  async startAndAnswer(env: Readonly<Record<string, string>> = {}): Promise<void> {
    this.start(env)
    await this.answering()
  }

  call(method: string, path: string, options: { token?: string; body?: unknown; timeoutMs?: number } = {}): Promise<Answer> {
    return this.#api.call(this.apiAddress, method, path, options)
  }

  /** Ends the process and waits for its end; after `killAfterMs` with SIGKILL. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', killAfterMs = 9_000): Promise<Ended> {
    const { child, ended } = this
    if (child === null) return ended
    child.kill(signal)
    const killer = setTimeout(() => child.kill('SIGKILL'), killAfterMs)
    const result = await ended
    clearTimeout(killer)
    return result
  }
}

/** Ends the waiting: trying again can't help. */
export class Final extends Error {}

/** On a machine that does much else at the same time: every wait is so many times as long. */
const patience = Number(process.env['HOLDFAST_PATIENCE'] ?? 1)

/** Tries every 30 ms until `attempt` gives something other than null. What it throws meanwhile (a refused connection) is kept for the message. */
export async function until<T>(what: string, attempt: () => Promise<T | null>, timeoutMs: number): Promise<T> {
  const deadline = performance.now() + timeoutMs * patience
  let last = ''
  while (performance.now() < deadline) {
    try {
      const value = await attempt()
      if (value !== null) return value
    } catch (error) {
      if (error instanceof Final) throw error
      last = (error as Error).message
    }
    await delay(30)
  }
  throw new Error(`expected ${what} within ${timeoutMs} ms, got nothing${last === '' ? '' : `; last: ${last}`}`)
}

export interface Founded {
  readonly token: string
  readonly keys: readonly string[]
  readonly threshold: number
}

/** Initialises a started server and unseals it; resolves when it serves. */
export async function found(server: ServerProcess, shares = 1, threshold = 1): Promise<Founded> {
  const answer = await server.call('POST', 'sys/init', { body: { secret_shares: shares, secret_threshold: threshold }, timeoutMs: 30_000 })
  if (answer.status !== 200) throw new Error(`init: expected status 200, got ${answer.status}: ${JSON.stringify(answer.body?.['errors'])}`)
  const init = answer.body as { keys_base64: string[]; root_token: string }
  const founded = { token: init.root_token, keys: init.keys_base64, threshold }
  await unseal(server, founded)
  await serving(server)
  return founded
}

/** Gives the server its shares. Resolves when it says that it is open. */
export async function unseal(server: ServerProcess, { keys, threshold }: Founded, timeoutMs = 15_000): Promise<void> {
  await until(
    `${server.id} to unseal`,
    async () => {
      for (const key of keys.slice(0, threshold)) {
        const answer = await server.call('POST', 'sys/unseal', { body: { key } })
        if (answer.body?.['sealed'] === false) return true
      }
      return null
    },
    timeoutMs,
  )
}

/** Resolves when the server serves, as leader or follower. */
export async function serving(server: ServerProcess, timeoutMs = 15_000): Promise<void> {
  await until(
    `${server.id} to serve`,
    async () => ((await server.call('GET', 'sys/health?standbyok=true', { timeoutMs: 2_000 })).status === 200 ? true : null),
    timeoutMs,
  )
}
