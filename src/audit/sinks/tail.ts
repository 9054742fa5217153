/** First and last lines of files: what they say of the chain, and nothing else of them kept in memory. */
import type { FileHandle } from 'node:fs/promises'
import { chainOf, lineHash } from '../chain.ts'
import type { LastLine } from '../types.ts'

const tailChunkBytes = 64 * 1024
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
  const line = Buffer.alloc(end - start)
  try {
    let read = 0
    while (read < line.length) {
      const { bytesRead } = await file.read(line, read, line.length - read, start + read)
      if (bytesRead === 0) break
      read += bytesRead
    }
    return { head: lineHash(line), chain: chainOf(line) }
  } finally {
    line.fill(0)
  }
}

/** As `lastLineOf`, of the first line. */
export async function firstLineOf(file: FileHandle): Promise<LastLine | null> {
  const pieces: Buffer[] = []
  let joined: Buffer | null = null
  try {
    for (let at = 0; at <= lineBytesMax; at += tailChunkBytes) {
      const chunk = Buffer.alloc(tailChunkBytes)
      const { bytesRead } = await file.read(chunk, 0, chunk.length, at)
      pieces.push(chunk)
      const end = chunk.subarray(0, bytesRead).indexOf(newline)
      if (end < 0 && bytesRead < chunk.length) return null
      if (end < 0) continue
      joined = Buffer.concat(pieces)
      const line = joined.subarray(0, at + end)
      return { head: lineHash(line), chain: chainOf(line) }
    }
    return null
  } finally {
    for (const piece of pieces) piece.fill(0)
    joined?.fill(0)
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
