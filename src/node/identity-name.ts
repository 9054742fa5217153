import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { randomUuid, type RandomSource } from '#base/random.ts'

/** The configured node id, or the one that this data folder was given when it was first used. */
export function nodeIdOf(configured: string | null, dataDir: string, random: RandomSource): string {
  if (configured !== null && configured !== '') return configured
  const path = join(dataDir, 'identity', 'node-id')
  if (existsSync(path)) return readFileSync(path, 'utf8').trim()
  const id = randomUuid(random)
  mkdirSync(join(dataDir, 'identity'), { recursive: true, mode: 0o700 })
  writeFileSync(path, `${id}\n`, { mode: 0o600 })
  return id
}
