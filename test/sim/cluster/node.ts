/** A machine of the cluster: its disk, its clock, and the process that runs on it now, if any. */
import { applyMembershipEntry, EntryType, type Membership } from '#raft/index.ts'
import { releasedFormats, type FormatRange } from '#base/formats.ts'
import type { Member } from '#replica/types.ts'
import { isHoldfastError } from '#base/errors.ts'
import { testAuthenticator } from '#test/support/authenticator.ts'
import type { Prng } from '../prng.ts'
import { SimDisk } from './disk.ts'
import { Life, type Start } from './life.ts'
import type { Promised } from './oracle.ts'
import { noteMixed } from './rolling.ts'
import type { World } from './world.ts'

/** What makes a store fail without a bug in it. */
const excuses = ['fsync-error', 'disk-full', 'read-error', 'wrong-value', 'wrong-value-iterated', 'silent-hole']

export class SimNode {
  readonly id: string
  readonly disk: SimDisk
  readonly random: Prng
  readonly #world: World
  promised: Promised = { hardState: { term: 0, vote: null, commit: 0 }, end: null }
  life: Life | null = null
  fingerprint: string
  /** The oracles' name for this disk: a new one under an old id is another. */
  oracleId: string
  sealed = false
  /** What the release understands that is started here next. */
  formats: FormatRange = releasedFormats
  /** Its disk was damaged: it may refuse to start, for good. */
  damaged = false
  /** It refused. Only a node with a new id can take its place. */
  lost = false
  /** The disk did something during this life that excuses a failure. */
  troubled = false
  clockRate = 1
  wallOffsetMs = 0
  tailBytesMax: number
  readonly #start: Start
  readonly #plainLatency: readonly [number, number]

  constructor(world: World, id: string, start: Start) {
    this.#world = world
    this.id = id
    this.random = world.random.fork()
    this.fingerprint = `key of ${id}`
    this.oracleId = id
    this.#start = start
    this.#plainLatency = world.plan.diskLatency
    this.disk = new SimDisk(world.random.fork(), this.#plainLatency, (fault) => {
      if (excuses.includes(fault)) this.troubled = true
      world.count(fault)
      world.trace(fault, id, '', 0, 0)
    })
    this.disk.faults.batchLatency = world.plan.batchLatency
    this.disk.onCrashPoint = () => {
      world.count('crash-point')
      this.kill(this.random.chance(0.6) ? 'power' : 'kill')
    }
    this.wallOffsetMs = 1_700_000_000_000 + this.random.between(-1_000, 1_000)
    this.tailBytesMax = this.random.pick([1, 500, 1_000_000])
  }

  /** Its state is given up or lost, and not fetched yet. */
  get stateless(): boolean {
    return this.life?.state?.damage !== null && this.life?.state?.damage !== undefined
  }

  /** Its log lost what it had acknowledged, and it has no say until it has that again. */
  get fenced(): boolean {
    return this.life?.log?.fence !== null && this.life?.log?.fence !== undefined
  }

  get up(): boolean {
    return this.life !== null
  }

  member(voter: boolean): Member {
    return {
      id: this.id,
      clusterAddress: `${this.id}:8201`,
      apiAddress: `https://${this.id}:8200`,
      fingerprint: this.fingerprint,
      voter,
    }
  }

  boot(): void {
    if (this.life !== null || this.lost) return
    this.#world.trace('boot', this.id, '', 0, 0)
    this.troubled = false
    const life = new Life(this, this.#world)
    this.life = life
    noteMixed(this.#world)
    life.start(this.#start).catch((error: unknown) => this.#world.fail(error))
  }

  /** The process ends; with `power` the machine does, and what was not synced is at the mercy of its disk. */
  kill(how: 'kill' | 'power'): void {
    const { life } = this
    if (life === null) return
    this.#world.trace(how, this.id, '', 0, 0)
    life.die()
    this.life = null
    this.disk.faults.crashIn = 0
    if (how === 'power') {
      this.disk.faults.syncErrors = 0
      this.disk.crash()
    }
  }

  /** An orderly stop: the process ends by itself, or is killed where it can't. */
  stop(): void {
    const { life } = this
    if (life?.replica === null || life === null || life.paused) return
    this.#world.trace('stop', this.id, '', 0, 0)
    const gone = (): void => {
      if (this.life === life) this.kill('kill')
    }
    life.replica.stop().then(gone, gone)
  }

  slowDisk(microseconds: number): void {
    this.disk.faults.latency = [5_000, 60_000]
    this.#world.scheduler.after(microseconds, () => (this.disk.faults.latency = this.#plainLatency))
  }

  fullDisk(microseconds: number): void {
    this.disk.faults.full = true
    this.#world.scheduler.after(microseconds, () => (this.disk.faults.full = false))
  }

  setClock(rate: number, wallOffsetMs: number): void {
    this.clockRate = rate
    this.wallOffsetMs = wallOffsetMs
    this.life?.setClock(rate, wallOffsetMs)
  }

  setSealed(sealed: boolean): void {
    this.sealed = sealed
    this.life?.run(() => this.tellSealed())
  }

  /** Opens or seals this node's process as the machine is now. One that holds what was forged stays sealed, as its operator is told. */
  tellSealed(): void {
    try {
      this.life?.replica?.setAuthenticator(this.sealed ? null : testAuthenticator())
    } catch (error) {
      if (!isHoldfastError(error)) throw error
      this.sealed = true
      this.#world.count('not-opened')
      this.#world.trace('not-opened', this.id, '', 0, 0)
    }
  }

  /** A new disk in the old machine: its key went with it, and what it had promised must be held by others. */
  wipe(): void {
    this.kill('kill')
    this.disk.wipe()
    this.fingerprint = `new key of ${this.id}`
    this.oracleId = `${this.id} wiped`
    this.promised = { hardState: { term: 0, vote: null, commit: 0 }, end: null }
  }

  /** Every membership that this node knows of: the applied one, and those in its log behind it. */
  memberships(): Membership[] {
    const { faults } = this.disk
    const { wrongValues } = faults
    faults.wrongValues = 0
    try {
      return this.#memberships()
    } catch {
      return [] // Its disk rotted under it; it will find out by itself.
    } finally {
      faults.wrongValues = wrongValues
    }
  }

  #memberships(): Membership[] {
    const { log, state } = this.life ?? {}
    if (log === null || log === undefined || state === null || state === undefined) return []
    let { membership } = state.meta
    const found = [membership]
    const from = Math.max(state.meta.applied + 1, log.firstIndex())
    for (const entry of log.entries(from, log.lastIndex() + 1, Infinity) ?? []) {
      if (entry.type !== EntryType.membership) continue
      membership = applyMembershipEntry(membership, entry.data)
      found.push(membership)
    }
    return found
  }
}
