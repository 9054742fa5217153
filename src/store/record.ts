/**
 * How one log entry lies on disk, and how it proves itself.
 *
 * Stored value: version 1 | type 1 | index 8 | term 8 | data | chain 32 | crc32c 4. `chain` is SHA-256 over the previous entry's chain,
 * the cluster, and everything before it in the record: LevelDB can drop a record in the middle or return a wrong value without an error
 * (one flipped bit does it), and a chain shows both, as well as a record of another place or cluster. It is unkeyed, so that a sealed node
 * can check it; it says nothing about who wrote the log. It is local: where a snapshot replaced the log it begins anew (`chainOrigin`).
 */
import { createHash, hash } from 'node:crypto'
import { crc32c } from '@node-rs/crc32'
import { checkVersion } from '#base/formats.ts'
import type { Entry, EntryType } from '#raft/types.ts'
import { storeCorrupt } from './errors.ts'

export const recordVersion = 1
export const chainBytes = 32
/** What precedes the first entry lies here (base.ts). */
export const baseKey = new Uint8Array([0xff, 0x62])
const headBytes = 1 + 1 + 8 + 8
const tailBytes = chainBytes + 4
/** What a record costs beside its data. */
export const recordOverheadBytes = headBytes + tailBytes

/** 32 bytes that stand for the cluster in every chain value. */
export function clusterTag(clusterId: string): Uint8Array {
  return new Uint8Array(createHash('sha256').update('holdfast log cluster\0').update(clusterId).digest())
}

/** Where a chain begins: an empty log (0, 0), or one that follows a snapshot. */
export function chainOrigin(cluster: Uint8Array, index: number, term: number): Uint8Array {
  return new Uint8Array(createHash('sha256').update('holdfast log origin\0').update(cluster).update(`${index}/${term}`).digest())
}

/** Big-endian, so that LevelDB's order is the log's order. */
export function indexKey(index: number): Buffer {
  const key = Buffer.allocUnsafe(8)
  writeUint64(key, index, 0)
  return key
}

/** Encodes `entry` after `previousChain`; the chain is a view into the returned record. */
export function encodeRecord(cluster: Uint8Array, previousChain: Uint8Array, entry: Entry): { record: Buffer; chain: Uint8Array } {
  const prefixBytes = previousChain.length + cluster.length
  const size = prefixBytes + headBytes + entry.data.length + tailBytes
  // One buffer: what is hashed lies in one piece, and the record is its second part.
  const all = Buffer.allocUnsafe(size)
  all.set(previousChain, 0)
  all.set(cluster, previousChain.length)
  all[prefixBytes] = recordVersion
  all[prefixBytes + 1] = entry.type
  writeUint64(all, entry.index, prefixBytes + 2)
  writeUint64(all, entry.term, prefixBytes + 10)
  all.set(entry.data, prefixBytes + headBytes)
  const chainAt = size - tailBytes
  all.set(hash('sha256', all.subarray(0, chainAt), 'buffer'), chainAt)
  all.writeUInt32BE(crc32c(all.subarray(prefixBytes, size - 4)), size - 4)
  return { record: all.subarray(prefixBytes), chain: all.subarray(chainAt, size - 4) }
}

/**
 * Decodes the record stored under `index`, verifying its checksum, and its chain too where `previousChain` is given.
 * The entry's data is a view into `record`. @throws ERR_STORE_CORRUPT; ERR_UPGRADE_REQUIRED for another version
 */
export function decodeRecord(
  cluster: Uint8Array,
  index: number,
  record: Uint8Array | undefined,
  previousChain: Uint8Array | null,
): { entry: Entry; chain: Uint8Array } {
  if (record === undefined) throw storeCorrupt(`log: expected an entry at index ${index}, got none`)
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength)
  if (bytes.length < recordOverheadBytes)
    throw storeCorrupt(`log entry ${index}: expected at least ${recordOverheadBytes} bytes, got ${bytes.length}`)
  if (crc32c(bytes.subarray(0, bytes.length - 4)) !== bytes.readUInt32BE(bytes.length - 4)) {
    throw storeCorrupt(`log entry ${index}: expected a matching checksum, got another`)
  }
  if (!checkVersion(`log entry ${index}`, recordVersion, bytes[0])) throw storeCorrupt(`log entry ${index}: expected a version, got none`)
  const stored = readUint64(bytes, 2)
  if (stored !== index) throw storeCorrupt(`log entry ${index}: expected its own record, got that of ${stored}`)
  const chainAt = bytes.length - tailBytes
  const chain = bytes.subarray(chainAt, bytes.length - 4)
  if (previousChain !== null) {
    const expected = createHash('sha256').update(previousChain).update(cluster).update(bytes.subarray(0, chainAt)).digest()
    if (!expected.equals(chain)) throw storeCorrupt(`log entry ${index}: expected to follow the chain of entry ${index - 1}, got another`)
  }
  const entry = { index, term: readUint64(bytes, 10), type: bytes[1] as EntryType, data: bytes.subarray(headBytes, chainAt) }
  return { entry, chain }
}

const twoTo32 = 0x1_0000_0000

export function writeUint64(target: Buffer, value: number, offset: number): void {
  target.writeUInt32BE(Math.floor(value / twoTo32), offset)
  target.writeUInt32BE(value % twoTo32, offset + 4)
}

export function readUint64(source: Buffer, offset: number): number {
  return source.readUInt32BE(offset) * twoTo32 + source.readUInt32BE(offset + 4)
}
