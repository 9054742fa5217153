/**
 * The replicated command: a batch of writes on ciphertext, in sections, never a request to be evaluated again.
 *
 *   version 1 (2 at level 1) | MAC 32 | MAC of the command or membership change before 32 | header length 4 | header | (section length 4 | section)*
 *
 * The header is msgpack [timeMs, directory update | null, checkpoint | null], and where a restore is ordered (restore.ts) fourth [id, digest, incarnation]; a section is msgpack [section, [key, value | null, ...]]. The MAC is over the
 * hashes of header and sections, not over their bytes: one day a section that a follower may not have is replaced by its hash, and the chain still
 * verifies (architecture, decision 12). Both MACs zero: signed by nobody.
 */
import { hash } from 'node:crypto'
import { Packr } from 'msgpackr'
import { HoldfastError } from '#base/errors.ts'
import { firstLevel, laidOut, levelOf, releasedFormats, versionAt, type FormatRange } from '#base/formats.ts'
import type { Op } from '#store/types.ts'
import { macBytes } from './authenticator.ts'
import { decodeUpdate, encodeUpdate, firstCallerKeyByte, type DirectoryUpdate } from './directory.ts'
import type { SectionBatch } from './types.ts'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })
const commandVersion = 2
const macAt = 1
const prevAt = macAt + macBytes
const headAt = prevAt + macBytes
const lengthBytes = 4
/** msgpack's list of four: the header of a command that orders a restore, and of no other. */
const restoreHead = 0x94

export interface Command {
  /** The leader's clock at evaluation. */
  readonly timeMs: number
  readonly sections: readonly SectionBatch[]
  readonly directory: DirectoryUpdate | null
  /** What a leader says of a state that it had (proofs.ts); absent or null in all but few. */
  readonly checkpoint?: Uint8Array | null
  /** With this command the whole state is replaced by one that a majority has staged (restore.ts); absent or null in all but those. */
  readonly restore?: RestoreOrder | null
}

/** What is to take the state's place. */
export interface RestoreOrder {
  readonly id: string
  /** Of what is staged. */
  readonly digest: Uint8Array
  /** Of the cluster from then on. */
  readonly incarnation: number
}

/** Encodes a command, unsigned, for the log of a cluster at `level`; the buffer is the caller's, and must not change once it is signed and proposed. */
export function encodeCommand(command: Command, level: number = firstLevel): Uint8Array {
  const { timeMs, directory, checkpoint = null, restore = null } = command
  const row: unknown[] = [timeMs, directory === null ? null : encodeUpdate(directory, level), checkpoint]
  if (restore !== null) row.push([restore.id, restore.digest, restore.incarnation])
  const parts = [packr.pack(laidOut(row, level))]
  for (const { section, ops } of command.sections) parts.push(packr.pack([section, ops.flatMap(({ key, value }) => [key, value ?? null])]))
  const out = Buffer.alloc(parts.reduce((sum, part) => sum + lengthBytes + part.length, headAt))
  out[0] = versionAt(commandVersion, level)
  let at = headAt
  for (const part of parts) {
    out.writeUInt32BE(part.length, at)
    out.set(part, at + lengthBytes)
    at += lengthBytes + part.length
  }
  return out
}

/** Whether `data`, a command, orders a restore; in few steps, since every entry that comes is asked. */
export function ordersRestore(data: Uint8Array): boolean {
  return data[headAt + lengthBytes] === restoreHead
}

/** What a command's MAC is over, beside its place in the log: its version, and the hashes of its parts in their order. Null when it has no such parts. */
export function signedParts(data: Uint8Array): Uint8Array[] | null {
  const parts = partsOf(data)
  return parts === null ? null : [data.slice(0, 1), ...parts.map((part) => hash('sha256', part, 'buffer'))]
}

/** The MACs in a command's record. Copies. */
export function macsOf(data: Uint8Array): { readonly mac: Uint8Array; readonly prev: Uint8Array } {
  return { mac: data.slice(macAt, prevAt), prev: data.slice(prevAt, headAt) }
}

/** Signs in place. */
export function writeMacs(data: Uint8Array, mac: Uint8Array, prev: Uint8Array): void {
  data.set(mac, macAt)
  data.set(prev, prevAt)
}

/** Header and sections, as views; null when the lengths do not add up. */
function partsOf(data: Uint8Array): Uint8Array[] | null {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const parts: Uint8Array[] = []
  let at = headAt
  while (at + lengthBytes <= data.length) {
    const end = at + lengthBytes + view.getUint32(at)
    if (end > data.length) return null
    parts.push(data.subarray(at + lengthBytes, end))
    at = end
  }
  return at === data.length && parts.length > 0 ? parts : null
}

/**
 * Decodes a command. Keys and values are views into `data`.
 * @throws ERR_UPGRADE_REQUIRED for a version outside `formats`, ERR_STORE_CORRUPT for a malformed command: applying either would be guessing, and
 *   nodes would differ.
 */
export function decodeCommand(data: Uint8Array, formats: FormatRange = releasedFormats): Command {
  const level = levelOf('command', commandVersion, data[0], formats)
  if (level === null) throw malformed('a version')
  const [head, ...sections] = partsOf(data) ?? []
  const record = head === undefined ? null : unpack(head)
  if (!Array.isArray(record)) throw malformed('a header')
  const [timeMs, directory, checkpoint, restore] = laidOut(record as unknown[], level)
  if (typeof timeMs !== 'number' || !Number.isFinite(timeMs)) throw malformed('a time')
  return {
    timeMs,
    sections: sections.map((section) => sectionFrom(unpack(section))),
    directory: directory instanceof Uint8Array ? decodeUpdate(directory, formats) : null,
    checkpoint: checkpoint instanceof Uint8Array ? checkpoint : null,
    ...(restore === undefined ? {} : { restore: orderFrom(restore) }),
  }
}

function orderFrom(row: unknown): RestoreOrder {
  const [id, digest, incarnation] = Array.isArray(row) ? (row as unknown[]) : []
  if (typeof id !== 'string' || !(digest instanceof Uint8Array) || typeof incarnation !== 'number') throw malformed('an order to restore')
  return { id, digest: Uint8Array.from(digest), incarnation }
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
