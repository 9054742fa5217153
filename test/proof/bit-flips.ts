/** One bit of one file of a stopped node's folder. */
import { globSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Prng } from '#test/sim/prng.ts'

export type FileKind = 'log' | 'table' | 'manifest' | 'other'

export interface Flip {
  readonly file: string
  readonly kind: FileKind
  readonly bit: number
}

/** Part of the flips that hit logs, tables and manifests of LevelDB; the rest hits the small files beside them. */
const levelPart = 0.75
/** LevelDB's own diary and its lock: nothing reads them. */
const unread = /(^|\/)(LOG|LOG\.old|LOCK)$/

/** Files below log/ and state/, and the small ones beside: what the stores read when they open. Relative to `dataDir`. */
export function liveFiles(dataDir: string): string[] {
  const all = globSync('{log/**,state/**,hardstate.*,acknowledged}', { cwd: dataDir }).filter((path) =>
    statSync(join(dataDir, path)).isFile(),
  )
  const manifests = new Set(
    all.filter((path) => path.endsWith('/CURRENT')).map((path) => join(path, '..', readFileSync(join(dataDir, path), 'utf8').trim())),
  )
  return all.filter((path) => {
    if (unread.test(path) || statSync(join(dataDir, path)).size === 0) return false
    return kindOf(path) !== 'manifest' || manifests.has(path)
  })
}

/** Draws a kind of file, then a file of it, then a bit. */
export function drawFlip(dataDir: string, files: readonly string[], dice: Prng): Flip {
  const byKind = Map.groupBy(files, kindOf)
  const level = (['log', 'table', 'manifest'] as const).filter((kind) => byKind.has(kind))
  const kind = byKind.has('other') && !dice.chance(levelPart) ? 'other' : dice.pick(level)
  const file = dice.pick(byKind.get(kind) ?? [])
  return { file, kind, bit: dice.below(statSync(join(dataDir, file)).size * 8) }
}

export function flip(dataDir: string, { file, bit }: Flip): void {
  const path = join(dataDir, file)
  const bytes = readFileSync(path)
  bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7))
  writeFileSync(path, bytes)
}

function kindOf(path: string): FileKind {
  const name = basename(path)
  if (name.endsWith('.log')) return 'log'
  if (name.endsWith('.ldb')) return 'table'
  return name.startsWith('MANIFEST-') ? 'manifest' : 'other'
}

/** The table of outcomes that both experiments conclude with. */
export function countBy<T>(rounds: readonly T[], key: (round: T) => string): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(rounds, key)].map(([name, each]) => [name, each.length]))
}
