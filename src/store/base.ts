import { crc32c } from '@node-rs/crc32'
import { checkVersion } from '#base/formats.ts'
import { storeCorrupt, storeLost } from './errors.ts'
import { chainBytes, readUint64, writeUint64 } from './record.ts'

/** What precedes the log's first entry: index, term and chain value of the entry (or snapshot) before it. */
export interface LogBase {
  readonly index: number
  readonly term: number
  readonly chain: Uint8Array
}

const formatVersion = 1
const clusterBytes = 32
const size = 1 + 8 + 8 + chainBytes + clusterBytes + 4

/** version 1 | index 8 | term 8 | chain 32 | cluster 32 | crc32c 4 */
export function encodeBase(base: LogBase, cluster: Uint8Array): Buffer {
  const out = Buffer.alloc(size)
  out[0] = formatVersion
  writeUint64(out, base.index, 1)
  writeUint64(out, base.term, 9)
  out.set(base.chain, 17)
  out.set(cluster, 17 + chainBytes)
  out.writeUInt32BE(crc32c(out.subarray(0, size - 4)), size - 4)
  return out
}

/** @throws ERR_STORE_CORRUPT when damaged or of another cluster, ERR_UPGRADE_REQUIRED when of another version. */
export function decodeBase(value: Uint8Array, cluster: Uint8Array): LogBase {
  const bytes = Buffer.from(value)
  if (bytes.length !== size || crc32c(bytes.subarray(0, size - 4)) !== bytes.readUInt32BE(size - 4)) {
    throw storeCorrupt('log base: expected a matching checksum, got another')
  }
  if (!checkVersion('log base', formatVersion, bytes[0])) throw storeCorrupt('log base: expected a version, got none')
  if (!bytes.subarray(17 + chainBytes, size - 4).equals(cluster)) {
    throw storeLost('log: expected this cluster, got the log of another', 'point this node at its own data folder')
  }
  return { index: readUint64(bytes, 1), term: readUint64(bytes, 9), chain: new Uint8Array(bytes.subarray(17, 17 + chainBytes)) }
}
