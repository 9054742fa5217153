/**
 * A disk in memory that keeps what POSIX promises and nothing more. A write is in the page cache until its file is synced; a creation, a rename or a
 * removal is, until its folder is. When the power fails, any subset of the unsynced writes of a file is lost, the last kept one may be
 * torn, and of a folder's changes any suffix is lost. A killed process loses nothing of that, but whatever it was waiting for.
 */
import type { Disk, DiskFile } from '#store/disk.ts'
import { constants } from 'node:fs'
import type { Prng } from '../prng.ts'
import { SimLevel } from './level.ts'

/** A byte array that grows. */
class Bytes {
  #buffer = Buffer.alloc(0)
  length = 0

  write(offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length
    if (end > this.#buffer.length) {
      const grown = Buffer.alloc(Math.max(end, this.#buffer.length * 2, 256))
      this.#buffer.copy(grown, 0, 0, this.length)
      this.#buffer = grown
    }
    this.#buffer.set(bytes, offset)
    this.length = Math.max(this.length, end)
  }

  truncate(length: number): void {
    this.#buffer.fill(0, length, this.length)
    this.length = Math.min(this.length, length)
  }

  view(): Buffer {
    return this.#buffer.subarray(0, this.length)
  }
}

interface Write {
  readonly seq: number
  readonly offset: number
  /** null: the file was emptied. */
  readonly bytes: Uint8Array | null
}

export class Inode {
  readonly cache = new Bytes()
  readonly #durable = new Bytes()
  #unsynced: Write[] = []
  #seq = 0

  get lastWrite(): number {
    return this.#seq
  }

  get unsynced(): number {
    return this.#unsynced.length
  }

  write(offset: number, bytes: Uint8Array | null): void {
    this.#seq += 1
    const copy = bytes === null ? null : new Uint8Array(bytes)
    this.#unsynced.push({ seq: this.#seq, offset, bytes: copy })
    put(this.cache, offset, copy)
  }

  /** Makes writes up to `seq` durable. */
  sync(seq: number): void {
    for (const write of this.#unsynced) if (write.seq <= seq) put(this.#durable, write.offset, write.bytes)
    this.#unsynced = this.#unsynced.filter((write) => write.seq > seq)
  }

  /** A failed fsync: some of it reached the disk; the rest looks clean now, and will never be written. */
  syncFailed(seq: number, random: Prng): void {
    for (const write of this.#unsynced) if (write.seq <= seq && random.chance(0.3)) put(this.#durable, write.offset, write.bytes)
    this.#unsynced = this.#unsynced.filter((write) => write.seq > seq)
  }

  /** The power fails. Returns what happened to the unsynced writes. */
  crash(random: Prng): 'nothing' | 'lost' | 'torn' {
    const writes = this.#unsynced
    this.#unsynced = []
    let torn = false
    const inOrder = random.chance(0.5)
    const kept = inOrder ? random.below(writes.length + 1) : writes.length
    for (const [at, write] of writes.entries()) {
      if (inOrder ? at >= kept : random.chance(0.5)) continue
      const last = inOrder ? at === kept - 1 : random.chance(0.2)
      const cut = write.bytes !== null && last && random.chance(0.5) ? sectorEnd(write, random) : null
      torn ||= cut !== null
      put(this.#durable, write.offset, cut === null ? write.bytes : (write.bytes?.subarray(0, cut) ?? null))
    }
    this.cache.truncate(0)
    this.cache.write(0, this.#durable.view())
    return torn ? 'torn' : writes.length > 0 ? 'lost' : 'nothing'
  }

  /** Changes what lies on the disk behind everybody's back. */
  damage(change: (bytes: Buffer) => Uint8Array): void {
    this.sync(this.#seq)
    const changed = new Uint8Array(change(Buffer.from(this.cache.view())))
    for (const bytes of [this.cache, this.#durable]) {
      bytes.truncate(0)
      bytes.write(0, changed)
    }
  }
}

const sectorBytes = 512

/** How many bytes of a torn write arrive: whole sectors of the file, as disks write them. */
function sectorEnd({ offset, bytes }: Write, random: Prng): number | null {
  const length = bytes?.length ?? 0
  const first = sectorBytes - (offset % sectorBytes)
  if (first >= length) return null
  return Math.min(length, first + sectorBytes * random.below(Math.ceil((length - first) / sectorBytes)))
}

function put(target: Bytes, offset: number, bytes: Uint8Array | null): void {
  if (bytes === null) target.truncate(0)
  else target.write(offset, bytes)
}

type Names = Map<string, Inode | 'folder'>

interface Change {
  readonly seq: number
  readonly apply: (names: Names) => void
}

/** Who uses the disk: a process, which may be dead by the time that an operation would end. */
export interface Mounter {
  readonly alive: boolean
  /** Simulated time passes; a dead process never wakes. */
  sleep(microseconds: number): Promise<void>
}

export interface DiskFaults {
  /** So many fsyncs fail. */
  syncErrors: number
  readErrors: number
  /** So many `get`s of LevelDB return a flipped bit. */
  wrongValues: number
  /** No byte more fits. */
  full: boolean
  /** Microseconds that a sync takes. */
  latency: readonly [number, number]
  /** The process dies before its n-th step from now; 0: it does not. */
  crashIn: number
}

export function errno(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: simulated, '${path.slice(path.lastIndexOf('/') + 1)}'`), { code })
}

export class SimDisk {
  readonly random: Prng
  readonly faults: DiskFaults
  #names: Names = new Map()
  #durable: Names = new Map()
  readonly #changes = new Map<string, Change[]>()
  #seq = 0
  /** What the newest rename over a path replaced: what a stale sector would bring back. */
  readonly replaced = new Map<string, Buffer>()
  readonly count: (fault: string) => void
  /** Told when `crashIn` has run out. */
  onCrashPoint: () => void = () => {}

  constructor(random: Prng, latency: readonly [number, number], count: (fault: string) => void) {
    this.random = random
    this.count = count
    this.wipe()
    this.faults = { syncErrors: 0, readErrors: 0, wrongValues: 0, full: false, latency, crashIn: 0 }
  }

  mount(owner: Mounter): Disk {
    return new Mount(this, owner)
  }

  get(path: string): Inode | 'folder' | undefined {
    return this.#names.get(path)
  }

  file(path: string): Inode {
    const found = this.#names.get(path)
    if (found === undefined) throw errno('ENOENT', path)
    if (found === 'folder') throw errno('EISDIR', path)
    return found
  }

  list(folder: string): string[] {
    if (this.#names.get(folder) !== 'folder') throw errno('ENOENT', folder)
    const prefix = `${folder}/`
    const found: string[] = []
    for (const path of this.#names.keys())
      if (path.startsWith(prefix) && !path.includes('/', prefix.length)) found.push(path.slice(prefix.length))
    return found.sort()
  }

  paths(): string[] {
    return [...this.#names.keys()].sort()
  }

  change(folder: string, apply: (names: Names) => void): void {
    this.#seq += 1
    const change = { seq: this.#seq, apply }
    const held = this.#changes.get(folder)
    if (held === undefined) this.#changes.set(folder, [change])
    else held.push(change)
    apply(this.#names)
  }

  get lastChange(): number {
    return this.#seq
  }

  syncFolder(folder: string, seq: number): void {
    const held = this.#changes.get(folder) ?? []
    for (const change of held) if (change.seq <= seq) change.apply(this.#durable)
    this.#changes.set(
      folder,
      held.filter((change) => change.seq > seq),
    )
  }

  /** The power fails. */
  crash(): void {
    const { random } = this
    let [lost, torn] = [0, 0]
    for (const held of this.#changes.values()) {
      const kept = random.chance(0.3) ? held.length : random.below(held.length + 1)
      for (const change of held.slice(0, kept)) change.apply(this.#durable)
      lost += held.length - kept
    }
    this.#changes.clear()
    for (const path of [...this.#durable.keys()]) {
      const parent = path.slice(0, path.lastIndexOf('/'))
      if (parent !== '' && this.#durable.get(parent) !== 'folder') this.#durable.delete(path)
    }
    for (const inode of new Set(this.#durable.values())) {
      if (inode === 'folder') continue
      const fate = inode.crash(random)
      if (fate === 'lost') lost += 1
      if (fate === 'torn') torn += 1
    }
    this.#names = new Map(this.#durable)
    if (lost > 0) this.count('unsynced-lost')
    if (torn > 0) this.count('torn-write')
  }

  /** All that is cached reaches the disk: the machine goes on, or is shut down in good order. */
  flush(): void {
    for (const [folder, held] of this.#changes) this.syncFolder(folder, held.at(-1)?.seq ?? 0)
    for (const inode of new Set(this.#names.values())) if (inode !== 'folder') inode.sync(inode.lastWrite)
  }

  /** A new disk, empty. */
  wipe(): void {
    this.#names = new Map([[rootFolder, 'folder']])
    this.#durable = new Map(this.#names)
    this.#changes.clear()
    this.replaced.clear()
  }

  remove(path: string): void {
    this.flush()
    for (const names of [this.#names, this.#durable]) names.delete(path)
  }
}

/** There from the start, as a mount point is. */
const rootFolder = '/data'

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'))
}

/** Never resolves: what a dead process waits for. */
function never<T>(): Promise<T> {
  return new Promise(() => {})
}

class Mount implements Disk {
  readonly disk: SimDisk
  readonly #owner: Mounter

  constructor(disk: SimDisk, owner: Mounter) {
    this.disk = disk
    this.#owner = owner
  }

  readonly level = (path: string): SimLevel => new SimLevel(this, this.disk, path)

  /** One point at which the process may die; `sync` takes time. */
  async step(kind: 'sync' | 'other'): Promise<void> {
    const { faults, random } = this.disk
    if (!this.#owner.alive) return never()
    if (faults.crashIn > 0) {
      faults.crashIn -= 1
      if (faults.crashIn === 0) {
        this.disk.onCrashPoint()
        return never()
      }
    }
    if (kind === 'sync') {
      await this.#owner.sleep(random.between(faults.latency[0], faults.latency[1]))
      if (!this.#owner.alive) return never()
    }
  }

  async open(path: string, flags: string | number): Promise<DiskFile> {
    await this.step('other')
    const { disk } = this
    const found = disk.get(path)
    if (found === 'folder') return new Handle(this, path, null)
    const creates = flags === 'w' || (typeof flags === 'number' && (flags & constants.O_CREAT) !== 0)
    if (found !== undefined) {
      if (flags === 'w') found.write(0, null)
      return new Handle(this, path, found)
    }
    if (!creates || disk.get(parentOf(path)) !== 'folder') throw errno('ENOENT', path)
    if (disk.faults.full) {
      disk.count('disk-full')
      throw errno('ENOSPC', path)
    }
    const inode = new Inode()
    disk.change(parentOf(path), (names) => void names.set(path, inode))
    return new Handle(this, path, inode)
  }

  async readFile(path: string): Promise<Buffer> {
    await this.step('other')
    const inode = this.disk.file(path)
    this.failRead(path)
    return Buffer.from(inode.cache.view())
  }

  failRead(path: string): void {
    if (this.disk.faults.readErrors === 0) return
    this.disk.faults.readErrors -= 1
    this.disk.count('read-error')
    throw errno('EIO', path)
  }

  async readdir(path: string): Promise<string[]> {
    await this.step('other')
    return this.disk.list(path)
  }

  async rename(from: string, to: string): Promise<void> {
    await this.step('other')
    const inode = this.disk.file(from)
    const over = this.disk.get(to)
    if (over !== undefined && over !== 'folder') this.disk.replaced.set(to, Buffer.from(over.cache.view()))
    this.disk.change(parentOf(to), (names) => {
      names.delete(from)
      names.set(to, inode)
    })
  }

  async mkdir(path: string): Promise<void> {
    await this.step('other')
    const parts = path.split('/').slice(1)
    for (let depth = 1; depth <= parts.length; depth += 1) {
      const each = `/${parts.slice(0, depth).join('/')}`
      if (this.disk.get(each) === 'folder') continue
      this.disk.change(parentOf(each), (names) => void names.set(each, 'folder'))
    }
  }

  async rm(path: string): Promise<void> {
    await this.step('other')
    if (this.disk.get(path) === undefined) return
    this.disk.change(parentOf(path), (names) => {
      for (const each of [...names.keys()]) if (each === path || each.startsWith(`${path}/`)) names.delete(each)
    })
  }
}

export type SimMount = Mount

class Handle implements DiskFile {
  readonly #mount: Mount
  readonly #path: string
  /** null: a folder. */
  readonly #inode: Inode | null
  #at = 0

  constructor(mount: Mount, path: string, inode: Inode | null) {
    this.#mount = mount
    this.#path = path
    this.#inode = inode
  }

  async read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }> {
    await this.#mount.step('other')
    this.#mount.failRead(this.#path)
    const found = this.#file()
      .cache.view()
      .subarray(position, position + length)
    buffer.set(found, offset)
    return { bytesRead: found.length }
  }

  async write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<void> {
    await this.#mount.step('other')
    this.#put(buffer.subarray(offset, offset + length), position)
  }

  async writeFile(data: Uint8Array): Promise<void> {
    await this.#mount.step('other')
    this.#put(data, this.#at)
    this.#at += data.length
  }

  async sync(): Promise<void> {
    const { disk } = this.#mount
    const inode = this.#inode
    const seq = inode === null ? disk.lastChange : inode.lastWrite
    await this.#mount.step('sync')
    if (disk.faults.syncErrors > 0) {
      disk.faults.syncErrors -= 1
      disk.count('fsync-error')
      inode?.syncFailed(seq, disk.random)
      throw errno('EIO', this.#path)
    }
    if (inode === null) disk.syncFolder(this.#path, seq)
    else inode.sync(seq)
  }

  datasync(): Promise<void> {
    return this.sync()
  }

  close(): Promise<void> {
    return this.#mount.step('other')
  }

  #put(bytes: Uint8Array, position: number): void {
    const { disk } = this.#mount
    const inode = this.#file()
    if (disk.faults.full) {
      // As much as still fits.
      inode.write(position, bytes.subarray(0, disk.random.below(bytes.length + 1)))
      disk.count('disk-full')
      throw errno('ENOSPC', this.#path)
    }
    inode.write(position, bytes)
  }

  #file(): Inode {
    if (this.#inode === null) throw errno('EISDIR', this.#path)
    return this.#inode
  }
}
