import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import type { AuditSink } from './types.ts'

const fileMode = 0o600
const tailChunkBytes = 64 * 1024
/** No line is longer: a body of 32 MiB hashes to less than four times itself. */
const lineBytesMax = 192 * 1024 * 1024
const newline = 10

export interface FileSinkOptions {
  readonly path: string
  /** Wait for the disk before a record counts as written. */
  readonly fsync?: boolean
}

/**
 * Appends lines to a file (created with mode 0600). What a crash or a full disk left half written at its end was acknowledged to nobody,
 * and is cut off when the file is opened or a write fails, so that every line in the file is whole.
 */
export async function openFileSink(options: FileSinkOptions): Promise<AuditSink> {
  let file = await openFile(options.path)

  async function writeAll(bytes: Buffer): Promise<void> {
    try {
      let written = 0
      // A disk that is nearly full takes a part, and says so only at the next write.
      while (written < bytes.length) written += (await file.write(bytes, written)).bytesWritten
      if (options.fsync === true) await file.datasync()
    } catch (error) {
      // The chain goes on from the file's last line: half a line must not be that. Whole lines may stay; they did happen.
      await cutTornLine(file).catch(() => {}) // What can't be cut now is cut when the file is opened.
      throw error
    }
  }

  return {
    type: 'file',
    write: (lines) => writeAll(Buffer.from(`${lines.join('\n')}\n`)),
    lastLine: async () => lastLineOf(file),
    async reopen() {
      const next = await openFile(options.path)
      const old = file
      file = next
      await old.close()
    },
    close: () => file.close(),
  }
}

async function openFile(path: string): Promise<FileHandle> {
  const file = await open(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, fileMode)
  try {
    const stat = await file.stat()
    // Records of who did what are nobody else's business, whoever made the file before us.
    if (stat.isFile() && (stat.mode & 0o077) !== 0) await file.chmod(fileMode).catch(() => {})
    await cutTornLine(file)
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

async function cutTornLine(file: FileHandle): Promise<void> {
  const stat = await file.stat()
  if (!stat.isFile()) return // A pipe or a terminal.
  const { size } = stat
  const end = await lastNewline(file, size)
  if (end + 1 < size) await file.truncate(end + 1)
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

async function lastLineOf(file: FileHandle): Promise<string | null> {
  const stat = await file.stat()
  if (!stat.isFile() || stat.size === 0) return null
  const end = await lastNewline(file, stat.size)
  if (end < 0) return null
  const start = (await lastNewline(file, end)) + 1
  if (end - start > lineBytesMax) return null
  const line = Buffer.alloc(end - start)
  let read = 0
  while (read < line.length) {
    const { bytesRead } = await file.read(line, read, line.length - read, start + read)
    if (bytesRead === 0) break
    read += bytesRead
  }
  return line.toString('utf8')
}
