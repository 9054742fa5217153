import { open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from './errors.ts'

/** Makes creations, renames and removals in `directory` durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** The file's bytes, or null when there is none. */
export async function readIfThere(path: string): Promise<Buffer | null> {
  try {
    return await readFile(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}

/** Names in `directory`; null when it does not exist. */
export async function namesIn(directory: string): Promise<string[] | null> {
  try {
    return await readdir(directory)
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
export async function syncLevelFiles(directory: string): Promise<void> {
  for (const name of (await readdir(directory)).filter((each) => each.endsWith('.log'))) {
    try {
      const handle = await open(join(directory, name), 'r')
      try {
        await handle.datasync()
      } finally {
        await handle.close()
      }
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error // Gone since it was listed: its content is in a synced table.
    }
  }
  await syncDirectory(directory)
}
