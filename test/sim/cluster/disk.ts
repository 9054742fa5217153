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

type Names = Map<string, Inode | Folder>

interface Change {
  readonly seq: number
  readonly apply: (names: Names) => void
}

export class Folder {
  names: Names = new Map()
  #durable: Names = new Map()
  #unsynced: Change[] = []

  change(seq: number, apply: (names: Names) => void): void {
    this.#unsynced.push({ seq, apply })
    apply(this.names)
  }

  sync(seq: number): void {
    for (const change of this.#unsynced) if (change.seq <= seq) change.apply(this.#durable)
    this.#unsynced = this.#unsynced.filter((change) => change.seq > seq)
  }

  /** The power fails. Returns how many changes of names are lost here. */
  crash(random: Prng): number {
    const held = this.#unsynced
    this.#unsynced = []
    const kept = random.chance(0.3) ? held.length : random.below(held.length + 1)
    for (const change of held.slice(0, kept)) change.apply(this.#durable)
    this.names = new Map(this.#durable)
    return held.length - kept
  }
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
  /** The only key that the rest of them are about. */
  wrongKey: string | null
  /** So many opens of the raft log lose a record from its middle, and say nothing. */
  holes: number
  /** No byte more fits. */
  full: boolean
  /** Microseconds that a sync takes. */
  latency: readonly [number, number]
  /** Microseconds until LevelDB shows a batch that it need not sync; null: none. */
  batchLatency: readonly [number, number] | null
  /** The process dies before its n-th step from now; 0: it does not. */
  crashIn: number
}

export function errno(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: simulated, '${path.slice(path.lastIndexOf('/') + 1)}'`), { code })
}

export class SimDisk {
  readonly random: Prng
  readonly faults: DiskFaults
  #root = new Folder()
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
    this.faults = {
      syncErrors: 0,
      readErrors: 0,
      wrongValues: 0,
      wrongKey: null,
      holes: 0,
      full: false,
      latency,
      batchLatency: null,
      crashIn: 0,
    }
  }

  mount(owner: Mounter): Disk {
    return new Mount(this, owner)
  }

  get(path: string): Inode | Folder | undefined {
    let found: Inode | Folder | undefined = this.#root
    for (const name of path.split('/')) {
      if (name === '') continue
      if (!(found instanceof Folder)) return undefined
      found = found.names.get(name)
    }
    return found
  }

  file(path: string): Inode {
    const found = this.get(path)
    if (found === undefined) throw errno('ENOENT', path)
    if (found instanceof Folder) throw errno('EISDIR', path)
    return found
  }

  folder(path: string): Folder {
    const found = this.get(path)
    if (!(found instanceof Folder)) throw errno('ENOENT', path)
    return found
  }

  /** All files, by path. */
  files(): [string, Inode][] {
    const found: [string, Inode][] = []
    const walk = (folder: Folder, path: string): void => {
      for (const [name, node] of folder.names) {
        if (node instanceof Folder) walk(node, `${path}/${name}`)
        else found.push([`${path}/${name}`, node])
      }
    }
    walk(this.#root, '')
    return found.sort(([a], [b]) => (a < b ? -1 : 1))
  }

  change(folder: Folder, apply: (names: Names) => void): void {
    this.#seq += 1
    folder.change(this.#seq, apply)
  }

  get lastChange(): number {
    return this.#seq
  }

  /** The power fails. */
  crash(): void {
    const { random } = this
    let [lost, torn] = [0, 0]
    const walk = (folder: Folder): void => {
      lost += folder.crash(random)
      for (const node of folder.names.values()) {
        if (node instanceof Folder) {
          walk(node)
          continue
        }
        const fate = node.crash(random)
        if (fate === 'lost') lost += 1
        if (fate === 'torn') torn += 1
      }
    }
    walk(this.#root)
    if (lost > 0) this.count('unsynced-lost')
    if (torn > 0) this.count('torn-write')
  }

  /** All that is cached reaches the disk: the machine goes on, or is shut down in good order. */
  flush(): void {
    const walk = (folder: Folder): void => {
      folder.sync(this.#seq)
      for (const node of folder.names.values()) {
        if (node instanceof Folder) walk(node)
        else node.sync(node.lastWrite)
      }
    }
    walk(this.#root)
  }

  /** A new disk, empty but for its mount point. */
  wipe(): void {
    this.#root = new Folder()
    const mounted = new Folder()
    this.change(this.#root, (names) => void names.set('data', mounted))
    this.flush()
    this.replaced.clear()
  }

  remove(path: string): void {
    this.change(this.folder(parentOf(path)), (names) => void names.delete(nameOf(path)))
    this.flush()
  }
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'))
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
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

  /** What a batch without a sync waits for. */
  async linger(): Promise<void> {
    const { faults, random } = this.disk
    if (faults.batchLatency === null) return
    await this.#owner.sleep(random.between(faults.batchLatency[0], faults.batchLatency[1]))
    if (!this.#owner.alive) return never()
  }

  async open(path: string, flags: string | number): Promise<DiskFile> {
    await this.step('other')
    const { disk } = this
    const found = disk.get(path)
    if (found !== undefined) {
      if (flags === 'w' && found instanceof Inode) found.write(0, null)
      return new Handle(this, path, found)
    }
    const creates = flags === 'w' || (typeof flags === 'number' && (flags & constants.O_CREAT) !== 0)
    if (!creates) throw errno('ENOENT', path)
    const folder = disk.folder(parentOf(path))
    if (disk.faults.full) {
      disk.count('disk-full')
      throw errno('ENOSPC', path)
    }
    const inode = new Inode()
    disk.change(folder, (names) => void names.set(nameOf(path), inode))
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
    return [...this.disk.folder(path).names.keys()].sort()
  }

  /** Within one folder: all that the store does. */
  async rename(from: string, to: string): Promise<void> {
    await this.step('other')
    const inode = this.disk.get(from)
    if (inode === undefined) throw errno('ENOENT', from)
    const over = this.disk.get(to)
    if (over instanceof Inode) this.disk.replaced.set(to, Buffer.from(over.cache.view()))
    this.disk.change(this.disk.folder(parentOf(to)), (names) => {
      names.delete(nameOf(from))
      names.set(nameOf(to), inode)
    })
  }

  async mkdir(path: string): Promise<void> {
    await this.step('other')
    const parts = path.split('/').slice(1)
    for (let depth = 1; depth <= parts.length; depth += 1) {
      const each = `/${parts.slice(0, depth).join('/')}`
      if (this.disk.get(each) !== undefined) continue
      const folder = new Folder()
      this.disk.change(this.disk.folder(parentOf(each)), (names) => void names.set(nameOf(each), folder))
    }
  }

  async rm(path: string): Promise<void> {
    await this.step('other')
    if (this.disk.get(path) === undefined) return
    this.disk.change(this.disk.folder(parentOf(path)), (names) => void names.delete(nameOf(path)))
  }
}

export type SimMount = Mount

class Handle implements DiskFile {
  readonly #mount: Mount
  readonly #path: string
  readonly #node: Inode | Folder
  #at = 0

  constructor(mount: Mount, path: string, node: Inode | Folder) {
    this.#mount = mount
    this.#path = path
    this.#node = node
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
    const node = this.#node
    const seq = node instanceof Folder ? disk.lastChange : node.lastWrite
    await this.#mount.step('sync')
    if (disk.faults.syncErrors > 0) {
      disk.faults.syncErrors -= 1
      disk.count('fsync-error')
      if (node instanceof Inode) node.syncFailed(seq, disk.random)
      throw errno('EIO', this.#path)
    }
    node.sync(seq)
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
    if (this.#node instanceof Folder) throw errno('EISDIR', this.#path)
    return this.#node
  }
}
