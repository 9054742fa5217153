/**
 * What rots while nobody looks: one change to one file of a stopped node, all else durable. Either the node refuses to start, or nothing that it
 * promised is gone; the oracles see to that.
 */
import { crc32c } from '@node-rs/crc32'
import { scanLog } from '#store/levelfiles.ts'
import type { Prng } from '../prng.ts'
import type { SimDisk } from './disk.ts'
import { decodeBatch, encodeBatch, encodeRecord, readRecords } from './level.ts'

const damageKinds = [
  'bit-rot',
  'dropped-record',
  'truncated-tail',
  'misdirected',
  'stale-record',
  'stale-file',
  'lost-file',
  'silent-hole',
] as const
export type DamageKind = (typeof damageKinds)[number]

/** Those that a disk often has nothing for are drawn more often: each must happen a few thousand times in a long run. */
export const weightedDamage: readonly DamageKind[] = [
  ...damageKinds,
  ...([
    'dropped-record',
    'truncated-tail',
    'stale-record',
    'dropped-record',
    'truncated-tail',
    'stale-record',
    'misdirected',
    'silent-hole',
    'silent-hole',
    'dropped-record',
    'dropped-record',
    'dropped-record',
    'truncated-tail',
    'truncated-tail',
    'truncated-tail',
    'misdirected',
    'misdirected',
    'stale-record',
    'stale-record',
  ] as const),
]

/** Damages something; false when there is nothing of the kind to damage, and nothing was changed. */
export function damage(disk: SimDisk, random: Prng, directory: string, kind: DamageKind): boolean {
  disk.flush()
  const files = disk.files().flatMap(([path]) => (path.startsWith(`${directory}/`) ? [path] : []))
  const logs = files.filter((path) => path.startsWith(`${directory}/log/`) && path.endsWith('.log'))
  const log = logs.at(-1)
  switch (kind) {
    case 'bit-rot': {
      const path = pickFile(files, disk, random)
      if (path === undefined) return false
      disk.file(path).damage((bytes) => flip(bytes, random))
      return true
    }
    case 'dropped-record':
      return (
        log !== undefined &&
        changeRecords(disk, log, (records) => (records.length < 3 ? null : records.toSpliced(random.between(1, records.length - 2), 1)))
      )
    case 'truncated-tail':
      return (
        log !== undefined &&
        isMarked(disk, directory, log) &&
        changeRecords(disk, log, (records) => (records.length < 2 ? null : records.slice(0, -1)))
      )
    case 'misdirected':
      return log !== undefined && changeRecords(disk, log, (records) => swapped(records, random))
    case 'stale-record':
      return log !== undefined && changeRecords(disk, log, (records) => stale(records, random))
    case 'stale-file': {
      const path = [...disk.replaced.keys()].filter((each) => files.includes(each) && each.includes('hardstate')).sort()[random.below(2)]
      const old = path === undefined ? undefined : disk.replaced.get(path)
      if (path === undefined || old === undefined) return false
      disk.file(path).damage(() => old)
      return true
    }
    case 'silent-hole':
      // A bit flips after the store has checked the file, and before LevelDB reads it: level.ts.
      disk.faults.holes = log === undefined || readRecords(disk.file(log).cache.view()).length < 3 ? 0 : 1
      return disk.faults.holes > 0
    case 'lost-file': {
      const path = pickFile(files, disk, random)
      if (path === undefined) return false
      disk.remove(path)
      return true
    }
  }
}

/** A kind of file first, then one of it: there are more state files than others. */
function pickFile(files: readonly string[], disk: SimDisk, random: Prng): string | undefined {
  const kinds = [/\/log\//, /hardstate/, /acknowledged/, /fence/, /state\/g\d+\//, /state\/current$/]
  const kind = random.pick(kinds)
  const found = files.filter((path) => kind.test(path) && disk.file(path).cache.length > 0 && !path.endsWith('.damaged'))
  return found.length === 0 ? undefined : random.pick(found)
}

function flip(bytes: Buffer, random: Prng): Buffer {
  const bit = random.below(bytes.length * 8)
  bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return bytes
}

/** Rewrites a log with other records, each whole and with a good checksum: the store's own proofs must find it. */
function changeRecords(disk: SimDisk, path: string, change: (records: Buffer[]) => Buffer[] | null): boolean {
  const file = disk.file(path)
  const before = Buffer.from(file.cache.view())
  if (scanLog(before).state !== 'whole') return false
  const changed = change(readRecords(before).map((record) => Buffer.from(record)))
  if (changed === null) return false
  file.damage(() => {
    const parts: Buffer[] = []
    let length = 0
    for (const record of changed) {
      const part = encodeRecord(record, length)
      parts.push(part)
      length += part.length
    }
    return Buffer.concat(parts)
  })
  return true
}

/** Documented: what was appended in the last moments, before the mark followed, is proved by the peers alone (ack.ts). */
function isMarked(disk: SimDisk, directory: string, log: string): boolean {
  const ack = disk.file(`${directory}/acknowledged`).cache.view()
  // A slot is a byte for its version, then a sequence number and the index, of eight bytes each, a chain of 32 and a checksum (ack.ts). One whose writing a
  // full disk cut short marks nothing, though its index can be read.
  const slots = [0, 512].map((at) => ack.subarray(at, at + 53))
  const marks = slots.map((slot) =>
    slot.length === 53 && crc32c(slot.subarray(0, 49)) === slot.readUInt32BE(49) ? slot.readUInt32BE(13) : 0,
  )
  const last = entriesIn(readRecords(disk.file(log).cache.view())).at(-1)
  return last !== undefined && Math.max(...marks) >= last.index
}

interface Place {
  readonly record: number
  readonly op: number
  readonly key: string
  readonly value: Uint8Array
}

/** Every value that the file has, in order; of one key several. */
function placesIn(records: readonly Buffer[]): Place[] {
  return records.flatMap((bytes, record) =>
    decodeBatch(bytes).flatMap((each, op) =>
      each.type === 'put' ? [{ record, op, key: Buffer.from(each.key).toString('latin1'), value: each.value }] : [],
    ),
  )
}

/** Entries of the raft log among them. */
function entriesIn(records: readonly Buffer[]): (Place & { readonly index: number })[] {
  return placesIn(records).flatMap((place) =>
    place.key.length === 8 ? [{ ...place, index: Buffer.from(place.key, 'latin1').readUInt32BE(4) }] : [],
  )
}

function swapped(records: Buffer[], random: Prng): Buffer[] | null {
  const places = entriesIn(records)
  const newest = places.filter((place, at) => !places.slice(at + 1).some(({ index }) => index === place.index))
  if (newest.length < 2) return null
  const [a, b] = random.shuffled(newest)
  if (a === undefined || b === undefined) return null
  return withValue(withValue(records, a, b.value), b, a.value)
}

/** The newest record of a key becomes an older one of the same key: an entry that was overwritten once, or how far the log was compacted. */
function stale(records: Buffer[], random: Prng): Buffer[] | null {
  const places = placesIn(records)
  const pairs = places.flatMap((old, at) => {
    const newer = places.slice(at + 1).findLast((each) => each.key === old.key)
    return newer === undefined || Buffer.compare(newer.value, old.value) === 0 ? [] : [{ old, newer }]
  })
  if (pairs.length === 0) return null
  const { old, newer } = random.pick(pairs)
  return withValue(records, newer, old.value)
}

function withValue(records: readonly Buffer[], place: Place, value: Uint8Array): Buffer[] {
  return records.map((record, at) => {
    if (at !== place.record) return record
    return encodeBatch(decodeBatch(record).map((op, position) => (position === place.op ? { type: 'put', key: op.key, value } : op)))
  })
}
