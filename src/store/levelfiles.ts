/**
 * LevelDB's file formats, as far as needed to check what it does not check itself: the records of its logs (a .log file and the MANIFEST share the
 * format) and the blocks of its tables. Written from its format documents (doc/log_format.md, doc/table_format.md) and its manifest's tags.
 */
import { crc32c } from '@node-rs/crc32'
import { uncompress } from './snappy.ts'

const blockBytes = 32_768
const headerBytes = 7
const recordTypes = { full: 1, first: 2, middle: 3, last: 4 } as const
const footerBytes = 48
const tableMagic = Buffer.from('57fb808b247547db', 'hex')

/** LevelDB stores checksums "masked", so that a checksum of data that holds checksums is not degenerate. */
function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

export interface LogScan {
  /** Bytes up to the end of the last whole record before anything bad. */
  readonly goodBytes: number
  /** 'torn': the end is cut or unreadable, nothing readable follows. 'damaged': readable records follow what is bad. */
  readonly state: 'whole' | 'torn' | 'damaged'
}

/** Reads a file in log format, handing out each whole record until the first bad one. */
export function scanLog(file: Buffer, onRecord: (record: Buffer) => void = () => {}): LogScan {
  let goodBytes = 0
  let parts: Buffer[] = []
  for (let at = 0; at < file.length;) {
    const left = blockBytes - (at % blockBytes)
    if (left < headerBytes) {
      at += left
      continue
    }
    const record = recordAt(file, at)
    const begins = record?.type === recordTypes.full || record?.type === recordTypes.first
    if (record === null || begins !== (parts.length === 0)) return { goodBytes, state: recordFollows(file, at + 1) ? 'damaged' : 'torn' }
    parts.push(record.data)
    at = record.end
    if (record.type === recordTypes.full || record.type === recordTypes.last) {
      onRecord(parts.length === 1 ? record.data : Buffer.concat(parts))
      parts = []
      goodBytes = at
    }
  }
  return { goodBytes, state: parts.length > 0 ? 'torn' : 'whole' }
}

/** The physical record at `at`, if it is whole and its checksum holds. */
function recordAt(file: Buffer, at: number): { type: number; data: Buffer; end: number } | null {
  if (at + headerBytes > file.length) return null
  const length = file.readUInt16LE(at + 4)
  const type = file[at + 6] ?? 0
  const end = at + headerBytes + length
  const blockEnd = at - (at % blockBytes) + blockBytes
  if (type < recordTypes.full || type > recordTypes.last || end > blockEnd || end > file.length) return null
  if (masked(crc32c(file.subarray(at + 6, end))) !== file.readUInt32LE(at)) return null
  return { type, data: file.subarray(at + headerBytes, end), end }
}

/** Does a record begin anywhere from `from` on? Looks at every offset: a damaged length hides where the next one starts. */
function recordFollows(file: Buffer, from: number): boolean {
  for (let at = from; at + headerBytes <= file.length; at += 1) {
    const type = file[at + 6]
    if ((type === recordTypes.full || type === recordTypes.first) && recordAt(file, at) !== null) return true
  }
  return false
}

export interface Manifest {
  /** Logs below this number (but for `previousLog`) are obsolete. */
  readonly logNumber: number
  readonly previousLog: number
  /** Live tables: number -> size. */
  readonly tables: ReadonlyMap<number, number>
}

/** Replays a MANIFEST. Null when it is damaged, or holds what is not known here. */
export function readManifest(file: Buffer): Manifest | null {
  const edits: Buffer[] = []
  if (scanLog(file, (record) => edits.push(record)).state === 'damaged' || edits.length === 0) return null
  const state = { logNumber: 0, previousLog: 0, tables: new Map<number, number>() }
  return edits.every((edit) => replay(new Reader(edit), state)) ? state : null
}

function replay(reader: Reader, state: { logNumber: number; previousLog: number; tables: Map<number, number> }): boolean {
  while (!reader.done) {
    const tag = reader.varint()
    if (tag === 1) reader.slice(reader.varint())
    else if (tag === 2) state.logNumber = reader.varint()
    else if (tag === 3 || tag === 4) reader.varint()
    else if (tag === 9) state.previousLog = reader.varint()
    else if (tag === 5) {
      reader.varint()
      reader.slice(reader.varint())
    } else if (tag === 6) {
      reader.varint()
      state.tables.delete(reader.varint())
    } else if (tag === 7) {
      reader.varint()
      const number = reader.varint()
      state.tables.set(number, reader.varint())
      reader.slice(reader.varint())
      reader.slice(reader.varint())
    } else return false
    if (reader.failed) return false
  }
  return true
}

/** Is every block of a table intact, and every byte before the footer part of one? Returns what is wrong, or null. */
export function tableProblem(file: Buffer): string | null {
  if (file.length < footerBytes || !file.subarray(-8).equals(tableMagic)) return 'expected a table footer, got none'
  const footer = new Reader(file.subarray(-footerBytes))
  const metaindex = handleFrom(footer)
  const index = handleFrom(footer)
  const handles = [metaindex, index]
  for (const parent of [metaindex, index]) {
    const block = blockAt(file, parent)
    const children = block === null ? null : handlesIn(block)
    if (children === null) return `expected a readable block at ${parent.offset}, got a damaged one`
    handles.push(...children)
  }
  handles.sort((a, b) => a.offset - b.offset)
  let end = 0
  for (const handle of handles) {
    if (handle.offset !== end) return `expected a block at ${end}, got one at ${handle.offset}`
    if (!blockIntact(file, handle)) return `expected a matching checksum of the block at ${handle.offset}, got another`
    end = handle.offset + handle.size + 5
  }
  return end === file.length - footerBytes ? null : `expected the footer at ${end}, got it at ${file.length - footerBytes}`
}

interface Handle {
  readonly offset: number
  readonly size: number
}

function handleFrom(reader: Reader): Handle {
  return { offset: reader.varint(), size: reader.varint() }
}

function blockIntact(file: Buffer, { offset, size }: Handle): boolean {
  const end = offset + size
  // A block, one byte for its compression, four for the checksum over both.
  if (end + 5 > file.length - footerBytes) return false
  return masked(crc32c(file.subarray(offset, end + 1))) === file.readUInt32LE(end + 1)
}

function blockAt(file: Buffer, handle: Handle): Buffer | null {
  if (!blockIntact(file, handle)) return null
  const content = file.subarray(handle.offset, handle.offset + handle.size)
  const compression = file[handle.offset + handle.size]
  if (compression === 0) return content
  return compression === 1 ? uncompress(content) : null
}

/** The block handles that are the values of an index (or metaindex) block. */
function handlesIn(block: Buffer): Handle[] | null {
  if (block.length < 4) return null
  const entriesEnd = block.length - 4 - 4 * block.readUInt32LE(block.length - 4)
  if (entriesEnd < 0) return null
  const reader = new Reader(block.subarray(0, entriesEnd))
  const handles: Handle[] = []
  while (!reader.done && !reader.failed) {
    reader.varint() // How much of the key it shares with the one before.
    const keyBytes = reader.varint()
    const valueBytes = reader.varint()
    reader.slice(keyBytes)
    handles.push(handleFrom(new Reader(reader.slice(valueBytes))))
  }
  return reader.failed ? null : handles
}

/** Reads varints and slices; past the end it gives zeros and says `failed`. */
class Reader {
  readonly #bytes: Buffer
  #at = 0
  failed = false

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length
  }

  varint(): number {
    let value = 0
    for (let scale = 1; scale <= 2 ** 56; scale *= 128) {
      const byte = this.#bytes[this.#at]
      this.#at += 1
      if (byte === undefined) break
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
    this.failed = true
    return 0
  }

  slice(length: number): Buffer {
    const end = this.#at + length
    if (end > this.#bytes.length) this.failed = true
    const found = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return found
  }
}
