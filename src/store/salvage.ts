/**
 * What becomes of a damaged log: the part of it that still proves itself is copied into a new one, and the damaged folder is set aside. What this node may
 * have acknowledged beyond that, its peers still have; until it has it again, it gives no vote (fence.ts).
 *
 * The commit index is forgotten with the rest: a record that rotted back to an older one of the same index proves itself as well (it was right once), and
 * must not be taken for what was committed there. A leader says again what is.
 */
import { join } from 'node:path'
import { isHoldfastError, type HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import { AckFile, ackFileName, type AckMark } from './ack.ts'
import { decodeBase, encodeBase, type LogBase } from './base.ts'
import type { Disk } from './disk.ts'
import type { FenceFile } from './fence.ts'
import { namesIn, syncDirectory, syncLevelFiles } from './files.ts'
import type { HardStateFile } from './hardstate.ts'
import { openLevel, type Level, type LevelFactory, type LevelOp, type LevelOptions } from './level.ts'
import { hasManifest } from './levelcheck.ts'
import { baseKey, chainOrigin, decodeRecord, indexKey } from './record.ts'

export const logName = 'log'
/** The last damaged one, for inspection; the next replaces it. */
export const damagedLogName = 'log.damaged'
const newLogName = 'log.new'
const recordsPerBatchMax = 512
const batchBytesMax = 1 << 20

export interface SalvageOptions {
  readonly disk: Disk
  readonly directory: string
  /** Of the cluster (record.ts). */
  readonly cluster: Uint8Array
  readonly factory: LevelFactory
  readonly level: LevelOptions
  readonly hard: HardStateFile
  readonly fence: FenceFile
  readonly logger: Logger
}

/**
 * Replaces the log by what can be proven of it. A crash at any step leaves a log that is found damaged again.
 * @throws ERR_STORE_FAILED
 */
export async function salvageLog(options: SalvageOptions, reason: HoldfastError): Promise<void> {
  const { disk, directory, hard, fence, logger } = options
  const state = hard.current
  if (state === null) throw reason
  const term = Math.max(state.term, fence.current?.term ?? 0) + 1
  // In this order: from here on, whatever comes of the log, no vote is given that forgets what was acknowledged.
  await fence.write({ term, reason: reason.message })
  // Leaders of before count on acknowledgements of what is gone. One that hears of this term gives way to one that asks anew.
  await hard.write({ term, vote: null, commit: 0 })
  const names = (await namesIn(disk, directory)) ?? []
  // A crash may have come between the two renames below.
  const source = names.includes(logName) ? logName : names.includes(damagedLogName) ? damagedLogName : null
  const mark = await markIn(options)
  const kept = await copyProven(options, source, mark)
  await disk.rm(join(directory, ackFileName), { force: true })
  if (source === logName) {
    await disk.rm(join(directory, damagedLogName), { recursive: true, force: true })
    await disk.rename(join(directory, logName), join(directory, damagedLogName))
    await syncDirectory(disk, directory)
  }
  await disk.rename(join(directory, newLogName), join(directory, logName))
  await syncDirectory(disk, directory)
  const ack = await AckFile.open(disk, directory)
  await ack.close()
  await syncDirectory(disk, directory)
  logger.warn(
    { reason: reason.message, kept, term, aside: damagedLogName },
    'the log of this node is damaged: what proves itself was kept, the rest is fetched from the other nodes, and until then this node gives no vote',
  )
}

async function markIn({ disk, directory }: SalvageOptions): Promise<AckMark | null> {
  if (!((await namesIn(disk, directory)) ?? []).includes(ackFileName)) return null
  try {
    const ack = await AckFile.open(disk, directory)
    await ack.close()
    return ack.mark
  } catch (error) {
    if (isHoldfastError(error, 'ERR_STORE_CORRUPT')) return null
    throw error
  }
}

/** Fills `log.new`; resolves with the index of its last entry. */
async function copyProven(options: SalvageOptions, source: string | null, mark: AckMark | null): Promise<number> {
  const { disk, directory, cluster, factory, level } = options
  const path = join(directory, newLogName)
  await disk.rm(path, { recursive: true, force: true })
  const target = await openLevel(factory, path, level)
  const origin: LogBase = { index: 0, term: 0, chain: chainOrigin(cluster, 0, 0) }
  let kept = 0
  try {
    const from = source === null ? null : await openIfReadable(disk, factory, join(directory, source), level)
    try {
      kept = await copy(from, target, cluster, mark)
    } finally {
      await from?.close().catch(() => {})
    }
    if ((await target.get(baseKey)) === undefined) await target.batch([basePut(origin, cluster)], { sync: true })
    await syncLevelFiles(disk, path)
  } finally {
    await target.close()
  }
  await syncDirectory(disk, path)
  return kept
}

/** Null where LevelDB itself can make nothing of it. */
async function openIfReadable(disk: Disk, factory: LevelFactory, path: string, options: LevelOptions): Promise<Level | null> {
  try {
    if (!(await hasManifest(disk, path))) return null
    return await openLevel(factory, path, options)
  } catch (error) {
    if (isHoldfastError(error, 'ERR_STORE_CORRUPT')) return null
    throw error
  }
}

/** Copies the base and what follows it without a gap, up to the first record that does not prove itself; 0 where not even the base does. */
async function copy(from: Level | null, to: Level, cluster: Uint8Array, mark: AckMark | null): Promise<number> {
  const base = from === null ? null : await readBase(from, cluster)
  if (from === null || base === null) return 0
  await to.batch([basePut(base, cluster)], { sync: true })
  let { index, term, chain } = base
  const iterator = from.iterator({
    gt: indexKey(base.index),
    lt: new Uint8Array([0xff]),
    fillCache: false,
    highWaterMarkBytes: batchBytesMax,
  })
  try {
    for (;;) {
      const ops: LevelOp[] = []
      for (const [key, value] of await nextOf(iterator)) {
        const next = proven(cluster, index + 1, key, value, chain)
        if (next === null || next.term < term) break
        if (mark?.index === index + 1 && Buffer.compare(next.chain, mark.chain) !== 0) break
        index += 1
        term = next.term
        chain = new Uint8Array(next.chain)
        ops.push({ type: 'put', key: indexKey(index), value })
      }
      if (ops.length === 0) return index
      await to.batch(ops, { sync: true })
    }
  } finally {
    await iterator.close().catch(() => {})
  }
}

async function nextOf(iterator: ReturnType<Level['iterator']>): Promise<[Uint8Array, Uint8Array][]> {
  try {
    return await iterator.nextv(recordsPerBatchMax)
  } catch {
    return [] // LevelDB stumbled over its own damage: what comes behind proves nothing.
  }
}

function proven(
  cluster: Uint8Array,
  index: number,
  key: Uint8Array,
  value: Uint8Array,
  previous: Uint8Array,
): { readonly term: number; readonly chain: Uint8Array } | null {
  if (Buffer.compare(indexKey(index), key) !== 0) return null
  try {
    const { entry, chain } = decodeRecord(cluster, index, value, previous)
    return { term: entry.term, chain }
  } catch (error) {
    if (isHoldfastError(error, 'ERR_STORE_CORRUPT')) return null
    throw error
  }
}

async function readBase(from: Level, cluster: Uint8Array): Promise<LogBase | null> {
  try {
    const value = await from.get(baseKey)
    return value === undefined ? null : decodeBase(value, cluster)
  } catch (error) {
    // A later release's is not damaged.
    if (isHoldfastError(error, 'ERR_UPGRADE_REQUIRED')) throw error
    return null
  }
}

function basePut(base: LogBase, cluster: Uint8Array): LevelOp {
  return { type: 'put', key: baseKey, value: encodeBase(base, cluster) }
}
