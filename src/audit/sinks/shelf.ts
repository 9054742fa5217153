/**
 * Files that were rotated away: `PATH.20260801T100000.000Z`, with `.gz` once compressed. They are compressed, taken to an archive and, when their time
 * is over, deleted: one at a time, in the background, each step such that a crash between leaves nothing out.
 */
import { createReadStream, createWriteStream } from 'node:fs'
import { access, open, readdir, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createGzip } from 'node:zlib'
import type { Clock } from '#base/clock.ts'
import { firstChainOf, lastLineOf } from './tail.ts'
import type { LastLine, LinePlace } from '../types.ts'

const tidyEveryMs = 60_000
const filesMax = 100_000

export interface ShelfOptions {
  readonly path: string
  readonly clock: Clock
  readonly compress?: boolean
  /** Deleted when so old; absent: never. */
  readonly keepMs?: number
  /** Takes a copy of a file, by its path, and resolves when it is safe there. What it has taken before, it may be asked to take again. */
  readonly archive?: (file: string) => Promise<void>
  /** What went wrong in the background; it is tried again. */
  readonly onError?: (error: unknown) => void
}

const stampPattern = /\.(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)\.(\d{3})Z(\.gz)?$/

export class Shelf {
  readonly #options: ShelfOptions
  #oldest: LinePlace | null = null
  #tidying: Promise<void> | null = null
  #lastTidyMs = -Infinity
  #dirty = true
  #closed = false
  readonly #archived = new Set<string>()

  constructor(options: ShelfOptions) {
    this.#options = options
  }

  oldest(): LinePlace | null {
    return this.#oldest
  }

  /** Where the file goes that is rotated away now. */
  async place(): Promise<string> {
    const { path, clock } = this.#options
    this.#dirty = true
    for (let ms = clock.nowMs(); ; ms += 1) {
      const stamp = new Date(ms).toISOString().replaceAll(/[-:]/g, '')
      const there = await access(`${path}.${stamp}`).then(
        () => true,
        () => false,
      )
      if (!there) return `${path}.${stamp}`
    }
  }

  /** Takes in what there is, at the start. */
  async look(): Promise<void> {
    this.#oldest = await this.#firstKept(await this.#files())
  }

  /** The last line of the newest file here. */
  async lastLine(): Promise<LastLine | null> {
    const newest = (await this.#files()).at(-1)
    if (newest === undefined || newest.endsWith('.gz')) return null
    const file = await open(newest, 'r')
    try {
      return await lastLineOf(file)
    } finally {
      await file.close()
    }
  }

  /** Begins to tidy in the background if there is something to be done, or a minute has passed. */
  tidySoon(): void {
    const { compress, keepMs, archive, clock } = this.#options
    if (this.#tidying !== null || this.#closed || (!compress && keepMs === undefined && archive === undefined)) return
    if (!this.#dirty && clock.monotonicMs() - this.#lastTidyMs < tidyEveryMs) return
    this.#dirty = false
    this.#lastTidyMs = clock.monotonicMs()
    this.#tidying = this.#tidy()
      .catch((error: unknown) => this.#options.onError?.(error))
      .finally(() => (this.#tidying = null))
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#tidying
  }

  async #tidy(): Promise<void> {
    const { compress = false, archive } = this.#options
    for (const file of await this.#files()) {
      if (this.#closed) return
      const whole = compress && !file.endsWith('.gz') ? await compressed(file) : file
      if (archive !== undefined && !this.#archived.has(whole)) {
        await archive(whole)
        if (this.#archived.size >= filesMax) this.#archived.clear()
        this.#archived.add(whole)
      }
    }
    await this.#drop()
  }

  /** Oldest first, so that what is left is one piece. */
  async #drop(): Promise<void> {
    const { keepMs = Infinity, clock, archive } = this.#options
    const files = await this.#files()
    let dropped = 0
    for (const file of files) {
      const old = clock.nowMs() - stampMs(file) > keepMs
      if (!old || (archive !== undefined && !this.#archived.has(file))) break
      // Told before it is done: a crash between leaves a file too many, not one too few.
      this.#oldest = await this.#firstKept(files.slice(dropped + 1))
      await unlink(file)
      dropped += 1
    }
  }

  /** Sorted by time. */
  async #files(): Promise<string[]> {
    const { path } = this.#options
    const folder = dirname(path)
    const name = `${basename(path)}.`
    const found = (await readdir(folder)).filter((file) => file.startsWith(name) && stampPattern.test(file))
    // A crash between compressing and deleting leaves both.
    const all = new Set(found)
    return found
      .filter((file) => !file.endsWith('.gz') || !all.has(file.slice(0, -3)))
      .sort()
      .map((file) => join(folder, file))
  }

  async #firstKept(files: readonly string[]): Promise<LinePlace | null> {
    for (const file of [...files, this.#options.path]) {
      const first = await firstChainOf(file)
      if (first !== undefined) return first === null || first.prev === null ? null : { boot: first.boot, seq: first.seq }
    }
    return null
  }
}

function stampMs(file: string): number {
  const [, year, month, day, hour, minute, second, ms] = (stampPattern.exec(file) ?? []).map(Number)
  return Date.UTC(year ?? 0, (month ?? 1) - 1, day ?? 1, hour ?? 0, minute ?? 0, second ?? 0, ms ?? 0)
}

/** The compressed file's path. The file is gone only when that is whole on the disk. */
async function compressed(file: string): Promise<string> {
  const made = `${file}.gz.part`
  await pipeline(createReadStream(file), createGzip(), createWriteStream(made, { mode: 0o600, flush: true }))
  let bytes = 0
  await pipeline(createReadStream(made), createGunzip(), async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) bytes += chunk.length
  })
  const original = await open(file, 'r')
  const { size } = await original.stat()
  await original.close()
  if (bytes !== size) throw new Error('a compressed audit file expected to hold what was in it, got another length')
  await rename(made, `${file}.gz`)
  await unlink(file)
  return `${file}.gz`
}
