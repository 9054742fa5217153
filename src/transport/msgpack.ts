/**
 * msgpack as the wire carries it: plain data only.
 *
 * msgpackr alone would also revive regular expressions, errors, pointers and record definitions, and would reserve an
 * array of the length that a header merely claims: a 5-byte payload could ask for 256 MiB. So `decode` first walks the
 * bytes (no allocation) and refuses what is not nil, boolean, number, string, binary, array or map, or does not add up.
 */
import { Packr } from 'msgpackr'
import { HoldfastError } from '#base/errors.ts'

const depthMax = 32
/** msgpackr goes on filling the buffer that its largest value made it allocate; small frames would then pin 16 MiB each. */
const packrBytesMax = 256 * 1024
const reserveStart = 2048

const newPackr = (): Packr => new Packr({ useRecords: false, moreTypes: false, copyBuffers: false })
let packr = newPackr()

/**
 * Encodes plain data. The first `headroom` (0..127) bytes of the result are left for the caller to fill.
 * The buffer belongs to the caller.
 */
export function encode(value: unknown, headroom = 0): Buffer {
  // `reserveStart` is msgpackr's flag for "leave that many bytes in front"; its typings only know plain numbers.
  const bytes = headroom === 0 ? packr.pack(value) : packr.pack(value, (reserveStart + headroom) as never)
  if (bytes.length > packrBytesMax) packr = newPackr()
  return bytes
}

/**
 * Decodes what `encode` made. Binary values are views on `bytes`, which must not be changed afterwards.
 * @throws ERR_FRAME when it is not exactly one value of plain data.
 */
export function decode(bytes: Uint8Array): unknown {
  checkShape(bytes)
  try {
    return packr.unpack(bytes)
  } catch (error) {
    throw refused('a value that can be decoded', 'one that can not', error)
  }
}

function refused(expected: string, got: string, cause?: unknown): HoldfastError {
  return new HoldfastError('ERR_FRAME', `msgpack: expected ${expected}, got ${got}`, cause === undefined ? {} : { cause })
}

/** Bytes of payload after the type byte, for the types of fixed width that we accept. */
const fixedWidths = new Map<number, number>([
  [0xc0, 0], // nil
  [0xc2, 0], // false
  [0xc3, 0], // true
  [0xca, 4], // float 32
  [0xcb, 8], // float 64
  [0xcc, 1], // uint 8..64
  [0xcd, 2],
  [0xce, 4],
  [0xcf, 8],
  [0xd0, 1], // int 8..64
  [0xd1, 2],
  [0xd2, 4],
  [0xd3, 8],
  [0xd4, 2], // fixext 1: only type 0, msgpackr's `undefined`
])

/** For types with a length field: how many bytes it has. */
const lengthWidths = new Map<number, number>([
  [0xc4, 1], // bin 8..32
  [0xc5, 2],
  [0xc6, 4],
  [0xd9, 1], // str 8..32
  [0xda, 2],
  [0xdb, 4],
  [0xdc, 2], // array 16, 32
  [0xdd, 4],
  [0xde, 2], // map 16, 32
  [0xdf, 4],
])

function readLength(bytes: Uint8Array, at: number, width: number): number {
  let length = 0
  for (let i = 0; i < width; i++) length = length * 256 + (bytes[at + i] ?? 0)
  return length
}

/** One value's head: how many bytes to skip (itself included), and how many values follow inside it. */
function readHead(bytes: Uint8Array, at: number): { skip: number; children: number } {
  const type = bytes[at] ?? 0
  if (type <= 0x7f || type >= 0xe0) return { skip: 1, children: 0 }
  if (type <= 0x8f) return { skip: 1, children: 2 * (type & 0x0f) }
  if (type <= 0x9f) return { skip: 1, children: type & 0x0f }
  if (type <= 0xbf) return { skip: 1 + (type & 0x1f), children: 0 }
  const fixed = fixedWidths.get(type)
  if (fixed !== undefined) {
    if (type === 0xd4 && bytes[at + 1] !== 0) throw refused('plain data', `extension ${String(bytes[at + 1])}`)
    return { skip: 1 + fixed, children: 0 }
  }
  const width = lengthWidths.get(type)
  if (width === undefined) throw refused('plain data', `type 0x${type.toString(16)}`)
  if (at + 1 + width > bytes.length) throw refused('a whole value', 'a cut one')
  const length = readLength(bytes, at + 1, width)
  if (type >= 0xde) return { skip: 1 + width, children: 2 * length }
  if (type >= 0xdc) return { skip: 1 + width, children: length }
  return { skip: 1 + width + length, children: 0 }
}

function checkShape(bytes: Uint8Array): void {
  /** Values still to come, per open array or map. */
  const open: number[] = [1]
  let at = 0
  for (;;) {
    while (open.length > 0 && open[open.length - 1] === 0) open.pop()
    if (open.length === 0) break
    if (at >= bytes.length) throw refused('a whole value', 'a cut one')
    open[open.length - 1] = (open[open.length - 1] ?? 0) - 1
    const { skip, children } = readHead(bytes, at)
    at += skip
    // Each value takes a byte at least: a longer array than there are bytes left is a lie, and must not be allocated.
    if (children > bytes.length - at) throw refused(`at most ${bytes.length - at} more values`, String(children))
    if (children > 0 && open.push(children) > depthMax) throw refused(`at most ${depthMax} levels`, 'more')
  }
  if (at !== bytes.length) throw refused(`${bytes.length} bytes in one value`, `one of ${at}`)
}
