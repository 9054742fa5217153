/**
 * The log alone, on the disk of the temporary folder: entries of 1 KiB a second that are durable, by how many go into one append, beside as many bytes
 * written and flushed by fdatasync alone; and what reading them costs, from memory and from disk. CPU is this thread's.
 * Run: node bench/log-store.ts [--seconds 3] [--dir FOLDER]
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { EntryType, type Entry } from '#raft/index.ts'
import { openLogStore } from '#store/log.ts'
import type { LogStore } from '#store/types.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '3' }, dir: { type: 'string', default: tmpdir() } } })
const runMs = Number(values.seconds) * 1_000
const entryBytes = 1_024
/** Appends between two looks at the clock do not grow the log beyond what a node keeps. */
const keptEntries = 65_536
const readBytesMax = 1_048_576

const rounded = (value: number): number => Math.round(value * 100) / 100
function threadUs(): number {
  const { user, system } = process.threadCpuUsage()
  return user + system
}

interface Pace {
  readonly per_second: number
  readonly cpu_us_each: number
  readonly median_ms_a_batch: number
}

/** As many batches as fit into the time. */
async function paced(perBatch: number, batch: () => Promise<unknown>): Promise<Pace> {
  for (let warm = 0; warm < 20; warm += 1) await batch()
  const [begun, cpu] = [performance.now(), threadUs()]
  const took: number[] = []
  while (performance.now() - begun < runMs) {
    const at = performance.now()
    await batch()
    took.push(performance.now() - at)
  }
  const count = took.length * perBatch
  return {
    per_second: Math.round((count / (performance.now() - begun)) * 1_000),
    cpu_us_each: rounded((threadUs() - cpu) / count),
    median_ms_a_batch: rounded(took.toSorted((a, b) => a - b)[took.length >> 1] ?? 0),
  }
}

class Appender {
  readonly #log: LogStore
  #last = 0
  constructor(log: LogStore) {
    this.#log = log
  }
  get last(): number {
    return this.#last
  }
  async append(count: number): Promise<void> {
    const entries = Array.from({ length: count }, (_, at): Entry => {
      return { index: this.#last + 1 + at, term: 1, type: EntryType.command, data: randomBytes(entryBytes) }
    })
    await this.#log.append(null, entries)
    this.#last += count
    if (this.#last % keptEntries < count && this.#last > keptEntries) await this.#log.compact(this.#last - keptEntries)
  }
}

/** The same bytes into a plain file, flushed: what the disk itself allows. */
async function plainly(folder: string, perBatch: number): Promise<Pace> {
  const file = await open(join(folder, 'plain'), 'w')
  try {
    const bytes = randomBytes(entryBytes * perBatch)
    return await paced(perBatch, async () => {
      await file.write(bytes)
      await file.datasync()
    })
  } finally {
    await file.close()
  }
}

const folder = mkdtempSync(join(values.dir, 'holdfast-bench-'))
try {
  const log = await openLogStore({ directory: join(folder, 'node'), clusterId: 'bench' })
  await log.append({ term: 1, vote: 'a', commit: 0 }, [])
  const appender = new Appender(log)
  const appended: Record<string, { readonly log: Pace; readonly file: Pace }> = {}
  for (const perBatch of [1, 16, 64, 256]) {
    appended[`${perBatch} an append`] = {
      log: await paced(perBatch, () => appender.append(perBatch)),
      file: await plainly(folder, perBatch),
    }
  }
  const { last } = appender
  const reading = async (from: number): Promise<Pace> => {
    const read = (): readonly Entry[] => log.entries(from, from + 256, readBytesMax) ?? []
    if (read().length === 0) throw new Error(`expected entries from ${from} on, got none`)
    return await paced(read().length, async () => read())
  }
  const memory = await reading(last - 255)
  const disk = await reading(Math.max(log.firstIndex(), last - keptEntries + 1))
  recordFigures('log-store', `node bench/log-store.ts --seconds ${values.seconds}`, {
    entry_bytes: entryBytes,
    appended,
    read_from_memory: { per_second: memory.per_second, cpu_us_each: memory.cpu_us_each },
    read_from_disk: { per_second: disk.per_second, cpu_us_each: disk.cpu_us_each },
  })
  await log.close()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
