/**
 * The frames of a snapshot file: a preamble that says what the file is, then numbered blocks, each with a checksum over its head and one over its
 * payload. A length is believed only if the checksum of its head agrees, so that a flipped bit in it is named as damage, never as a missing end; and a
 * block is small, so that damage is named to within 64 KiB.
 *
 *   preamble  "holdfast snapshot\n" 18 | version u16 | crc32c 4             never changes: it is read before the version is known
 *   block     length u32 | kind 1 | number u32 | crc32c 4 | payload | crc32c 4
 */
import { crc32c } from '@node-rs/crc32'
import { HoldfastError } from '#base/errors.ts'

export const fileVersion = 1
export const BlockKind = { header: 1, body: 2, seal: 3 } as const
export type BlockKind = (typeof BlockKind)[keyof typeof BlockKind]

const magic = Buffer.from('holdfast snapshot\n')
export const preambleBytes = magic.length + 6
const headBytes = 13
const checksumBytes = 4
export const bodyBlockBytesMax = 64 * 1024
/** Header and seal: the keyring of 27 years of daily rotations as base64, and room. */
const recordBlockBytesMax = 1024 * 1024
/** Of the preamble's first bytes, that many must be right for a file to count as a damaged snapshot rather than as something else. */
const likeMagicBytesMin = magic.length / 2

/** Something is wrong with the bytes [from, to) of a snapshot file. `to` is null where the file ends too early. */
export interface Damage {
  readonly kind: 'damaged' | 'cut off' | 'no snapshot'
  readonly from: number
  readonly to: number | null
}

const fault = (message: string, damage: Damage, hint: string): HoldfastError =>
  new HoldfastError('ERR_SNAPSHOT_DAMAGED', `snapshot file ${message}`, { hint, data: damage })

/** @param to one behind the last byte that may be wrong. */
export function damaged(from: number, to: number, what: string): HoldfastError {
  return fault(
    `damaged at byte ${from} (to ${to}): ${what}`,
    { kind: 'damaged', from, to },
    'take another copy of it, or an older snapshot',
  )
}

export function cutOff(at: number): HoldfastError {
  return fault(
    `cut off at byte ${at}: expected more, got its end`,
    { kind: 'cut off', from: at, to: null },
    'the save or a copy of it was interrupted: take another copy, or save again',
  )
}

const noSnapshot = (): HoldfastError =>
  fault('expected to begin as one, got something else', { kind: 'no snapshot', from: 0, to: 0 }, 'is it the right file, unpacked?')

/** What is wrong with a snapshot file, as `error` says; null for any other error. */
export function damageOf(error: unknown): Damage | null {
  return error instanceof HoldfastError && error.code === 'ERR_SNAPSHOT_DAMAGED' ? (error.data as Damage) : null
}

export function encodePreamble(): Buffer {
  const out = Buffer.allocUnsafe(preambleBytes)
  out.set(magic, 0)
  out.writeUInt16BE(fileVersion, magic.length)
  out.writeUInt32BE(crc32c(out.subarray(0, magic.length + 2)), magic.length + 2)
  return out
}

/** @throws ERR_SNAPSHOT_DAMAGED; ERR_UPGRADE_REQUIRED for a whole preamble of another version. */
export function checkPreamble(bytes: Buffer): void {
  const alike = magic.filter((byte, at) => bytes[at] === byte).length
  if (alike < Math.min(likeMagicBytesMin, bytes.length)) throw noSnapshot()
  if (bytes.length < preambleBytes) throw bytes.length === 0 ? noSnapshot() : cutOff(bytes.length)
  const whole = alike === magic.length && crc32c(bytes.subarray(0, magic.length + 2)) === bytes.readUInt32BE(magic.length + 2)
  if (!whole) throw damaged(0, preambleBytes, 'its first bytes expected their checksum, got another')
  const version = bytes.readUInt16BE(magic.length)
  if (version === fileVersion) return
  throw new HoldfastError('ERR_UPGRADE_REQUIRED', `snapshot file: expected version ${fileVersion}, got ${version}`, {
    hint: `it was written by ${version > fileVersion ? 'a newer' : 'an older'} release: use that one`,
  })
}

/** One block. Copies `payload`. */
export function encodeBlock(kind: BlockKind, number: number, payload: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(headBytes + payload.length + checksumBytes)
  out.writeUInt32BE(payload.length, 0)
  out[4] = kind
  out.writeUInt32BE(number, 5)
  out.writeUInt32BE(crc32c(out.subarray(0, 9)), 9)
  out.set(payload, headBytes)
  out.writeUInt32BE(crc32c(out.subarray(headBytes, headBytes + payload.length)), headBytes + payload.length)
  return out
}

export interface Block {
  readonly kind: BlockKind
  /** Where it begins in the file. */
  readonly at: number
  readonly payload: Buffer
  /** All of it, as it lies in the file. */
  readonly bytes: Buffer
}

/** The blocks of a file, checked one by one. Holds a block, and what one piece of the stream brings beyond it. */
export class BlockReader {
  readonly #source: AsyncIterator<Uint8Array>
  #held: Uint8Array[] = []
  #heldBytes = 0
  #number = 0
  /** How far the file was read, in whole blocks. */
  position = 0

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#source = stream[Symbol.asyncIterator]()
  }

  /** The preamble's bytes. Call first. @throws as `checkPreamble`. */
  async preamble(): Promise<Buffer> {
    const bytes = await this.#take(preambleBytes)
    checkPreamble(bytes)
    return bytes
  }

  /** The next block. @throws ERR_SNAPSHOT_DAMAGED, also at the end of the file. */
  async block(): Promise<Block> {
    const at = this.position
    const head = await this.#take(headBytes)
    if (head.length < headBytes) throw cutOff(at + head.length)
    if (crc32c(head.subarray(0, 9)) !== head.readUInt32BE(9))
      throw damaged(at, at + headBytes, 'a block expected the checksum of its head, got another')
    const kind = head[4] as BlockKind
    const length = head.readUInt32BE(0)
    if (length > (kind === BlockKind.body ? bodyBlockBytesMax : recordBlockBytesMax))
      throw damaged(at, at + headBytes, `a block expected a length within bounds, got ${length}`)
    if (head.readUInt32BE(5) !== this.#number)
      throw damaged(at, at + headBytes, `expected block ${this.#number}, got ${head.readUInt32BE(5)}`)
    const rest = await this.#take(length + checksumBytes)
    if (rest.length < length + checksumBytes) throw cutOff(at + headBytes + rest.length)
    const payload = rest.subarray(0, length)
    if (crc32c(payload) !== rest.readUInt32BE(length))
      throw damaged(at + headBytes, this.position, 'a block expected its checksum, got another')
    this.#number += 1
    return { kind, at, payload, bytes: Buffer.concat([head, rest]) }
  }

  /** @throws ERR_SNAPSHOT_DAMAGED where anything follows. */
  async expectEnd(): Promise<void> {
    const at = this.position
    if ((await this.#take(1)).length > 0) throw damaged(at, at + 1, 'expected the end of the file, got more')
  }

  /** Lets the source go, wherever it stands. */
  async close(): Promise<void> {
    this.#held = []
    await this.#source.return?.()
  }

  /** So many bytes; fewer at the end of the file. */
  async #take(count: number): Promise<Buffer> {
    while (this.#heldBytes < count) {
      const next = await this.#source.next()
      if (next.done === true) break
      this.#held.push(next.value)
      this.#heldBytes += next.value.length
    }
    const taken = this.#cut(Math.min(count, this.#heldBytes))
    this.position += taken.length
    return taken
  }

  #cut(count: number): Buffer {
    const parts: Uint8Array[] = []
    for (let left = count; left > 0;) {
      const [first] = this.#held
      if (first === undefined) break
      if (first.length <= left) this.#held.shift()
      else this.#held[0] = first.subarray(left)
      parts.push(first.length <= left ? first : first.subarray(0, left))
      left -= Math.min(left, first.length)
    }
    this.#heldBytes -= count
    const [only] = parts
    return parts.length === 1 && only !== undefined ? Buffer.from(only.buffer, only.byteOffset, only.byteLength) : Buffer.concat(parts)
  }
}
