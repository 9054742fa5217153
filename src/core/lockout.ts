/**
 * User lockout: after so many wrong tries within so long, a name cannot log in for a while, right or wrong.
 *
 * Logins run on the leader, and so does this. Tries are counted in its memory: a record for each wrong password would let anyone who can reach the
 * port write to every disk of the cluster. The lock itself is replicated, so a new leader holds it; from the counters a change of leader
 * frees a guesser at most once, by `threshold - 1` tries. A name that no account has is counted and locked like any other: a
 * refusal says nothing of who exists.
 *
 * The verdict and the count fall in one turn of the event loop: of any number of tries at once, no more than `threshold` learn whether they were right.
 *
 * Section 'sys/lockout': `locked/ACCESSOR/HASH` a lock with its name; `count` how many there are.
 */
import { createHash } from 'node:crypto'
import { HoldfastError, isHoldfastError, wellKnown } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { ReadView, Section, Transaction } from '#barrier/types.ts'
import { FairCounts } from './fair-counts.ts'
import { encodeStored, parseStored } from './storage.ts'
import type { MountEntry } from './types.ts'

const formatVersion = 1
/** Names counted at a time; of the mount that has most of them, the one that was tried longest ago is forgotten first. About 12 MiB. */
const namesMax = 65_536
/** Locks that are replicated at a time. A lock beyond it stands in the leader's memory only. */
const locksMax = 65_536
/** Locks that one step of the sweeper looks at. */
const sweptMax = 512
/** Steps in which it comes by all that there can be. */
export const sweepStepsMax = locksMax / sweptMax + 1
/** What a lock keeps of its name, to be shown; it is found by the hash of all of it. */
const shownCharsMax = 512

export interface LockoutSettings {
  readonly disabled: boolean
  readonly threshold: number
  readonly durationSeconds: number
  readonly counterResetSeconds: number
}

export const lockoutDefaults: LockoutSettings = { disabled: false, threshold: 5, durationSeconds: 900, counterResetSeconds: 900 }

/** One claimed name at one mount. */
export interface LockoutSubject {
  readonly mount: MountEntry
  readonly name: string
  readonly settings: LockoutSettings
}

interface Counter {
  readonly namespaceId: string
  readonly failures: number
  readonly lastMs: number
  /** 0: not locked. */
  readonly lockedUntilMs: number
}

interface Lock {
  readonly version: number
  readonly name: string
  readonly untilMs: number
}

export interface LockedNames {
  readonly mountAccessor: string
  readonly names: readonly string[]
}

const section = (namespace: string): Section => ({ namespace, mount: 'sys/lockout' })
const hashOf = (name: string): string => createHash('sha256').update(name).digest('base64url')
const lockPath = (mount: Pick<MountEntry, 'accessor'>, name: string): string => `locked/${mount.accessor}/${hashOf(name)}`

/** A role id may be as long as a body: kept whole, whoever can reach the port would fill the disks of the cluster with what it claims to be. */
const shown = (name: string): string => (name.length <= shownCharsMax ? name : `${name.slice(0, shownCharsMax)}...${hashOf(name)}`)
/** The hashes that `name` may mean: its own, and where it is shown shortened that of the whole. */
const hashesOf = (name: string): readonly string[] => [hashOf(name), ...(/^.{512}\.{3}([\w-]{43})$/s.exec(name)?.slice(1) ?? [])]

/** As it is refused: not to be told from any other denial. */
const refusal = (): HoldfastError => new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)

export interface UserLockoutOptions {
  /** From the configuration: what holds for a method's type where the mount is not tuned otherwise. */
  readonly settingsFor?: (type: string) => LockoutSettings
  /** The term in which this node leads: counters are of one term only, since another leader may have unlocked a name meanwhile. */
  readonly term: () => number
}

/** One a process. */
export class UserLockout {
  readonly #options: UserLockoutOptions
  /** By mount, then by the hash of the name. */
  readonly #counters = new FairCounts<Counter>(namesMax)
  #term = 0

  constructor(options: UserLockoutOptions) {
    this.#options = options
  }

  /** Names that are counted now. */
  get names(): number {
    return this.#counters.size
  }

  /** What holds at a mount: its tuning over the configuration. */
  settings(mount: MountEntry): LockoutSettings {
    return settingsOf(mount, this.#options.settingsFor?.(mount.type) ?? lockoutDefaults)
  }

  /** Whom a login at `mount` as `name` is counted for; null where lockout is off. */
  subject(mount: MountEntry, name: string | null): LockoutSubject | null {
    if (name === null || name === '') return null
    const settings = this.settings(mount)
    return settings.disabled ? null : { mount, name, settings }
  }

  /** Before anything is looked at. @throws ERR_PERMISSION_DENIED while the name is locked. */
  async check(view: ReadView, subject: LockoutSubject): Promise<void> {
    this.checkMemory(subject, view.nowMs)
    const lock = await readLock(view, subject)
    if (lock !== null && lock.untilMs > view.nowMs) throw refusal()
  }

  /** The same of this node's memory alone, without giving up the turn: right before a login is let through. */
  checkMemory(subject: LockoutSubject, nowMs: number): void {
    if ((this.#find(subject)?.lockedUntilMs ?? 0) > nowMs) throw refusal()
  }

  /**
   * Counts a wrong try. True when it is the one that locks: then `lock` must be written.
   * @throws ERR_PERMISSION_DENIED when others have locked the name while this one was being checked: it learns nothing.
   */
  failed(subject: LockoutSubject, nowMs: number): boolean {
    this.checkMemory(subject, nowMs)
    const { threshold, counterResetSeconds, durationSeconds } = subject.settings
    const before = this.#find(subject)
    const counts = before !== undefined && before.lockedUntilMs === 0 && nowMs - before.lastMs < counterResetSeconds * 1_000
    const failures = (counts ? before.failures : 0) + 1
    const locks = failures >= threshold
    const { namespaceId } = subject.mount
    this.#counters.set(subject.mount.uuid, hashOf(subject.name), {
      namespaceId,
      failures,
      lastMs: nowMs,
      lockedUntilMs: locks ? nowMs + durationSeconds * 1_000 : 0,
    })
    return locks
  }

  succeeded({ mount, name }: LockoutSubject): void {
    this.#counters.delete(mount.uuid, hashOf(name))
  }

  /**
   * Forgets the names of a namespace that is sealed: from now on nobody logs in there. Locks are laid down and hold; who guessed has at most
   * `threshold - 1` tries more once it is opened, as after a change of leader.
   */
  forget(which: (namespaceId: string) => boolean): void {
    this.#counters.deleteWhere(({ namespaceId }) => which(namespaceId))
  }

  /** Lays a lock down for the leaders to come. */
  async lock(transaction: Transaction, { mount, name, settings }: LockoutSubject): Promise<void> {
    const path = lockPath(mount, name)
    const at = section(mount.namespaceId)
    if ((await transaction.get(at, path)) === null) {
      const count = await readCount(transaction, mount.namespaceId)
      if (count >= locksMax) return
      transaction.put(at, 'count', encodeStored(count + 1))
    }
    const lock: Lock = { version: formatVersion, name: shown(name), untilMs: transaction.nowMs + settings.durationSeconds * 1_000 }
    transaction.put(at, path, encodeStored(lock))
  }

  /** Frees a name, whole or as a list shows it; does nothing when it is not locked. */
  async unlock(transaction: Transaction, mount: MountEntry, name: string): Promise<void> {
    for (const hash of hashesOf(name)) {
      this.#counters.delete(mount.uuid, hash)
      await removeLock(transaction, mount.namespaceId, `locked/${mount.accessor}/${hash}`)
    }
  }

  /** Names that are locked at `view`, by mount; at most `namesMax` of them. */
  async list(view: ReadView, namespace: string, accessor: string | null, namesMax: number): Promise<LockedNames[]> {
    const at = section(namespace)
    const accessors = accessor === null ? await view.list(at, 'locked') : [`${accessor}/`]
    const found: LockedNames[] = []
    let left = namesMax
    for (const folder of accessors) {
      const names: string[] = []
      for (const hash of left > 0 ? await view.list(at, `locked/${folder.slice(0, -1)}`) : []) {
        const lock = await view.get(at, `locked/${folder}${hash}`)
        const { name, untilMs } = lock === null ? { name: '', untilMs: 0 } : decodeLock(lock)
        if (untilMs <= view.nowMs || left <= 0) continue
        names.push(name)
        left -= 1
      }
      if (names.length > 0) found.push({ mountAccessor: folder.slice(0, -1), names: names.toSorted() })
    }
    return found
  }

  /**
   * Deletes locks that have ended, or whose mount is gone: one bounded step, from behind `after` on, '' for the first. From where the next goes on; null:
   * all were looked at. A step that began anew each time would, where the first ones go on for a day, never come to those behind them.
   */
  async sweep(transaction: Transaction, namespace: string, accessors: ReadonlySet<string>, after: string): Promise<string | null> {
    const at = section(namespace)
    const [from = '', hashBefore = ''] = after.split('/')
    let left = sweptMax
    for (const folder of await transaction.list(at, 'locked')) {
      const accessor = folder.slice(0, -1)
      if (accessor < from) continue
      const page = accessor === from && hashBefore !== '' ? { after: hashBefore, limit: left } : { limit: left }
      const hashes = await transaction.list(at, `locked/${accessor}`, page)
      for (const hash of hashes) await sweepOne(transaction, namespace, `locked/${folder}${hash}`, !accessors.has(accessor))
      left -= hashes.length
      if (left <= 0) return `${folder}${hashes.at(-1)}`
    }
    return null
  }

  #find({ mount, name }: Pick<LockoutSubject, 'mount' | 'name'>): Counter | undefined {
    const term = this.#options.term()
    if (term !== this.#term) {
      this.#term = term
      this.#counters.clear()
    }
    return this.#counters.get(mount.uuid, hashOf(name))
  }
}

async function readCount(view: ReadView, namespace: string): Promise<number> {
  const stored = await view.get(section(namespace), 'count')
  return stored === null ? 0 : parseStored<number>(stored, 'the number of locks')
}

async function removeLock(transaction: Transaction, namespace: string, path: string): Promise<void> {
  const at = section(namespace)
  if ((await transaction.get(at, path)) === null) return
  transaction.delete(at, path)
  transaction.put(at, 'count', encodeStored(Math.max(0, (await readCount(transaction, namespace)) - 1)))
}

async function sweepOne(transaction: Transaction, namespace: string, path: string, gone: boolean): Promise<void> {
  const lock = await transaction.get(section(namespace), path)
  if (gone || lock === null || decodeLock(lock).untilMs <= transaction.nowMs) await removeLock(transaction, namespace, path)
}

async function readLock(view: ReadView, { mount, name }: LockoutSubject): Promise<Lock | null> {
  const stored = await view.get(section(mount.namespaceId), lockPath(mount, name))
  return stored === null ? null : decodeLock(stored)
}

/** @throws ERR_STORE_CORRUPT, ERR_UPGRADE_REQUIRED. */
function decodeLock(stored: Uint8Array): Lock {
  const lock = parseStored<Lock>(stored, 'a lock')
  if (!checkVersion('a lock', formatVersion, lock.version))
    throw new HoldfastError('ERR_STORE_CORRUPT', 'expected a lock to have a version')
  return lock
}

/** The mount's tuning over what holds for its type. */
function settingsOf(mount: MountEntry, otherwise: LockoutSettings): LockoutSettings {
  const tuned = mount.config.user_lockout_config
  return {
    disabled: tuned?.lockout_disable ?? otherwise.disabled,
    threshold: tuned?.lockout_threshold ?? otherwise.threshold,
    durationSeconds: tuned?.lockout_duration ?? otherwise.durationSeconds,
    counterResetSeconds: tuned?.lockout_counter_reset ?? otherwise.counterResetSeconds,
  }
}

/** Wrong credentials, as opposed to whatever else a login may fail for. */
export const isWrong = (error: unknown): boolean => isHoldfastError(error, 'ERR_BAD_CREDENTIALS')
