import { join } from 'node:path'
import type { Disk } from './disk.ts'
import { errnoOf } from './errors.ts'

/** Makes creations, renames and removals in `directory` durable. */
export async function syncDirectory(disk: Disk, directory: string): Promise<void> {
  const handle = await disk.open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** The file's bytes, or null when there is none. */
export async function readIfThere(disk: Disk, path: string): Promise<Buffer | null> {
  try {
    return await disk.readFile(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}

/** Names in `directory`; null when it does not exist. */
export async function namesIn(disk: Disk, directory: string): Promise<string[] | null> {
  try {
    return await disk.readdir(directory)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}

/**
 * Makes everything that LevelDB was given so far durable, whatever `sync` its batches had.
 *
 * LevelDB's own `sync: true` syncs only its newest .log file: a write that went, unsynced, into the file before it can still be lost
 * while a later, synced one survives. An fsync works on the inode, so that syncing every .log through a descriptor of our own
 * covers both; its tables and its manifest it syncs itself before it deletes the logs that they replace.
 */
export async function syncLevelFiles(disk: Disk, directory: string): Promise<void> {
  for (const name of (await disk.readdir(directory)).filter((each) => each.endsWith('.log'))) {
    try {
      const handle = await disk.open(join(directory, name), 'r')
      try {
        await handle.datasync()
      } finally {
        await handle.close()
      }
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error // Gone since it was listed: its content is in a synced table.
    }
  }
  await syncDirectory(disk, directory)
}
