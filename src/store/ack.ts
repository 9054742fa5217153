/**
 * How far the log was acknowledged: a lower bound, beside LevelDB.
 *
 * The chain shows a hole or a wrong entry, but a log that lost its newest entries (a bad bit in the last record, a file cut short) is
 * itself a correct, shorter log. This file remembers {index, chain} of an acknowledged entry, so that a log which ends before it, or holds
 * another entry there, is refused and not taken for a torn tail. It is written after the append was acknowledged, without an fsync of its
 * own and never two at once, so it may lag by the appends of some milliseconds: entries in that window, lost to bit rot *and* followed by a crash, are what
 * remains undetected by this node alone (its peers' logs still hold them). Before a truncation it is lowered and synced first: otherwise a
 * crash after the truncation would leave a mark that no correct log meets.
 */
import { constants } from 'node:fs'
import { join } from 'node:path'
import { crc32c } from '@node-rs/crc32'
import { checkVersion } from '#base/formats.ts'
import type { Disk, DiskFile } from './disk.ts'
import { storeCorrupt } from './errors.ts'
import { chainBytes, readUint64, writeUint64 } from './record.ts'

export const ackFileName = 'acknowledged'
/** Two slots, one sector each, written in turn: a torn write spares the other. */
const slotBytes = 512
/** version 1 | sequence 8 | index 8 | chain 32 | crc32c 4 */
const recordBytes = 1 + 8 + 8 + chainBytes + 4
const version = 1

export interface AckMark {
  readonly index: number
  readonly chain: Uint8Array
}

export class AckFile {
  readonly #handle: DiskFile
  #sequence: number
  #wanted: AckMark | null = null
  #writing: Promise<void> | null = null
  #failure: Error | null = null
  mark: AckMark | null

  private constructor(handle: DiskFile, sequence: number, mark: AckMark | null) {
    this.#handle = handle
    this.#sequence = sequence
    this.mark = mark
  }

  /** Opens or creates the file. @throws ERR_STORE_CORRUPT when it is there and neither slot verifies; ERR_UPGRADE_REQUIRED for another version. */
  static async open(disk: Disk, directory: string): Promise<AckFile> {
    const path = join(directory, ackFileName)
    const handle = await disk.open(path, constants.O_RDWR | constants.O_CREAT, 0o600)
    try {
      const buffer = Buffer.alloc(2 * slotBytes)
      const { bytesRead } = await handle.read(buffer, 0, 2 * slotBytes, 0)
      const slots = [decode(buffer.subarray(0, slotBytes)), decode(buffer.subarray(slotBytes))].filter((slot) => slot !== null)
      slots.sort((a, b) => b.sequence - a.sequence)
      const newest = slots[0]
      if (newest === undefined && bytesRead > 0 && buffer.some((byte) => byte !== 0)) {
        throw storeCorrupt('acknowledged: expected a valid checksum in one of two slots, got none')
      }
      const file = new AckFile(handle, newest?.sequence ?? 0, newest?.mark ?? null)
      // Both slots from the start: the first mark would have no other to spare, and torn it would keep the node out.
      if (newest === undefined) await file.lower(null)
      return file
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /** Notes that `mark` was acknowledged; written soon, not synced. An error of that surfaces at the next `checkWritten` or `lower`. */
  raise(mark: AckMark): void {
    this.mark = mark
    if (this.#failure !== null) return
    this.#wanted = mark
    this.#writing ??= this.#drain()
  }

  /** @throws what a write failed with. Then nothing more is written: a failed write may have torn its slot, and the other one must stay whole. */
  checkWritten(): void {
    if (this.#failure !== null) throw this.#failure
  }

  /** Durably replaces the mark by an older one (null: none), in both slots. */
  async lower(mark: AckMark | null): Promise<void> {
    await this.#writing
    this.checkWritten()
    this.#wanted = null
    const record = mark ?? { index: 0, chain: new Uint8Array(chainBytes) }
    await this.#write(record)
    await this.#write(record)
    await this.#handle.datasync()
    this.mark = mark
  }

  async close(): Promise<void> {
    try {
      await this.#writing
      await this.#handle.datasync()
    } finally {
      await this.#handle.close()
    }
  }

  async #drain(): Promise<void> {
    try {
      while (this.#wanted !== null) {
        const mark = this.#wanted
        this.#wanted = null
        await this.#write(mark)
      }
    } catch (error) {
      // A lower bound may lag: the append itself was synced. The next one is refused.
      this.#failure = error instanceof Error ? error : new Error(String(error))
      this.#wanted = null
    } finally {
      this.#writing = null
    }
  }

  async #write(mark: AckMark): Promise<void> {
    this.#sequence += 1
    const slot = Buffer.alloc(recordBytes)
    slot[0] = version
    writeUint64(slot, this.#sequence, 1)
    writeUint64(slot, mark.index, 9)
    slot.set(mark.chain, 17)
    slot.writeUInt32BE(crc32c(slot.subarray(0, recordBytes - 4)), recordBytes - 4)
    await this.#handle.write(slot, 0, recordBytes, (this.#sequence % 2) * slotBytes)
  }
}

/** Null for what is damaged or was never written. @throws ERR_UPGRADE_REQUIRED */
function decode(slot: Buffer): { sequence: number; mark: AckMark | null } | null {
  if (crc32c(slot.subarray(0, recordBytes - 4)) !== slot.readUInt32BE(recordBytes - 4)) return null
  if (!checkVersion('acknowledged', version, slot[0])) return null
  const sequence = readUint64(slot, 1)
  const index = readUint64(slot, 9)
  return { sequence, mark: index === 0 ? null : { index, chain: new Uint8Array(slot.subarray(17, 17 + chainBytes)) } }
}
