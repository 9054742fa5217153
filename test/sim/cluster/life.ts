/** One process: the real stores and the real driver, between a start and its end. Once dead it neither acts nor hears. */
import { releasedFormats, type FormatRange } from '#base/formats.ts'
import type { Clock } from '#base/clock.ts'
import { isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { Message } from '#raft/types.ts'
import type { PeerAddress } from '#replica/options.ts'
import { startReplica, type StartedReplica } from '#replica/index.ts'
import { keptOthers, openKeepsake } from '#replica/keepsake.ts'
import type { Member } from '#replica/types.ts'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import type { LogStore, StateStore } from '#store/types.ts'
import { decodeHeader } from '#replica/snapshots.ts'
import type { Mounter } from './disk.ts'
import type { SimNode } from './node.ts'
import { settingsOf } from './rolling.ts'
import type { World } from './world.ts'
import { OracleError } from './oracle.ts'
import { WatchedLog, WatchedState, type Watcher } from './watch.ts'

export const clusterId = 'simulated'

export interface Start {
  readonly bootstrap?: Member
  readonly knownMembers?: readonly Member[]
}

export class Life implements Mounter {
  readonly id: string
  readonly fingerprint: string
  readonly #node: SimNode
  /** False on a disk that replaced another: whatever it says, no transport lets it through under its old name. */
  readonly genuine: boolean
  readonly #world: World
  /** What this release understands. */
  readonly formats: FormatRange
  alive = true
  replica: StartedReplica | null = null
  log: LogStore | null = null
  state: StateStore | null = null
  /** Why it takes no further part, once it does not. */
  failed: { readonly code: string; readonly reason: string } | null = null
  #accepted = new Map<string, string>()
  #provisional = false
  /** Set while the process stands still: what happens to it meanwhile. */
  #backlog: (() => void)[] | null = null
  readonly #deaths: (() => void)[] = []
  /** Monotonic milliseconds at `since`, and how fast they pass. */
  #clock: { readonly at: number; readonly since: number; readonly rate: number }
  #wallOffsetMs: number

  constructor(node: SimNode, world: World) {
    this.#node = node
    this.#world = world
    this.id = node.id
    this.fingerprint = node.fingerprint
    this.formats = node.formats
    this.genuine = node.oracleId === node.id
    this.#clock = { at: 1_000, since: world.scheduler.now, rate: node.clockRate }
    this.#wallOffsetMs = node.wallOffsetMs
  }

  // The disk's view of it.

  sleep(microseconds: number): Promise<void> {
    return new Promise((resolve) => {
      this.#world.scheduler.after(microseconds, () => this.run(resolve))
    })
  }

  /** Opens the stores and starts the driver. Never throws: what happened is in `failed`, or was told to the world. */
  async start(start: Start): Promise<void> {
    const world = this.#world
    const { disk } = this.#node
    try {
      const directory = `/data/${this.id}`
      const settings = settingsOf(world.plan, this.#node.random)
      if (settings !== world.plan.settings) world.count('mixed-settings')
      const options = { directory, clusterId, disk: disk.mount(this), compression: false, cacheBytes: 0 }
      const keepsake = await openKeepsake(options.disk, directory)
      const repairable = keptOthers(keepsake, this.id)
      const log = await openLogStore({ ...options, tailBytesMax: this.#node.tailBytesMax, logger: this.#logger(), repairable })
      this.#noteSalvage(log)
      const state = await openStateStore({ ...options, repairable: true, logger: this.#logger() })
      const watcher = this.#watcher()
      watcher.guard(() => world.oracle.reopened(this.#node.oracleId, this.#node.promised, log, state))
      const last = log.lastIndex()
      // What a write that nobody had heard of left behind counts from now on.
      this.#node.promised.hardState = log.hardState
      this.#node.promised.end = { index: last, term: log.term(last) ?? 0 }
      this.log = new WatchedLog(log, watcher)
      this.state = new WatchedState(state, this.log, watcher)
      if (state.meta.applied > 0) watcher.guard(() => watcher.honestly(() => world.oracle.state(this.#node.oracleId, state)))
      const replica = await startReplica({
        nodeId: this.id,
        clusterId,
        incarnation: 1,
        log: this.log,
        state: this.state,
        peers: {
          send: (to, message) => this.#send(to, message),
          sendSnapshot: (to, header, body) => this.#sendSnapshot(to, header, body),
          setPeers: (peers, options = {}) => this.#setPeers(peers, options.provisional ?? false),
          lastContactMs: () => null,
        },
        clock: this.clock(),
        random: { bytes: (length) => Uint8Array.from({ length }, () => this.#node.random.below(256)) },
        logger: this.#logger(),
        settings,
        keepsake,
        formats: this.formats,
        // The machine takes some time for whatever it does.
        defer: (task) => void world.scheduler.after(this.#node.random.between(1, 40), () => this.run(task)),
        ...start,
      })
      if (!this.alive) return
      this.replica = replica
      this.#node.tellSealed()
    } catch (error) {
      if (!this.alive) return
      if (isHoldfastError(error)) this.#fail(error.code, error.message)
      else world.fail(error)
    }
  }

  /** A damaged log was cut back: what it had promised beyond is its peers' to give back, and it has no vote until then. */
  #noteSalvage(log: LogStore): void {
    const world = this.#world
    const { promised } = this.#node
    const { fence } = log
    if (fence === null || fence.term <= promised.hardState.term) return
    if (!this.#node.damaged && !this.#node.troubled) world.fail(new OracleError(`healthy log cut: ${this.id}: ${fence.reason}`))
    world.count('log-salvaged')
    world.count('damage-detected')
    world.trace('salvaged', this.id, '', fence.term, log.lastIndex())
    promised.end = null
  }

  #watcher(): Watcher {
    const world = this.#world
    const { disk, promised } = this.#node
    return {
      id: this.#node.oracleId,
      formats: this.formats,
      oracle: world.oracle,
      promised,
      alive: () => this.alive,
      term: () => this.replica?.status().term ?? promised.hardState.term,
      guard: (check) => {
        try {
          return check()
        } catch (error) {
          world.fail(error)
          throw error
        }
      },
      count: (event) => world.count(event),
      appends: (entries) => world.shocks.appends(this.#node, entries),
      installs: () => world.shocks.installs(this.#node),
      restores: () => {
        const steps = world.restores.strikes()
        if (steps > 0) disk.faults.crashIn = steps
        world.count('restore-shock', steps > 0 ? 1 : 0)
      },
      trace: (kind, term, index) => world.trace(kind, this.id, '', term, index),
      honestly: (look) => {
        const { wrongValues } = disk.faults
        disk.faults.wrongValues = 0
        try {
          return look()
        } finally {
          disk.faults.wrongValues = wrongValues
        }
      },
    }
  }

  #logger(): Logger {
    const say = (fields: object, message: string): void => this.#world.say(() => `${this.id} ${message} ${JSON.stringify(fields)}`)
    const logger: Logger = {
      debug: say,
      info: say,
      warn: say,
      error: (fields, message) => {
        say(fields, message)
        const { code, reason } = fields as { code?: string; reason?: string }
        this.#fail(code ?? '', reason ?? message)
      },
      child: () => logger,
    }
    return logger
  }

  #fail(code: string, reason: string): void {
    this.failed ??= { code, reason }
    this.#world.nodeFailed(this.#node, this.failed)
  }

  clock(): Clock {
    const { scheduler } = this.#world
    return {
      nowMs: () => this.#monotonicMs() + this.#wallOffsetMs,
      monotonicMs: () => this.#monotonicMs(),
      setTimer: (delayMs, fire) => scheduler.after((delayMs * 1_000) / this.#clock.rate, () => this.run(fire)),
    }
  }

  #monotonicMs(): number {
    const { at, since, rate } = this.#clock
    return at + ((this.#world.scheduler.now - since) / 1_000) * rate
  }

  setClock(rate: number, wallOffsetMs: number): void {
    this.#clock = { at: this.#monotonicMs(), since: this.#world.scheduler.now, rate }
    this.#wallOffsetMs = wallOffsetMs
  }

  #sendSnapshot(to: string, header: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<void> {
    const { network, oracle } = this.#world
    this.#watcher().guard(() => {
      try {
        decodeHeader(header, releasedFormats)
      } catch {
        oracle.wroteNewFormat(this.id, 'a snapshot')
        this.#world.count('next-format-snapshot')
      }
    })
    return network.sendSnapshot(this, to, header, body)
  }

  #send(to: string, sent: unknown): void {
    if (!this.alive) return
    const world = this.#world
    const { version, fields } = sent as { version: number; fields?: unknown }
    const message = (fields ?? sent) as Message
    if (version !== 1) this.#watcher().guard(() => world.oracle.wroteNewFormat(this.id, 'a message'))
    // A members' hint is no message of raft.
    if (typeof message.type === 'number' && this.log !== null) {
      const { log } = this
      this.#watcher().guard(() => world.oracle.sent(this.#node.oracleId, message, this.#node.promised, log))
      world.trace(
        `send ${message.type} ${message.reject === true ? 'no' : ''}`,
        this.id,
        to,
        message.term,
        message.logIndex ?? message.commit ?? 0,
      )
    }
    if (typeof message.type === 'number') world.impostor.overhear(this.#node, message, sent as object)
    world.network.send(this, to, sent)
  }

  #setPeers(peers: readonly PeerAddress[], provisional: boolean): void {
    this.#accepted = new Map(peers.map(({ id, fingerprint }) => [id, fingerprint]))
    this.#provisional = provisional
  }

  /** As the transport does: by its key, or whatever the cluster's CA vouches for while this node does not know the members yet. */
  accepts(other: Pick<Life, 'id' | 'fingerprint'>): boolean {
    return this.#provisional || this.#accepted.get(other.id) === other.fingerprint
  }

  receive(from: string, message: unknown): void {
    this.run(() => this.replica?.onMessage(from, message))
  }

  receiveSnapshot(from: string, header: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.run(() => {
        if (this.replica === null) reject(new Error('not started'))
        else this.replica.onSnapshot(from, header, body).then(resolve, reject)
      })
    })
  }

  /** Runs `task` in this process: at once, after its pause, or never. */
  run(task: () => void): void {
    if (!this.alive) return
    if (this.#backlog === null) task()
    else this.#backlog.push(task)
  }

  get paused(): boolean {
    return this.#backlog !== null
  }

  /** Stands still for a while; what came meanwhile comes at once then. */
  pause(microseconds: number): void {
    if (this.#backlog !== null) return
    this.#backlog = []
    this.#world.scheduler.after(microseconds, () => {
      const tasks = this.#backlog ?? []
      this.#backlog = null
      for (const task of tasks) this.run(task)
    })
  }

  onDeath(task: () => void): void {
    if (this.alive) this.#deaths.push(task)
    else task()
  }

  die(): void {
    if (!this.alive) return
    this.#world.count('read-by-lease', this.replica?.status().readsConfirmed.byLease)
    this.alive = false
    for (const task of this.#deaths) task()
  }
}
