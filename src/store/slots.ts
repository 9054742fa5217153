/**
 * Small durable records outside LevelDB, in two mirrored, checksummed slot files.
 *
 * Why not LevelDB: one flipped bit in its log drops a record without an error, and an older term and vote would come back: a second
 * vote in one term, two leaders. Why mirrored and not alternating: with two alternating slots a damaged newer slot can't be told
 * from one whose write was torn before it was acknowledged, so any rule either refuses a healthy node after a power cut or falls
 * back silently. Here slot 0 is replaced (new file, fsync, rename, fsync of the folder), then slot 1; a record is acknowledged only
 * after both. So:
 *   slot 1 valid at n: nothing after n was acknowledged, unless slot 0 says n+1 (written, not acknowledged; taking it is allowed);
 *   slot 0 valid at n, slot 1 unreadable: slot 0 is never older than slot 1, so n is the newest;
 *   neither valid, or numbers more than one apart: corrupt, and the node stays out.
 * Not covered: both files rolled back together by whoever restores an old disk (docs: a new disk means a new node id).
 */
import { join } from 'node:path'
import { crc32c } from '@node-rs/crc32'
import { assert } from '#base/assert.ts'
import { checkVersion } from '#base/formats.ts'
import type { Disk } from './disk.ts'
import { storeCorrupt, storeFailed } from './errors.ts'
import { readIfThere, syncDirectory } from './files.ts'

const mark = 0x484653 // 'HFS', before a version that is a digit
const version = 0x31
const digitZero = 0x30
const headerBytes = 4 + 8 + 4
/** Eleven members and a few bytes; one write of both files. */
const payloadBytesMax = 64 * 1024

export interface Slots {
  /** The newest record, or null when none was ever written. Owned by this object. */
  readonly current: { readonly sequence: number; readonly payload: Uint8Array } | null
  /** Resolves when both files hold `payload` durably. One call at a time. @throws ERR_STORE_FAILED */
  write(payload: Uint8Array): Promise<void>
}

function encode(sequence: number, payload: Uint8Array): Buffer {
  const out = Buffer.alloc(headerBytes + payload.length + 4)
  out.writeUIntBE(mark, 0, 3)
  out[3] = version
  out.writeBigUInt64BE(BigInt(sequence), 4)
  out.writeUInt32BE(payload.length, 12)
  out.set(payload, headerBytes)
  out.writeUInt32BE(crc32c(out.subarray(0, headerBytes + payload.length)), headerBytes + payload.length)
  return out
}

/** Null for what is damaged. @throws ERR_UPGRADE_REQUIRED for a whole slot of another version: its twin may be older, and must not be taken in its place. */
function decode(name: string, bytes: Buffer | null): { sequence: number; payload: Uint8Array } | null {
  if (bytes === null || bytes.length < headerBytes + 4 || bytes.readUIntBE(0, 3) !== mark) return null
  const length = bytes.readUInt32BE(12)
  if (length > payloadBytesMax || bytes.length !== headerBytes + length + 4) return null
  if (crc32c(bytes.subarray(0, headerBytes + length)) !== bytes.readUInt32BE(headerBytes + length)) return null
  if (!checkVersion(name, version - digitZero, (bytes[3] ?? 0) - digitZero)) return null
  return { sequence: Number(bytes.readBigUInt64BE(4)), payload: new Uint8Array(bytes.subarray(headerBytes, headerBytes + length)) }
}

/**
 * Opens `name.0` and `name.1` in `directory`, verifying both and mending a torn one from its twin.
 * @throws ERR_STORE_CORRUPT when files are there but no record can be trusted; ERR_UPGRADE_REQUIRED when one is of another version.
 */
export async function openSlots(disk: Disk, directory: string, name: string): Promise<Slots> {
  const paths = [join(directory, `${name}.0`), join(directory, `${name}.1`)] as const
  const [first, second] = [await readIfThere(disk, paths[0]), await readIfThere(disk, paths[1])]
  const [a, b] = [decode(name, first), decode(name, second)]
  if (a !== null && b !== null && a.sequence !== b.sequence && a.sequence !== b.sequence + 1) {
    throw storeCorrupt(`${name}: expected two slots of one sequence number or in succession, got ${a.sequence} and ${b.sequence}`)
  }
  if (a === null && b === null && (first !== null || second !== null)) {
    throw storeCorrupt(`${name}: expected a valid checksum in one of two slots, got none`)
  }
  let current = a ?? b
  if (current !== null && (a === null || b === null || a.sequence !== b.sequence)) {
    await writeBoth(current.sequence, current.payload)
  }

  async function writeOne(path: string, bytes: Buffer): Promise<void> {
    // A whole new file, renamed over the old one: an overwrite in place could tear what was there with what comes.
    const handle = await disk.open(`${path}.tmp`, 'w', 0o600)
    try {
      await handle.writeFile(bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await disk.rename(`${path}.tmp`, path)
    await syncDirectory(disk, directory)
  }

  async function writeBoth(sequence: number, payload: Uint8Array): Promise<void> {
    try {
      const bytes = encode(sequence, payload)
      await writeOne(paths[0], bytes)
      await writeOne(paths[1], bytes)
    } catch (error) {
      throw storeFailed(`${name}: could not be written`, error)
    }
  }

  await disk.rm(`${paths[0]}.tmp`, { force: true })
  await disk.rm(`${paths[1]}.tmp`, { force: true })
  return {
    get current() {
      return current
    },
    async write(payload) {
      assert(payload.length <= payloadBytesMax, `slot payload expected at most ${payloadBytesMax} bytes, got ${payload.length}`)
      const sequence = (current?.sequence ?? 0) + 1
      const copy = new Uint8Array(payload)
      await writeBoth(sequence, copy)
      current = { sequence, payload: copy }
    },
  }
}
