/**
 * The replicated command: a batch of writes on ciphertext, in sections, never a request to be evaluated again.
 * version byte (1 at level 1), then msgpack [timeMs, [[section, [key, value | null, ...]], ...], directory update | null, mac | null].
 * `mac` is reserved for the barrier's authenticator (architecture, decision 2); it is null until that stands.
 */
import { Packr } from 'msgpackr'
import { HoldfastError } from '#base/errors.ts'
import { firstLevel, laidOut, levelOf, releasedFormats, versionAt, type FormatRange } from '#base/formats.ts'
import type { Op } from '#store/types.ts'
import { decodeUpdate, encodeUpdate, firstCallerKeyByte, type DirectoryUpdate } from './directory.ts'
import type { SectionBatch } from './types.ts'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })
const commandVersion = 1
/** msgpackr's flag for "leave so many bytes in front"; its typings only know plain numbers. */
const reserveOneByte = (2048 + 1) as never

export interface Command {
  /** The leader's clock at evaluation. */
  readonly timeMs: number
  readonly sections: readonly SectionBatch[]
  readonly directory: DirectoryUpdate | null
}

/** Encodes a command for the log of a cluster at `level`; the buffer is the caller's, and must not change afterwards. */
export function encodeCommand(command: Command, level: number = firstLevel): Uint8Array {
  const sections = command.sections.map(({ section, ops }) => [section, ops.flatMap(({ key, value }) => [key, value ?? null])])
  const bytes = packr.pack(
    laidOut([command.timeMs, sections, command.directory === null ? null : encodeUpdate(command.directory, level), null], level),
    reserveOneByte,
  )
  bytes[0] = versionAt(commandVersion, level)
  return bytes
}

/**
 * Decodes a command. Keys and values are views into `data`.
 * @throws ERR_UPGRADE_REQUIRED for a version outside `formats`, ERR_STORE_CORRUPT for a malformed command: applying either would be guessing, and
 *   nodes would differ.
 */
export function decodeCommand(data: Uint8Array, formats: FormatRange = releasedFormats): Command {
  const level = levelOf('command', commandVersion, data[0], formats)
  if (level === null) throw malformed('a version')
  const record = unpack(data.subarray(1))
  if (!Array.isArray(record)) throw malformed('a list')
  const [timeMs, sections, directory] = laidOut(record as unknown[], level)
  if (typeof timeMs !== 'number' || !Number.isFinite(timeMs) || !Array.isArray(sections)) throw malformed('a time and sections')
  const update = directory instanceof Uint8Array ? decodeUpdate(directory, formats) : null
  return { timeMs, sections: sections.map(sectionFrom), directory: update }
}

function sectionFrom(row: unknown): SectionBatch {
  const [section, flat] = Array.isArray(row) ? (row as unknown[]) : []
  if (!(section instanceof Uint8Array) || !Array.isArray(flat) || flat.length % 2 !== 0) throw malformed('a section of pairs')
  const ops: Op[] = []
  for (let at = 0; at < flat.length; at += 2) {
    const [key, value] = [flat[at] as unknown, flat[at + 1] as unknown]
    if (!(key instanceof Uint8Array) || !(value === null || value instanceof Uint8Array)) throw malformed('keys and values')
    // Keys of the store and of this room are not a caller's to write: left out, on every node alike.
    if ((key[0] ?? 0) >= firstCallerKeyByte) ops.push({ key, value })
  }
  return { section, ops }
}

function unpack(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes)
  } catch {
    return null
  }
}

function malformed(expected: string): HoldfastError {
  return new HoldfastError('ERR_STORE_CORRUPT', `command: expected ${expected}, got something else`)
}
