/**
 * Drives one server with one kind of work for some seconds: over so many connections, each sending when it was answered (closed), or at a rate
 * whatever the answers do (open). Connections are opened anew for each run: while the other side of a comparison has its turn, a server may close
 * those that are idle.
 */
import { Connection, endpointOf, type Answer } from './http1.ts'
import { Latencies } from './latency.ts'
import { diskFlushes } from './disk.ts'
import { cpuMicros, residentMib, threadMicros, type ServerProcess } from './processes.ts'

/** Requests of one kind; what a connection has to remember, it keeps by the connection's number. */
export interface Work {
  readonly name: string
  /** The next request of connection `at`. */
  next(at: number): string
  /** What connection `at` was answered; false: it counts as an error. Without it: 2xx. */
  answered?(at: number, answer: Answer): boolean
}

export interface Drive {
  /** Dealt to the connections in turn. */
  readonly addresses: readonly string[]
  readonly ca: Buffer | null
  readonly work: Work
  readonly connections: number
  readonly warmUpMs: number
  readonly runMs: number
  /** Requests a second of all connections together; null: closed. */
  readonly rate: number | null
  readonly processes: readonly ServerProcess[]
  /** Whose disk's flushes are counted; null: no disk of this machine. */
  readonly dataDir: string | null
  /** Stops sooner, after so many answers (loading). */
  readonly countMax?: number
  readonly onProgress?: (done: number) => void
}

export interface ProcessShare {
  readonly name: string
  /** Of one core. */
  readonly cores: number
  /** By the name of a kind of thread, of one core; empty: unknown. */
  readonly threads: ReadonlyMap<string, number>
  readonly resident: { readonly all: number; readonly files: number } | null
}

export interface Driven {
  readonly requests: number
  readonly errors: Readonly<Record<string, number>>
  readonly seconds: number
  readonly perSecond: number
  readonly latencies: Latencies
  /** What a request was expected to take when correcting (closed), in milliseconds; null where latency counts from when it was due. */
  readonly expectedMs: number | null
  /** How late the generator itself was, at a rate. */
  readonly lateness: Latencies
  /** Requests due that had found no free connection by the end. */
  readonly backlog: number
  readonly servers: readonly ProcessShare[]
  readonly generatorCores: number
  /** Of the whole machine's disk; null: unknown. */
  readonly flushes: number | null
}

/** How long an answer may take once the time is up. */
const drainMsMax = 10_000
/** So many failures without one success end the run: the set-up is wrong, not the server slow. */
const failuresMax = 200
const connectAtOnce = 64

interface Lane {
  readonly at: number
  readonly connection: Connection
  /** When the request that it waits for was sent, or due; NaN: it waits for none. */
  sinceMs: number
}

/** @throws Error where nothing answers, or nothing but errors comes back. */
export async function drive(options: Drive): Promise<Driven> {
  const driver = new Driver(options)
  try {
    await driver.open()
    return await driver.run()
  } finally {
    driver.close()
  }
}

class Driver {
  readonly #options: Drive
  readonly #lanes: Lane[] = []
  readonly #free: Lane[] = []
  readonly #errors: Record<string, number> = {}
  #phase: 'warm-up' | 'measured' | 'drained' = 'warm-up'
  #latencies = new Latencies()
  #lateness = new Latencies()
  #expectedMs = 0
  #answers = 0
  #succeeded = 0
  #failed = 0
  #startMs = 0
  #dealt = 0
  #waiting = 0
  #fatal: Error | null = null
  #wake: (() => void) | null = null

  constructor(options: Drive) {
    this.#options = options
  }

  async open(): Promise<void> {
    const { addresses, ca, connections } = this.#options
    const endpoints = addresses.map((address) => endpointOf(address, ca))
    for (let at = 0; at < connections; at += 1) {
      const lane: Lane = {
        at,
        connection: new Connection(
          endpoints[at % endpoints.length]!,
          (answer) => this.#onAnswer(lane, answer),
          (error) => this.#onBroken(lane, error),
        ),
        sinceMs: Number.NaN,
      }
      this.#lanes.push(lane)
    }
    for (let from = 0; from < connections; from += connectAtOnce) {
      await Promise.all(this.#lanes.slice(from, from + connectAtOnce).map((lane) => lane.connection.open()))
    }
  }

  close(): void {
    this.#phase = 'drained'
    for (const lane of this.#lanes) lane.connection.close()
  }

  async run(): Promise<Driven> {
    const { warmUpMs, runMs, rate, processes, dataDir } = this.#options
    this.#startMs = performance.now()
    if (rate === null) for (const lane of this.#lanes) this.#send(lane, this.#startMs)
    else this.#free.push(...this.#lanes)
    await this.#pass(warmUpMs)
    this.#expectedMs = rate === null ? this.#latencies.at(0.5) : 0
    this.#latencies = new Latencies()
    this.#lateness = new Latencies()
    for (const status of Object.keys(this.#errors)) delete this.#errors[status]
    this.#answers = 0
    this.#phase = 'measured'
    const before = processes.map(({ pid }) => cpuMicros(pid))
    const threadsBefore = processes.map(({ pid }) => threadMicros(pid))
    const own = process.cpuUsage()
    const flushed = dataDir === null ? null : diskFlushes(dataDir)
    const fromMs = performance.now()
    await this.#pass(runMs)
    const elapsedMs = performance.now() - fromMs
    const { user, system } = process.cpuUsage(own)
    const requests = this.#answers
    const nowFlushed = dataDir === null ? null : diskFlushes(dataDir)
    const cores = (micros: number): number => Math.round(micros / elapsedMs) / 1_000
    const servers = processes.map(({ name, pid }, i) => {
      const [used, start] = [cpuMicros(pid), before[i] ?? null]
      const threads = [...threadMicros(pid)].map(([kind, micros]) => [kind, cores(micros - (threadsBefore[i]?.get(kind) ?? 0))] as const)
      return {
        name,
        cores: used === null || start === null ? Number.NaN : cores(used - start),
        threads: new Map(threads),
        resident: residentMib(pid),
      }
    })
    this.#phase = 'drained'
    await this.#drain()
    return {
      requests,
      errors: { ...this.#errors },
      seconds: elapsedMs / 1_000,
      perSecond: (requests * 1_000) / elapsedMs,
      latencies: this.#latencies,
      expectedMs: rate === null ? this.#expectedMs : null,
      lateness: this.#lateness,
      backlog: Math.max(0, this.#waiting),
      servers,
      generatorCores: cores(user + system),
      flushes: flushed === null || nowFlushed === null ? null : nowFlushed - flushed,
    }
  }

  /** Lets `ms` pass, sending what falls due. */
  async #pass(ms: number): Promise<void> {
    const end = performance.now() + ms
    const { onProgress, rate, countMax = Number.POSITIVE_INFINITY } = this.#options
    let nextWord = performance.now() + 1_000
    for (let now = performance.now(); now < end && this.#succeeded < countMax; now = performance.now()) {
      if (this.#fatal !== null) throw this.#fatal
      if (rate !== null) this.#deal(now)
      if (now >= nextWord) {
        onProgress?.(this.#succeeded)
        nextWord += 1_000
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, rate === null ? Math.min(100, end - now) : 1)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    this.#wake = null
    if (this.#fatal !== null) throw this.#fatal
  }

  /** Open loop: whatever is due by `now` goes to free connections; the rest waits, its latency growing. */
  #deal(now: number): void {
    const rate = this.#options.rate ?? 0
    const due = Math.floor(((now - this.#startMs) * rate) / 1_000)
    this.#waiting = due - this.#dealt
    while (this.#waiting > 0) {
      const lane = this.#free.pop()
      if (lane === undefined) return
      const dueMs = this.#startMs + (this.#dealt * 1_000) / rate
      this.#dealt += 1
      this.#waiting -= 1
      this.#lateness.record(now - dueMs)
      this.#send(lane, dueMs)
    }
  }

  #send(lane: Lane, sinceMs: number): void {
    lane.sinceMs = sinceMs
    lane.connection.send(this.#options.work.next(lane.at))
  }

  #onAnswer(lane: Lane, answer: Answer): void {
    const now = performance.now()
    const { work, rate, countMax = Number.POSITIVE_INFINITY } = this.#options
    const took = now - lane.sinceMs
    lane.sinceMs = Number.NaN
    const good = work.answered === undefined ? answer.status >= 200 && answer.status < 300 : work.answered(lane.at, answer)
    if (good) {
      this.#succeeded += 1
      if (this.#phase !== 'drained') this.#answers += 1
      if (rate === null) this.#latencies.recordCorrected(took, this.#expectedMs)
      else this.#latencies.record(took)
    } else this.#fail(String(answer.status), textOf(answer))
    if (this.#phase === 'drained' || this.#fatal !== null) return
    if (this.#succeeded >= countMax) return this.#wake?.()
    if (!lane.connection.isOpen) return this.#reopen(lane)
    this.#again(lane, now)
  }

  #again(lane: Lane, now: number): void {
    if (this.#options.rate === null) return this.#send(lane, now)
    this.#free.push(lane)
    this.#deal(now)
  }

  #onBroken(lane: Lane, error: Error): void {
    if (this.#phase === 'drained') return
    if (!Number.isNaN(lane.sinceMs)) this.#fail('broken', error.message)
    lane.sinceMs = Number.NaN
    // A free lane of an open loop is in the list; it is opened anew when it is next used, through the failure of its send.
    this.#reopen(lane)
  }

  #reopen(lane: Lane): void {
    const listed = this.#free.indexOf(lane)
    if (listed >= 0) this.#free.splice(listed, 1)
    if (this.#fatal !== null) return
    lane.connection.open().then(
      () => {
        if (this.#phase === 'drained') lane.connection.close()
        else this.#again(lane, performance.now())
      },
      (error: unknown) => this.#stop(error as Error),
    )
  }

  #fail(status: string, said: string): void {
    this.#errors[status] = (this.#errors[status] ?? 0) + 1
    this.#failed += 1
    if (this.#failed >= failuresMax && this.#succeeded === 0) {
      this.#stop(new Error(`${this.#options.work.name}: expected answers of 2xx, got only ${status}: ${said.slice(0, 300)}`))
    }
  }

  #stop(error: Error): void {
    this.#fatal ??= error
    this.#wake?.()
  }

  async #drain(): Promise<void> {
    const end = performance.now() + drainMsMax
    while (this.#lanes.some((lane) => !Number.isNaN(lane.sinceMs) && lane.connection.isOpen) && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const silent = this.#lanes.filter((lane) => !Number.isNaN(lane.sinceMs)).length
    if (silent > 0) this.#errors['no answer'] = silent
  }
}

/** What a refusal said: the errors of /v1 alone, since anything else might hold a secret. */
function textOf({ body }: Answer): string {
  try {
    const { errors, error, message } = JSON.parse(body.toString()) as { errors?: string[]; error?: string; message?: string }
    return errors?.join('; ') ?? error ?? message ?? 'no errors named'
  } catch {
    return `${body.length} bytes that are not JSON`
  }
}
