/**
 * Checks a closed LevelDB folder before LevelDB opens it, and with that replays and deletes its logs. LevelDB verifies neither its .log records in a way
 * that would stop it (it drops a bad one, and goes on with the next) nor the blocks of its tables (it returns wrong values).
 */
import { join } from 'node:path'
import { isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { Disk } from './disk.ts'
import { storeCorrupt } from './errors.ts'
import { namesIn, readIfThere, syncDirectory } from './files.ts'
import { readManifest, scanLog, tableProblem, type Manifest } from './levelfiles.ts'

export interface LevelCheckOptions {
  /**
   * True where a lost end is made good from elsewhere (the state, from the log). A .log is then cut at its first bad record, and later ones are set
   * aside: an unsynced batch that a power cut took from the middle must not leave those after it in force. False where every record was synced: then
   * a bad record that others follow was acknowledged once, and is refused; a bad end is left to those who know what was acknowledged (ack.ts).
   */
  readonly repairTornLogs: boolean
  readonly logger: Logger
}

/** @throws ERR_STORE_CORRUPT when a live file of `directory` is damaged beyond what may be repaired. */
export async function checkLevelFiles(disk: Disk, directory: string, options: LevelCheckOptions): Promise<void> {
  const names = (await namesIn(disk, directory)) ?? []
  const manifest = await currentManifest(disk, directory)
  for (const [number, size] of manifest.tables) await checkTable(disk, directory, names, number, size)
  const logs = numbered(names, 'log').filter(({ number }) => number >= manifest.logNumber || number === manifest.previousLog)
  for (const [position, { name }] of logs.entries()) {
    const file = await disk.readFile(join(directory, name))
    const scan = scanLog(file)
    if (scan.state === 'whole') continue
    if (options.repairTornLogs)
      return cut(
        disk,
        directory,
        logs.slice(position).map((each) => each.name),
        file,
        scan.goodBytes,
        options.logger,
      )
    if (scan.state === 'damaged')
      throw storeCorrupt(`${name}: expected intact records, got a damaged one at byte ${scan.goodBytes} with others behind it`)
  }
}

/**
 * Verifies the tables of an open database, as its manifest names them now; returns their bytes. One that LevelDB removes meanwhile is skipped.
 * @throws ERR_STORE_CORRUPT; whatever the disk or `pace` throw.
 */
export async function checkLiveTables(disk: Disk, directory: string, pace: (bytes: number) => Promise<void>): Promise<number> {
  let bytes = 0
  for (const number of (await liveManifest(disk, directory)).tables.keys()) {
    const stem = String(number).padStart(6, '0')
    const file = (await readIfThere(disk, join(directory, `${stem}.ldb`))) ?? (await readIfThere(disk, join(directory, `${stem}.sst`)))
    if (file === null) {
      if ((await liveManifest(disk, directory)).tables.has(number))
        throw storeCorrupt(`${stem}.ldb: expected a table that the manifest names, got none`)
      continue
    }
    const problem = tableProblem(file)
    if (problem !== null) throw storeCorrupt(`${stem}.ldb: ${problem}`)
    bytes += file.length
    await pace(file.length)
  }
  return bytes
}

/** LevelDB may be writing it, and replace it: what can't be read now is read again. */
async function liveManifest(disk: Disk, directory: string): Promise<Manifest> {
  for (let left = 3; ; left -= 1) {
    try {
      return await currentManifest(disk, directory)
    } catch (error) {
      if (left === 0) throw error
    }
  }
}

/** Can LevelDB find its files in the closed `directory`? Without them it would begin a new database there, or fail as if the disk did. */
export async function hasManifest(disk: Disk, directory: string): Promise<boolean> {
  try {
    await currentManifest(disk, directory)
    return true
  } catch (error) {
    if (isHoldfastError(error, 'ERR_STORE_CORRUPT')) return false
    throw error
  }
}

async function currentManifest(disk: Disk, directory: string): Promise<Manifest> {
  const pointer = (await readIfThere(disk, join(directory, 'CURRENT')))?.toString('latin1').trim()
  if (pointer === undefined || !/^MANIFEST-\d+$/.test(pointer))
    throw storeCorrupt('CURRENT: expected the name of a manifest, got something else')
  const file = await readIfThere(disk, join(directory, pointer))
  const manifest = file === null ? null : readManifest(file)
  if (manifest === null) throw storeCorrupt(`${pointer}: expected an intact manifest, got a damaged one or none`)
  return manifest
}

async function checkTable(disk: Disk, directory: string, names: readonly string[], number: number, size: number): Promise<void> {
  const stem = String(number).padStart(6, '0')
  const name = names.find((each) => each === `${stem}.ldb` || each === `${stem}.sst`)
  if (name === undefined) throw storeCorrupt(`${stem}.ldb: expected a table that the manifest names, got none`)
  const file = await disk.readFile(join(directory, name))
  if (file.length !== size) throw storeCorrupt(`${name}: expected ${size} bytes, got ${file.length}`)
  const problem = tableProblem(file)
  if (problem !== null) throw storeCorrupt(`${name}: ${problem}`)
}

function numbered(names: readonly string[], extension: string): { readonly name: string; readonly number: number }[] {
  return names
    .flatMap((name) => {
      const match = /^(\d+)\.(\w+)$/.exec(name)
      return match?.[2] === extension ? [{ name, number: Number(match[1]) }] : []
    })
    .sort((a, b) => a.number - b.number)
}

/**
 * Keeps the first `goodBytes` of `file`, the content of the first of `names`, and sets the damaged originals aside. A crash at any step leaves the
 * damaged file in place, to be cut again, or the cut one with no later log behind it.
 */
async function cut(
  disk: Disk,
  directory: string,
  names: readonly string[],
  file: Buffer,
  goodBytes: number,
  logger: Logger,
): Promise<void> {
  const [first, ...later] = names
  if (first === undefined) return
  logger.warn(
    { file: first, keptBytes: goodBytes, setAside: names.length },
    'state: an unreadable end of its log is cut off, and applied again from the raft log',
  )
  const path = join(directory, first)
  await writeSynced(disk, `${path}.tmp`, file.subarray(0, goodBytes))
  await writeSynced(disk, `${path}.damaged`, file)
  // From the last to the first, and durably before the cut: a later log must never be in force behind it.
  for (const name of later.toReversed()) await disk.rename(join(directory, name), join(directory, `${name}.damaged`))
  await syncDirectory(disk, directory)
  await disk.rename(`${path}.tmp`, path)
  await syncDirectory(disk, directory)
  await removeOlder(disk, directory, names)
}

/** Of what was set aside only the newest is kept: with every torn end a copy of some MiB would stay otherwise. */
async function removeOlder(disk: Disk, directory: string, kept: readonly string[]): Promise<void> {
  for (const name of (await namesIn(disk, directory)) ?? [])
    if (name.endsWith('.log.damaged') && !kept.some((each) => name === `${each}.damaged`))
      await disk.rm(join(directory, name), { force: true })
}

async function writeSynced(disk: Disk, path: string, content: Uint8Array): Promise<void> {
  const handle = await disk.open(path, 'w', 0o600)
  try {
    await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
}
