/** One member: a real server process in its place of the network, on its disk. */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Answer, Api } from '#cmd/dev/api.ts'
import { Final, until } from '#test/support/server-process.ts'
import type { AuditReader } from './audit-reader.ts'
import type { Disk } from './disk.ts'
import type { Janitor } from './janitor.ts'
import type { Place } from './network/network.ts'

export interface NodeParts {
  readonly slot: number
  readonly place: Place
  readonly disk: Disk
  readonly audit: AuditReader
  readonly api: Api
  readonly janitor: Janitor
  readonly dir: string
  readonly launcher: string
  readonly trailingEntries: number
  /** Libfaketime and the file that it reads; null where time can't be faked. */
  readonly time: { readonly library: string; readonly file: string } | null
}

export class ChaosNode {
  readonly slot: number
  readonly place: Place
  readonly disk: Disk
  readonly audit: AuditReader
  readonly logPath: string
  readonly #parts: NodeParts
  /** Changes when the member is replaced by a new one in the same place. */
  id: string
  child: ChildProcess | null = null
  /** What ended it, if not we. */
  unexpectedEnd: string | null = null
  /** A fault may make the node end by itself: then that is no failure. */
  mayEnd = false
  #generation = 1
  #ended: Promise<void> = Promise.resolve()

  constructor(parts: NodeParts) {
    this.#parts = parts
    this.slot = parts.slot
    this.place = parts.place
    this.disk = parts.disk
    this.audit = parts.audit
    this.id = `node${parts.slot + 1}`
    this.logPath = join(parts.dir, `${this.id}.log`)
    if (parts.time !== null) writeFileSync(parts.time.file, '+0\n')
  }

  get apiAddress(): string {
    return `http://${this.place.host}:${this.place.apiPort}`
  }

  get pid(): number | null {
    return this.child?.pid ?? null
  }

  get dataDir(): string {
    return join(this.disk.path, this.id)
  }

  start(): void {
    const { place, launcher, time, dir } = this.#parts
    const configPath = join(dir, `${this.id}.hcl`)
    mkdirSync(this.dataDir, { recursive: true, mode: 0o700 })
    writeFileSync(configPath, this.#configuration(), { mode: 0o600 })
    const log = openSync(this.logPath, 'a', 0o600)
    const fake = time === null ? {} : { LD_PRELOAD: time.library, FAKETIME_TIMESTAMP_FILE: time.file, ...fakeTimeOptions }
    const [program, ...args] = [...place.prefix, process.execPath, launcher, 'server', '--config', configPath]
    const child = spawn(program as string, args, {
      stdio: ['pipe', log, log],
      env: { ...process.env, HOLDFAST_LIFELINE: 'stdin', ...fake },
      // Ctrl-C is for the run, which stops the nodes in its own way.
      detached: true,
    })
    closeSync(log)
    child.stdin?.on('error', () => {}) // It may end first; `exit` tells.
    this.child = child
    this.unexpectedEnd = null
    const { janitor } = this.#parts
    // A stopped process does not see its lifeline close.
    const owed = janitor.oweKill(child.pid ?? 0)
    this.#ended = new Promise((resolve) => {
      child.once('error', () => resolve())
      child.once('exit', (code, signal) => {
        janitor.forget(owed)
        if (this.child === child) {
          this.child = null
          if (!this.mayEnd) this.unexpectedEnd = `${this.id} ended by itself: ${signal ?? `exit code ${code}`}`
        }
        resolve()
      })
    })
  }

  /** Resolves when the process is gone. Not with SIGTERM while it is stopped. */
  async end(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const { child } = this
    if (child === null) return
    this.child = null
    child.kill(signal)
    const killer = setTimeout(() => child.kill('SIGKILL'), 10_000)
    await this.#ended
    clearTimeout(killer)
  }

  signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal)
  }

  /** Another member takes this place: a new id, an empty store. The process must be gone. */
  becomeNew(): void {
    rmSync(this.dataDir, { recursive: true, force: true })
    this.#generation += 1
    this.id = `node${this.slot + 1}-${this.#generation}`
  }

  call(method: string, path: string, options: { token?: string; body?: unknown; timeoutMs?: number } = {}): Promise<Answer> {
    return this.#parts.api.call(this.apiAddress, method, path, options)
  }

  async answering(timeoutMs = 20_000): Promise<void> {
    await until(
      `${this.id} to answer`,
      async () => {
        if (this.child === null) throw new Final(`${this.id} ended before it answered: ${this.lastWords()}`)
        return (await this.call('GET', 'sys/seal-status', { timeoutMs: 2_000 })).status === 200 ? true : null
      },
      timeoutMs,
    )
  }

  async unseal(keys: readonly string[]): Promise<void> {
    await until(
      `${this.id} to unseal`,
      async () => {
        if (this.child === null) throw new Final(`${this.id} ended before it was unsealed: ${this.lastWords()}`)
        for (const key of keys) {
          const answer = await this.call('POST', 'sys/unseal', { body: { key }, timeoutMs: 5_000 })
          if (answer.body?.['sealed'] === false) return true
        }
        return null
      },
      20_000,
    )
  }

  /** 200 of its health: unsealed, and in touch with a leader. */
  async isServing(): Promise<boolean> {
    return (await this.call('GET', 'sys/health?standbyok=true', { timeoutMs: 2_000 })).status === 200
  }

  /** Its clock, as an offset to the real one. */
  setClock(offset: string): void {
    const file = this.#parts.time?.file
    if (file !== undefined) writeFileSync(file, `${offset}\n`)
  }

  /** A helper process that a fault has started: it dies with the run, whatever happens. */
  owe(pid: number): void {
    this.#parts.janitor.oweKill(pid)
  }

  lastWords(): string {
    return existsSync(this.logPath) ? readFileSync(this.logPath, 'utf8').trimEnd().split('\n').slice(-4).join(' | ') : ''
  }

  #configuration(): string {
    const { place, trailingEntries } = this.#parts
    return `api_addr     = "${this.apiAddress}"
cluster_addr = "https://${place.door.host}:${place.door.port}"
listener "tcp" {
  address         = "${place.host}:${place.apiPort}"
  cluster_address = "${place.host}:${place.clusterPort}"
  tls_disable     = true
}
storage "raft" {
  path          = "${this.dataDir}"
  node_id       = "${this.id}"
  trailing_logs = ${trailingEntries}
}
audit "file" "file" {
  options { file_path = "${this.audit.path}" }
}
`
  }
}

/** Read anew each second; the clock that timers and leases run on is left alone, as a stepped wall clock leaves it. */
const fakeTimeOptions = { FAKETIME_CACHE_DURATION: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1' }
