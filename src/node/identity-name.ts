import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { randomUuid, type RandomSource } from '#base/random.ts'
import { loadIdentity } from '#transport/identity.ts'
import { syncFolder, writeDurably } from './data-folder.ts'

/**
 * The configured node id, or the one that this data folder was given when it was first used: on the disk before it is returned. A member's stands in its
 * identity as well, and is taken from there where the file was lost (by a power cut, or with a founding that was begun anew).
 * @throws ERR_STORE_CORRUPT when it could only be told from an identity that is damaged
 */
export async function nodeIdOf(configured: string | null, dataDir: string, random: RandomSource): Promise<string> {
  if (configured !== null && configured !== '') return configured
  const path = join(dataDir, 'identity', 'node-id')
  const kept = existsSync(path) ? readFileSync(path, 'utf8').trim() : ''
  if (kept !== '') return kept
  const identity = await loadIdentity(dataDir)
  if (identity !== null) return identity.nodeId
  const id = randomUuid(random)
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  syncFolder(dataDir)
  writeDurably(path, `${id}\n`)
  return id
}
