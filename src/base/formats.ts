/**
 * Which formats a release understands, and how one row of fields is written in each.
 *
 * A cluster is at one level, and everything that is replicated or sent is written as that level says; a node understands a range of levels. So
 * two releases can run side by side: the newer one writes as the older one reads, until every member understands the next level.
 *
 * Level 1 is what this release writes. Level 2 is a rehearsal, understood only by nodes that tests start with it: the same fields in the
 * reverse order under the next version byte, so that a rolling upgrade takes the ways now that the first real one will take. The first real
 * change of a replicated format takes its place.
 */
import { HoldfastError } from './errors.ts'

export interface FormatRange {
  readonly min: number
  readonly max: number
}

export const firstLevel = 1
/** Versions are one byte. */
const versionMax = 255
export const rehearsalLevel = 2
/** What this release understands. */
export const releasedFormats: FormatRange = { min: firstLevel, max: firstLevel }

/** `row` as it stands in a record of `level`; applied to such a record it gives the row again. */
export function laidOut<T>(row: readonly T[], level: number): T[] {
  return level === rehearsalLevel ? row.toReversed() : [...row]
}

/** The version byte of a format whose version at level 1 is `first`. */
export function versionAt(first: number, level: number): number {
  return first + level - firstLevel
}

/**
 * The level that a record of `version` was written in, where `first` is the format's version at level 1. Null when `version` is none at all:
 * damaged rather than new. @throws ERR_UPGRADE_REQUIRED, naming the version, for one outside `formats`.
 */
export function levelOf(what: string, first: number, version: unknown, formats: FormatRange): number | null {
  if (typeof version !== 'number' || !Number.isInteger(version) || version < 1 || version > versionMax) return null
  const level = version - first + firstLevel
  if (level >= formats.min && level <= formats.max) return level
  throw new HoldfastError('ERR_UPGRADE_REQUIRED', `${what}: expected version ${versions(first, formats)}, got ${version}`, {
    hint:
      level > formats.max
        ? 'it was written by a newer release: upgrade this node'
        : 'it was written by an older release than this one reads: go through a release between the two',
  })
}

/**
 * For a format that lies on this node's disk, or on the wire apart from the levels, and has one version. Returns false when `got` is no version at all.
 * @throws ERR_UPGRADE_REQUIRED, naming the version, for another one.
 */
export function checkVersion(what: string, expected: number, got: unknown): boolean {
  if (got === expected) return true
  if (typeof got !== 'number' || !Number.isInteger(got) || got < 1 || got > versionMax) return false
  throw new HoldfastError('ERR_UPGRADE_REQUIRED', `${what}: expected version ${expected}, got ${got}`, {
    hint: `it was written by ${got > expected ? 'a newer' : 'an older'} release: start that one`,
  })
}

/** Whether a node of `formats` can be part of a cluster at `level`. @throws ERR_UPGRADE_REQUIRED, saying what to do. */
export function checkLevel(level: number, formats: FormatRange): void {
  if (level > formats.max) {
    throw new HoldfastError('ERR_UPGRADE_REQUIRED', `expected a cluster at format level ${formats.max} or below, got one at ${level}`, {
      hint: `this release is older than what the cluster writes, and the level is never lowered: start a release that understands level ${level}`,
    })
  }
  if (level < formats.min) {
    throw new HoldfastError('ERR_UPGRADE_REQUIRED', `expected a cluster at format level ${formats.min} or above, got one at ${level}`, {
      hint: `this release no longer writes level ${level}: upgrade all members to a release between the two first`,
    })
  }
}

/** A range as a peer sent it; null when it is none. */
export function rangeFrom(value: unknown): FormatRange | null {
  if (typeof value !== 'object' || value === null) return null
  const { min, max } = value as Record<string, unknown>
  const fits = [min, max].every((each) => typeof each === 'number' && Number.isSafeInteger(each) && each >= firstLevel && each <= 0xffff)
  return fits && (min as number) <= (max as number) ? { min: min as number, max: max as number } : null
}

function versions(first: number, { min, max }: FormatRange): string {
  const [low, high] = [versionAt(first, min), versionAt(first, max)]
  return low === high ? String(low) : `${low} to ${high}`
}
