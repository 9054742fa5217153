/**
 * The snapshot stream: frames of length 4 | kind 1 | payload | crc32c 4 (over kind and payload). First a header (version, cluster, meta), then
 * chunks of whole pairs, at most about 1 MiB each, numbered; last a trailer with the totals and a SHA-256 over all pairs in key
 * order: the state's digest. A stream that ends without its trailer, skips a chunk or fails a checksum is refused as a whole.
 */
import { createHash, type Hash } from 'node:crypto'
import { crc32c } from '@node-rs/crc32'
import { Packr } from 'msgpackr'
import { HoldfastError } from '#base/errors.ts'
import { firstLevel, laidOut, levelOf, releasedFormats, versionAt, type FormatRange } from '#base/formats.ts'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })
const formatVersion = 1
const kinds = { header: 1, chunk: 2, trailer: 3 } as const
const chunkBytesTarget = 1024 * 1024
const frameBytesMax = 12 * 1024 * 1024
const headBytes = 5

export type Pair = readonly [Uint8Array, Uint8Array]

export interface SnapshotHeader {
  readonly clusterId: string
  /** The state's meta record, encoded as it lies beside the data. */
  readonly meta: Uint8Array
}

export function refuseStream(message: string, cause?: unknown): HoldfastError {
  return new HoldfastError('ERR_FRAME', `snapshot: ${message}`, {
    hint: 'the sender will begin again; if it recurs, look at the network and at both versions',
    cause,
  })
}

function frame(kind: number, payload: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(headBytes + payload.length + 4)
  out.writeUInt32BE(payload.length, 0)
  out[4] = kind
  out.set(payload, headBytes)
  out.writeUInt32BE(crc32c(out.subarray(4, headBytes + payload.length)), headBytes + payload.length)
  return out
}

/** Encodes `pairs`, which come in key order, as it is written in `level`. Holds one chunk at a time. */
export async function* encodeSnapshot(
  header: SnapshotHeader,
  pairs: AsyncIterable<Pair>,
  level: number = firstLevel,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield frame(kinds.header, packr.pack([versionAt(formatVersion, level), ...laidOut([header.clusterId, header.meta], level)]))
  const digest = createHash('sha256')
  let chunk: Pair[] = []
  let chunkBytes = 0
  const totals = { chunks: 0, pairs: 0 }
  for await (const pair of pairs) {
    chunk.push(pair)
    chunkBytes += pair[0].length + pair[1].length + 8
    totals.pairs += 1
    if (chunkBytes >= chunkBytesTarget) {
      yield frame(kinds.chunk, packChunk(totals.chunks, chunk, chunkBytes, digest))
      totals.chunks += 1
      chunk = []
      chunkBytes = 0
    }
  }
  if (chunk.length > 0) {
    yield frame(kinds.chunk, packChunk(totals.chunks, chunk, chunkBytes, digest))
    totals.chunks += 1
  }
  yield frame(kinds.trailer, packr.pack([totals.chunks, totals.pairs, digest.digest()]))
}

function packChunk(number: number, pairs: readonly Pair[], pairBytes: number, digest: Hash): Buffer {
  const out = Buffer.allocUnsafe(4 + pairBytes)
  out.writeUInt32BE(number, 0)
  let at = 4
  for (const [key, value] of pairs) {
    out.writeUInt32BE(key.length, at)
    out.writeUInt32BE(value.length, at + 4)
    out.set(key, at + 8)
    out.set(value, at + 8 + key.length)
    at += 8 + key.length + value.length
  }
  digest.update(out.subarray(4))
  return out
}

function unpackChunk(payload: Buffer, expectedNumber: number, digest: Hash): Pair[] {
  if (payload.length < 4 || payload.readUInt32BE(0) !== expectedNumber) throw refuseStream(`expected chunk ${expectedNumber}, got another`)
  digest.update(payload.subarray(4))
  const pairs: Pair[] = []
  for (let at = 4; at < payload.length;) {
    if (at + 8 > payload.length) throw refuseStream('expected a whole pair, got the end of a chunk')
    const keyEnd = at + 8 + payload.readUInt32BE(at)
    const valueEnd = keyEnd + payload.readUInt32BE(at + 4)
    if (valueEnd > payload.length) throw refuseStream('expected a whole pair, got the end of a chunk')
    pairs.push([payload.subarray(at + 8, keyEnd), payload.subarray(keyEnd, valueEnd)])
    at = valueEnd
  }
  return pairs
}

/**
 * Decodes a stream, verifying everything: first `onHeader`, then `onPairs` for each chunk, in key order; resolves after a valid trailer.
 * What was handed out before a throw must be thrown away. @throws ERR_FRAME; ERR_UPGRADE_REQUIRED for a version outside `formats`.
 */
export async function decodeSnapshot(
  stream: AsyncIterable<Uint8Array>,
  onHeader: (header: SnapshotHeader) => void,
  onPairs: (pairs: Pair[]) => Promise<void>,
  formats: FormatRange = releasedFormats,
): Promise<void> {
  const digest = createHash('sha256')
  const totals = { chunks: 0, pairs: 0 }
  let begun = false
  let ended = false
  let lastKey: Uint8Array | null = null
  for await (const { kind, payload } of frames(stream)) {
    if (ended) throw refuseStream('expected the end after its trailer, got more')
    if (!begun) {
      if (kind !== kinds.header) throw refuseStream('expected a header first, got another frame')
      onHeader(headerFrom(payload, formats))
      begun = true
    } else if (kind === kinds.chunk) {
      const pairs = unpackChunk(payload, totals.chunks, digest)
      for (const [key] of pairs) {
        if (lastKey !== null && Buffer.compare(lastKey, key) >= 0) throw refuseStream('expected keys in ascending order, got another order')
        lastKey = key
      }
      totals.chunks += 1
      totals.pairs += pairs.length
      await onPairs(pairs)
    } else if (kind === kinds.trailer) {
      checkTrailer(payload, totals, digest)
      ended = true
    } else throw refuseStream(`expected a chunk or a trailer, got kind ${kind}`)
  }
  if (!ended) throw refuseStream('expected a trailer, got the end of the stream')
}

function headerFrom(payload: Buffer, formats: FormatRange): SnapshotHeader {
  const record: unknown = unpack(payload)
  const level = Array.isArray(record) ? levelOf('snapshot', formatVersion, record[0], formats) : null
  if (level === null) throw refuseStream('expected a header with a version, got something else')
  const [clusterId, meta] = laidOut((record as unknown[]).slice(1), level)
  if (typeof clusterId !== 'string' || !(meta instanceof Uint8Array))
    throw refuseStream('expected a cluster and a meta record, got other types')
  return { clusterId, meta }
}

function checkTrailer(payload: Buffer, totals: { chunks: number; pairs: number }, digest: Hash): void {
  const record: unknown = unpack(payload)
  if (!Array.isArray(record)) throw refuseStream('expected a trailer of totals, got another type')
  const [chunks, pairs, sum] = record as unknown[]
  if (chunks !== totals.chunks || pairs !== totals.pairs) throw refuseStream(`expected ${String(pairs)} pairs, got ${totals.pairs}`)
  if (!(sum instanceof Uint8Array) || !digest.digest().equals(sum)) throw refuseStream('expected a matching digest, got another')
}

function unpack(payload: Buffer): unknown {
  try {
    return packr.unpack(payload)
  } catch (error) {
    throw refuseStream('expected msgpack, got something else', error)
  }
}

/** Cuts a byte stream into verified frames, whatever the size of its pieces. */
async function* frames(stream: AsyncIterable<Uint8Array>): AsyncGenerator<{ kind: number; payload: Buffer }, void, undefined> {
  let pieces: Uint8Array[] = []
  let held = 0
  let needed = headBytes
  for await (const piece of stream) {
    pieces.push(piece)
    held += piece.length
    if (held < needed) continue
    let bytes = pieces.length === 1 ? Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength) : Buffer.concat(pieces)
    needed = headBytes
    while (bytes.length >= headBytes) {
      const length = bytes.readUInt32BE(0)
      if (length > frameBytesMax) throw refuseStream(`expected a frame of at most ${frameBytesMax} bytes, got ${length}`)
      needed = headBytes + length + 4
      if (bytes.length < needed) break
      const end = headBytes + length
      if (crc32c(bytes.subarray(4, end)) !== bytes.readUInt32BE(end))
        throw refuseStream('expected a matching checksum of a frame, got another')
      yield { kind: bytes[4] ?? 0, payload: bytes.subarray(headBytes, end) }
      bytes = bytes.subarray(needed)
      needed = headBytes
    }
    pieces = bytes.length > 0 ? [bytes] : []
    held = bytes.length
  }
  if (held > 0) throw refuseStream('expected a whole frame, got the end of the stream')
}
