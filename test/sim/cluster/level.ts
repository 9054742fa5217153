/**
 * LevelDB on the simulated disk: its files, as far as the store's own check of them reads (CURRENT, a MANIFEST, logs in its record format), its order of
 * writes and syncs, and its silence: a bad record of its log is skipped without an error, the ones after it stay in force.
 *
 * No tables: what an open would compact into one is written into a new log, synced before the manifest names it, as a table would be.
 */
import { crc32c } from '@node-rs/crc32'
import type { DiskFile } from '#store/disk.ts'
import type { Level, LevelIterator, LevelIteratorOptions, LevelOp, LevelRange, LevelSnapshot } from '#store/level.ts'
import { readManifest } from '#store/levelfiles.ts'
import type { SimDisk, SimMount } from './disk.ts'

type Pairs = Map<string, Uint8Array>

const blockBytes = 32_768
const headerBytes = 7

const keyOf = (key: Uint8Array): string => Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
const bytesOf = (key: string): Uint8Array => new Uint8Array(Buffer.from(key, 'latin1'))

function levelError(code: string, cause?: unknown): Error {
  return Object.assign(new Error(`${code}: simulated`, { cause }), { code })
}

export class SimLevel implements Level {
  readonly #mount: SimMount
  readonly #disk: SimDisk
  readonly #path: string
  #pairs: Pairs = new Map()
  /** A snapshot refers to #pairs: the next batch must not change it in place. */
  #shared = false
  #log: { readonly file: DiskFile; length: number } | null = null
  #failure: Error | null = null

  constructor(mount: SimMount, disk: SimDisk, path: string) {
    this.#mount = mount
    this.#disk = disk
    this.#path = path
  }

  async open(): Promise<void> {
    try {
      await this.#open()
    } catch (error) {
      if ((error as { code?: string }).code === 'LEVEL_CORRUPTION') throw error
      throw levelError('LEVEL_DATABASE_NOT_OPEN', error)
    }
  }

  async #open(): Promise<void> {
    const mount = this.#mount
    await mount.mkdir(this.#path)
    let number = 1
    let names = await mount.readdir(this.#path)
    if (names.includes('CURRENT')) {
      const manifest = (await mount.readFile(`${this.#path}/CURRENT`)).toString('latin1').trim()
      const known = names.includes(manifest) ? readManifest(await mount.readFile(`${this.#path}/${manifest}`)) : null
      if (known === null) throw levelError('LEVEL_CORRUPTION')
      for (const name of names) number = Math.max(number, Number(/\d+/.exec(name)?.[0] ?? 0))
      for (const name of names.filter((each) => /^\d+\.log$/.test(each)).sort()) {
        if (Number.parseInt(name, 10) < known.logNumber) continue
        const records = readRecords(await mount.readFile(`${this.#path}/${name}`))
        const hole = this.#drawHole(records.length)
        for (const [at, record] of records.entries()) if (at !== hole) replay(this.#pairs, record)
      }
    } else {
      await this.#writeManifest(number, 0, false)
      names = await mount.readdir(this.#path)
    }
    await this.#begin(number + 1)
    for (const name of names) if (name !== 'CURRENT') await mount.rm(`${this.#path}/${name}`)
  }

  /** A bit flipped after the store had checked the file: LevelDB drops the record and goes on. Only the raft log can prove it by itself. */
  #drawHole(records: number): number {
    const { faults, random } = this.#disk
    if (faults.holes === 0 || records < 3 || !this.#path.endsWith('/log')) return -1
    faults.holes -= 1
    this.#disk.count('silent-hole')
    return random.between(1, records - 2)
  }

  /** A new log with all that is held, then a manifest that names it. */
  async #begin(number: number): Promise<void> {
    const file = await this.#mount.open(`${this.#path}/${logName(number)}`, 'w')
    this.#log = { file, length: 0 }
    if (this.#pairs.size > 0) {
      const ops: LevelOp[] = Array.from(this.#pairs, ([key, value]) => ({ type: 'put', key: bytesOf(key), value }))
      await this.#append(ops)
      await file.sync()
    }
    await this.#writeManifest(number + 1, number, true)
  }

  async #writeManifest(number: number, logNumber: number, synced: boolean): Promise<void> {
    const mount = this.#mount
    const name = `MANIFEST-${String(number).padStart(6, '0')}`
    const manifest = await mount.open(`${this.#path}/${name}`, 'w')
    if (synced) await syncFolder(mount, this.#path)
    await manifest.writeFile(encodeRecord(Uint8Array.from([2, ...varint(logNumber), 9, 0, 3, ...varint(number + 1), 4, 0]), 0))
    if (synced) await manifest.sync()
    await manifest.close()
    const temporary = `${this.#path}/${String(number).padStart(6, '0')}.dbtmp`
    const current = await mount.open(temporary, 'w')
    await current.writeFile(Buffer.from(`${name}\n`))
    await current.sync()
    await current.close()
    await mount.rename(temporary, `${this.#path}/CURRENT`)
  }

  async close(): Promise<void> {
    await this.#log?.file.close()
    this.#log = null
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.getSync(key)
  }

  getSync(key: Uint8Array, options: { readonly snapshot?: LevelSnapshot } = {}): Uint8Array | undefined {
    const pairs = options.snapshot instanceof SimSnapshot ? options.snapshot.pairs : this.#pairs
    const found = pairs.get(keyOf(key))
    if (found === undefined) return undefined
    return readValue(this.#disk, keyOf(key), found, 'wrong-value')
  }

  put(key: Uint8Array, value: Uint8Array): Promise<void> {
    return this.batch([{ type: 'put', key, value }])
  }

  async batch(ops: LevelOp[], options: { readonly sync?: boolean } = {}): Promise<void> {
    if (this.#failure !== null) throw this.#failure
    if (ops.length === 0) return
    // The caller may reuse its buffers as soon as this returns.
    const copies = ops.map((op): LevelOp => (op.type === 'del' ? op : { ...op, value: new Uint8Array(op.value) }))
    try {
      await this.#append(copies)
      if (options.sync === true) await this.#log?.file.sync()
      else await this.#mount.linger()
    } catch (error) {
      this.#failure = levelError('LEVEL_IO_ERROR', error)
      throw this.#failure
    }
    if (this.#shared) this.#pairs = new Map(this.#pairs)
    this.#shared = false
    applyOps(this.#pairs, copies)
  }

  async #append(ops: readonly LevelOp[]): Promise<void> {
    if (this.#log === null) throw levelError('LEVEL_DATABASE_NOT_OPEN')
    const bytes = encodeRecord(encodeBatch(ops), this.#log.length)
    await this.#log.file.write(bytes, 0, bytes.length, this.#log.length)
    this.#log.length += bytes.length
  }

  async clear(range: LevelRange): Promise<void> {
    const keys = sortedKeys(this.#pairs, range)
    await this.batch(keys.map((key) => ({ type: 'del', key: bytesOf(key) })))
  }

  iterator(options: LevelIteratorOptions): LevelIterator {
    const pairs = options.snapshot instanceof SimSnapshot ? options.snapshot.pairs : this.#pairs
    if (pairs === this.#pairs) this.#shared = true
    return new SimIterator(this.#disk, pairs, options)
  }

  snapshot(): LevelSnapshot {
    this.#shared = true
    return new SimSnapshot(this.#pairs)
  }
}

class SimSnapshot implements LevelSnapshot {
  readonly pairs: Pairs

  constructor(pairs: Pairs) {
    this.pairs = pairs
  }

  async close(): Promise<void> {}
}

/** A copy of what is stored; or, where the disk is to lie, with a bit flipped: where it is to lie again, about the same key. */
function readValue(disk: SimDisk, key: string, stored: Uint8Array, fault: 'wrong-value' | 'wrong-value-iterated'): Uint8Array {
  const { faults, random } = disk
  const value = new Uint8Array(stored)
  if (faults.wrongValues === 0 || value.length === 0 || (faults.wrongKey !== null && faults.wrongKey !== key)) return value
  faults.wrongValues -= 1
  faults.wrongKey = faults.wrongValues > 0 ? key : null
  disk.count(fault)
  const at = random.below(value.length)
  value[at] = (value[at] ?? 0) ^ (1 << random.below(8))
  return value
}

class SimIterator implements LevelIterator {
  readonly #disk: SimDisk
  readonly #pairs: Pairs
  readonly #keys: readonly string[]
  readonly #values: boolean
  #at = 0

  constructor(disk: SimDisk, pairs: Pairs, options: LevelIteratorOptions) {
    this.#disk = disk
    this.#pairs = pairs
    this.#keys = sortedKeys(pairs, options)
    this.#values = options.values ?? true
  }

  async nextv(size: number): Promise<[Uint8Array, Uint8Array][]> {
    const keys = this.#keys.slice(this.#at, this.#at + size)
    this.#at += keys.length
    return keys.map((key) => [
      bytesOf(key),
      this.#values ? readValue(this.#disk, key, this.#pairs.get(key) ?? new Uint8Array(0), 'wrong-value-iterated') : new Uint8Array(0),
    ])
  }

  seek(target: Uint8Array): void {
    const key = keyOf(target)
    const at = this.#keys.findIndex((each) => each >= key)
    this.#at = at < 0 ? this.#keys.length : at
  }

  async close(): Promise<void> {}
}

function sortedKeys(pairs: Pairs, range: LevelRange): string[] {
  const gt = range.gt === undefined ? null : keyOf(range.gt)
  const gte = range.gte === undefined ? null : keyOf(range.gte)
  const lt = range.lt === undefined ? null : keyOf(range.lt)
  const lte = range.lte === undefined ? null : keyOf(range.lte)
  const inside = (key: string): boolean =>
    (gt === null || key > gt) && (gte === null || key >= gte) && (lt === null || key < lt) && (lte === null || key <= lte)
  return [...pairs.keys()].filter(inside).sort()
}

function applyOps(pairs: Pairs, ops: readonly LevelOp[]): void {
  for (const op of ops) {
    if (op.type === 'del') pairs.delete(keyOf(op.key))
    else pairs.set(keyOf(op.key), op.value)
  }
}

async function syncFolder(mount: SimMount, path: string): Promise<void> {
  const folder = await mount.open(path, 'r')
  await folder.sync()
  await folder.close()
}

function logName(number: number): string {
  return `${String(number).padStart(6, '0')}.log`
}

function varint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) bytes.push((rest & 0x7f) | 0x80)
  bytes.push(rest)
  return bytes
}

/** count 4, then for each: type 1, key length 4, value length 4, key, value. */
export function encodeBatch(ops: readonly LevelOp[]): Buffer {
  let size = 4
  for (const op of ops) size += 9 + op.key.length + (op.type === 'put' ? op.value.length : 0)
  const out = Buffer.alloc(size)
  out.writeUInt32BE(ops.length, 0)
  let at = 4
  for (const op of ops) {
    const value = op.type === 'put' ? op.value : new Uint8Array(0)
    out[at] = op.type === 'put' ? 1 : 0
    out.writeUInt32BE(op.key.length, at + 1)
    out.writeUInt32BE(value.length, at + 5)
    out.set(op.key, at + 9)
    out.set(value, at + 9 + op.key.length)
    at += 9 + op.key.length + value.length
  }
  return out
}

export function decodeBatch(record: Buffer): LevelOp[] {
  const ops: LevelOp[] = []
  let at = 4
  for (let left = record.readUInt32BE(0); left > 0; left -= 1) {
    const keyEnd = at + 9 + record.readUInt32BE(at + 1)
    const end = keyEnd + record.readUInt32BE(at + 5)
    const key = new Uint8Array(record.subarray(at + 9, keyEnd))
    ops.push(record[at] === 1 ? { type: 'put', key, value: new Uint8Array(record.subarray(keyEnd, end)) } : { type: 'del', key })
    at = end
  }
  return ops
}

function replay(pairs: Pairs, record: Buffer): void {
  applyOps(pairs, decodeBatch(record))
}

/** `payload` as LevelDB's log format has it, from byte `from` of the file on. */
export function encodeRecord(payload: Uint8Array, from: number): Buffer {
  const parts: Buffer[] = []
  let [at, done, first] = [from, 0, true]
  do {
    const left = blockBytes - (at % blockBytes)
    if (left < headerBytes) {
      parts.push(Buffer.alloc(left))
      at += left
      continue
    }
    const length = Math.min(left - headerBytes, payload.length - done)
    const last = done + length === payload.length
    const part = Buffer.alloc(headerBytes + length)
    part[6] = first ? (last ? 1 : 2) : last ? 4 : 3
    part.set(payload.subarray(done, done + length), headerBytes)
    part.writeUInt16LE(length, 4)
    part.writeUInt32LE(masked(crc32c(part.subarray(6))), 0)
    parts.push(part)
    at += part.length
    done += length
    // Not by the bytes written: seven bytes before a block's end the first part holds none.
    first = false
  } while (done < payload.length)
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
}

function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

/** As LevelDB reads its log: a bad record is dropped, a senseless length costs the rest of its block, and nobody is told. */
export function readRecords(file: Buffer): Buffer[] {
  const records: Buffer[] = []
  let parts: Buffer[] | null = null
  for (let at = 0; at + headerBytes <= file.length;) {
    const left = blockBytes - (at % blockBytes)
    if (left < headerBytes) {
      at += left
      continue
    }
    const length = file.readUInt16LE(at + 4)
    const type = file[at + 6] ?? 0
    const end = at + headerBytes + length
    if (headerBytes + length > left || end > file.length || type < 1 || type > 4) {
      parts = null
      at += left
      continue
    }
    const data = file.subarray(at + headerBytes, end)
    const good = masked(crc32c(file.subarray(at + 6, end))) === file.readUInt32LE(at)
    at = end
    if (!good) parts = null
    else if (type === 1) records.push(data)
    else if (type === 2) parts = [data]
    else if (parts !== null) {
      parts.push(data)
      if (type === 4) records.push(Buffer.concat(parts))
      if (type === 4) parts = null
    }
  }
  return records
}
