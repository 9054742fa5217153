/** First and last lines of files: what they say of the chain, and nothing else of them kept in memory. */
import { createHash } from 'node:crypto'
import { open, stat, type FileHandle } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { chainBytesMax, chainOf, type Chain } from '../chain.ts'
import type { LastLine } from '../types.ts'

const tailChunkBytes = 64 * 1024
const unpackedBytes = 1_024
/** No line is longer: a body of 32 MiB hashes to less than four times itself. */
const lineBytesMax = 192 * 1024 * 1024
const newline = 10

/** Cuts off what stands behind the last newline of a regular file. */
export async function cutTornLine(file: FileHandle): Promise<void> {
  const stat = await file.stat()
  if (!stat.isFile()) return // A pipe or a terminal.
  const { size } = stat
  const end = await lastNewline(file, size)
  if (end + 1 < size) await file.truncate(end + 1)
}

/** What the last whole line says of the chain; null when there is none, or the file is none that can be read. Nothing else of it stays in memory. */
export async function lastLineOf(file: FileHandle): Promise<LastLine | null> {
  const stat = await file.stat()
  if (!stat.isFile() || stat.size === 0) return null
  const end = await lastNewline(file, stat.size)
  if (end < 0) return null
  const start = (await lastNewline(file, end)) + 1
  if (end - start > lineBytesMax) return null
  const digest = createHash('sha256')
  const chain = await lineChain(piecesOf(file, start, end), (piece) => digest.update(piece))
  return { head: digest.digest('hex'), chain }
}

/**
 * What the first line says of its place, null when that is nothing; undefined where there is no line. As `lastLineOf`, nothing else of it stays in memory;
 * of what follows in a compressed file, `unpackedBytes` may.
 */
export async function firstChainOf(path: string): Promise<Chain | null | undefined> {
  // A pipe has no first line, and opening one would wait for its writer.
  if (!(await stat(path)).isFile()) return undefined
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    const stored = piecesOf(file, 0, size)
    const first = firstLine(path.endsWith('.gz') ? unpacked(stored) : stored)
    const chain = await lineChain(first.pieces)
    return first.ended() ? chain : undefined
  } finally {
    await file.close()
  }
}

/** The pieces up to the first newline; what else is in the last of them is wiped. */
function firstLine(all: AsyncIterable<Buffer>): { readonly pieces: AsyncIterable<Buffer>; readonly ended: () => boolean } {
  let ended = false
  async function* pieces(): AsyncGenerator<Buffer> {
    for await (const piece of all) {
      const end = piece.indexOf(newline)
      ended = end >= 0
      yield ended ? piece.subarray(0, end) : piece
      piece.fill(0)
      if (ended) return
    }
  }
  return { pieces: pieces(), ended: () => ended }
}

/** Unpacks a little at a time: a stream reads ahead, and nobody can wipe what it holds by then. */
async function* unpacked(stored: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const source = Readable.from(stored, { highWaterMark: 1 })
  const plain = source.pipe(createGunzip({ chunkSize: unpackedBytes, readableHighWaterMark: 1 } as object))
  source.on('error', (error) => plain.destroy(error))
  try {
    yield* plain as AsyncIterable<Buffer>
  } finally {
    for (let ahead = plain.read() as Buffer | null; ahead !== null; ahead = plain.read() as Buffer | null) ahead.fill(0)
    source.destroy()
    plain.destroy()
  }
}

/** What a line says of its place, of which at most the end is held; null when that is nothing, or the line has no end. Each piece is wiped. */
async function lineChain(pieces: AsyncIterable<Buffer>, onPiece: (piece: Buffer) => void = () => {}): Promise<Chain | null> {
  let rest = Buffer.alloc(0)
  let bytes = 0
  try {
    for await (const piece of pieces) {
      onPiece(piece)
      bytes += piece.length
      if (bytes > lineBytesMax) return null
      const joined = Buffer.concat([rest, piece])
      rest.fill(0)
      piece.fill(0)
      rest = Buffer.from(joined.subarray(-chainBytesMax))
      joined.fill(0)
    }
    return chainOf(rest)
  } finally {
    rest.fill(0)
  }
}

/** The bytes of a file from `start` up to `end`. */
async function* piecesOf(file: FileHandle, start: number, end: number): AsyncGenerator<Buffer> {
  for (let at = start; at < end;) {
    const piece = Buffer.alloc(Math.min(tailChunkBytes, end - at))
    const { bytesRead } = await file.read(piece, 0, piece.length, at)
    if (bytesRead === 0) return
    yield piece.subarray(0, bytesRead)
    at += bytesRead
  }
}

/** Position of the last newline before `before`; -1 when there is none. */
async function lastNewline(file: FileHandle, before: number): Promise<number> {
  const chunk = Buffer.alloc(tailChunkBytes)
  try {
    for (let end = before; end > 0;) {
      const start = Math.max(0, end - tailChunkBytes)
      const { bytesRead } = await file.read(chunk, 0, end - start, start)
      const at = chunk.subarray(0, bytesRead).lastIndexOf(newline)
      if (at >= 0) return start + at
      end = start
    }
    return -1
  } finally {
    chunk.fill(0) // A node that starts sealed would have the newest names of its audit file in memory for no use.
  }
}
