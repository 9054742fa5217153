/** A file: rotated by size, by age, or by whoever moves it away and sends SIGHUP. */
import { constants, write } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import type { Clock } from '#base/clock.ts'
import type { LineBatch } from '../line-batch.ts'
import type { AuditSink, LastLine } from '../types.ts'
import { Flusher } from './flusher.ts'
import { Shelf, type ShelfOptions } from './shelf.ts'
import { cutTornLine, lastLineOf } from './tail.ts'

const fileMode = 0o600
const othersBits = 0o077
const permissionBits = 0o777
/** What may lie in the kernel's memory before the disk is asked to take it, while lines go on being written. */
const unflushedBytesMax = 4 * 1024 * 1024

export interface FileSinkOptions {
  readonly path: string
  /** Wait for the disk before a record counts as written. */
  readonly fsync?: boolean
  /** Begin another file at so many bytes; absent: never. */
  readonly rotateBytes?: number
  /** Begin another file after so long; absent: never. */
  readonly rotateMs?: number
  /** Absent: what was rotated away is left alone. */
  readonly shelf?: Omit<ShelfOptions, 'path' | 'clock'>
  /** Refuses a path that is a symbolic link. */
  readonly noFollow?: boolean
  /** The user that files should belong to; absent: this process's. */
  readonly ownUid?: number
  /** A file was there already, and somebody else may read or change it. It is written to all the same: records must go somewhere. */
  readonly onExposed?: (file: Exposed) => void
  /** Needed with rotation. */
  readonly clock?: Clock
}

export interface Exposed {
  readonly uid: number
  /** Permission bits. */
  readonly mode: number
}

/**
 * Appends lines to a file (created with mode 0600). What a crash or a full disk left half written at its end was acknowledged to nobody,
 * and is cut off when the file is opened or a write fails, so that every line in the file is whole.
 */
export async function openFileSink(options: FileSinkOptions): Promise<AuditSink> {
  const sink = new FileSink(options, await openFile(options))
  await sink.measure()
  return sink
}

class FileSink implements AuditSink {
  readonly type = 'file'
  readonly #options: FileSinkOptions
  readonly #shelf: Shelf | null
  readonly #flusher: Flusher
  #file: FileHandle
  /** A pipe or a terminal has nothing to flush. */
  #isRegular = true
  #bytes = 0
  #sinceMs = 0
  #onRotated = (): void => {}

  constructor(options: FileSinkOptions, file: FileHandle) {
    this.#options = options
    this.#file = file
    this.#flusher = new Flusher(unflushedBytesMax, () => this.#file.datasync())
    const { path, clock, shelf = {} } = options
    this.#shelf = clock === undefined ? null : new Shelf({ path, clock, ...shelf })
  }

  /** Takes in what the open file is, and what stands beside it. */
  async measure(): Promise<void> {
    const stat = await this.#file.stat()
    this.#isRegular = stat.isFile()
    this.#bytes = stat.size
    this.#sinceMs = stat.size === 0 ? this.#nowMs() : stat.birthtimeMs || stat.ctimeMs
    await this.#shelf?.look()
  }

  onRotated(listener: () => void): void {
    this.#onRotated = listener
  }

  oldest(): { boot: string; seq: number } | null {
    return this.#shelf?.oldest() ?? null
  }

  async write({ bytes }: LineBatch): Promise<void> {
    if (this.#isDue(bytes.length)) await this.#rotate()
    try {
      this.#flusher.check()
      let written = 0
      // A disk that is nearly full takes a part, and says so only at the next write.
      while (written < bytes.length) written += await appendFrom(this.#file, bytes, written)
      if (this.#options.fsync === true) await this.#file.datasync()
      else if (this.#isRegular) this.#flusher.wrote(bytes.length)
      this.#bytes += bytes.length
    } catch (error) {
      // The chain goes on from the file's last line: half a line must not be that. Whole lines may stay; they did happen.
      await cutTornLine(this.#file).catch(() => {}) // What can't be cut now is cut when the file is opened.
      throw error
    }
    // Only now: the newest file that was rotated away stays as it is until the next one has a line, so that the chain can go on from it.
    this.#shelf?.tidySoon()
  }

  async sync(): Promise<void> {
    if (this.#isRegular) await this.#flusher.now()
  }

  async lastLine(): Promise<LastLine | null> {
    return (await lastLineOf(this.#file)) ?? (await this.#shelf?.lastLine()) ?? null
  }

  async reopen(): Promise<void> {
    // Before it is let go of: an anchor of the next file would say that all before it is safe. A disk that refuses is no reason to stay on it: the next
    // record is told.
    await this.sync().catch(() => {})
    const next = await openFile(this.#options)
    const old = this.#file
    this.#file = next
    await old.close()
    await this.measure()
  }

  async close(): Promise<void> {
    await this.#shelf?.close()
    await this.#flusher.idle()
    await this.#file.close()
    this.#flusher.check()
  }

  #nowMs(): number {
    return this.#options.clock?.nowMs() ?? 0
  }

  #isDue(more: number): boolean {
    const { rotateBytes = Infinity, rotateMs = Infinity } = this.#options
    if (this.#shelf === null || this.#bytes === 0) return false
    return this.#bytes + more > rotateBytes || this.#nowMs() - this.#sinceMs >= rotateMs
  }

  async #rotate(): Promise<void> {
    const shelf = this.#shelf!
    await this.#flusher.idle()
    // Before its name changes: a power cut must not leave a file that is shorter than the next one says.
    await this.#file.datasync()
    await rename(this.#options.path, await shelf.place())
    const next = await openFile(this.#options)
    const old = this.#file
    this.#file = next
    this.#bytes = 0
    this.#sinceMs = this.#nowMs()
    await old.close()
    this.#onRotated()
  }
}

/** How many bytes were written. The handle's own write costs twice as much; a file has one operation at a time, so that it is not closed meanwhile. */
function appendFrom({ fd }: FileHandle, bytes: Uint8Array, from: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, from, bytes.length - from, null, (error, written) => (error ? reject(error) : resolve(written)))
  })
}

async function openFile(options: FileSinkOptions): Promise<FileHandle> {
  const { path, noFollow = false } = options
  const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | (noFollow ? constants.O_NOFOLLOW : 0)
  const file = await open(path, flags, fileMode)
  try {
    await shut(file, options)
    await cutTornLine(file)
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Records of who did what are nobody else's business, whoever made the file before us. */
async function shut(file: FileHandle, { ownUid = process.geteuid?.(), onExposed }: FileSinkOptions): Promise<void> {
  const before = await file.stat()
  if (!before.isFile()) return
  if ((before.mode & othersBits) !== 0) await file.chmod(fileMode).catch(() => {}) // Another user's: told below.
  const { uid, mode } = await file.stat()
  if ((mode & othersBits) !== 0 || (ownUid !== undefined && uid !== ownUid)) onExposed?.({ uid, mode: mode & permissionBits })
}
