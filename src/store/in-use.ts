/** Whether a process has a LevelDB folder open, found out without reading or changing what is in it. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { errnoOf, storeFailed } from './errors.ts'

/**
 * To be asked before anything is concluded from the files of `path`, whose lock is otherwise taken only as the last step of opening them: those of a
 * database in use change while they are read, may look damaged, and what is then repaired or moved would be another process's.
 * @throws ERR_STORE_FAILED while a process has it open
 */
export async function expectNotInUse(path: string): Promise<void> {
  if (!existsSync(join(path, 'LOCK'))) return
  // LevelDB takes the lock, and then refuses both a database that is there and one that is not: nothing is replayed, and nothing made.
  const probe = new ClassicLevel(path, { errorIfExists: true, createIfMissing: false })
  try {
    await probe.open()
  } catch (error) {
    if (errnoOf(error) === 'LEVEL_LOCKED') throw storeFailed(`${path}: could not be opened`, error)
    return
  }
  await probe.close()
}
