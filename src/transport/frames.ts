/**
 * Frames: how values travel on a stream between nodes.
 *
 *   length  4 bytes, big-endian: of what follows
 *   version 1 byte
 *   kind    1 byte
 *   payload msgpack (message, result, received) or nothing (ping, pong)
 *
 * Length first, so that a receiver refuses what is too large before it holds it. The version is in each frame, not only in the handshake:
 * a frame can then be recorded, replayed and refused by itself.
 */
import { HoldfastError } from '#base/errors.ts'
import { decode, encode } from './msgpack.ts'

export const frameVersion = 1
export const FrameKind = { message: 1, ping: 2, pong: 3, result: 4, received: 5 } as const
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind]

const prefixBytes = 4
/** Version and kind: what the length counts besides the payload. */
const overheadBytes = 2
const headBytes = prefixBytes + overheadBytes

function writeHead(frame: Buffer, kind: FrameKind): Buffer {
  frame.writeUInt32BE(frame.length - prefixBytes, 0)
  frame[prefixBytes] = frameVersion
  frame[prefixBytes + 1] = kind
  return frame
}

/**
 * One frame that carries `value`. The buffer belongs to the caller.
 * @throws ERR_FRAME when it would be larger than `frameBytesMax`: sent, it would only break the stream.
 */
export function encodeFrame(kind: FrameKind, value: unknown, frameBytesMax: number): Buffer {
  const frame = writeHead(encode(value, headBytes), kind)
  if (frame.length - prefixBytes > frameBytesMax) {
    throw new HoldfastError('ERR_FRAME', `frame to send: expected at most ${frameBytesMax} bytes, got ${frame.length - prefixBytes}`)
  }
  return frame
}

/** A frame without a payload. */
export function emptyFrame(kind: FrameKind): Buffer {
  return writeHead(Buffer.alloc(headBytes), kind)
}

export interface Frame {
  readonly kind: FrameKind
  /** A view on what arrived; undecoded. */
  readonly payload: Uint8Array
}

/** The value of a frame. @throws ERR_FRAME */
export function frameValue(frame: Frame): unknown {
  return decode(frame.payload)
}

/**
 * Cuts a byte stream into frames. Holds at most one frame and one chunk.
 * After it has thrown, the stream can't be trusted any more: there is no way to find the next frame's beginning.
 */
export class FrameDecoder {
  readonly #frameBytesMax: number
  #held: Uint8Array[] = []
  #heldBytes = 0

  constructor(frameBytesMax: number) {
    this.#frameBytesMax = frameBytesMax
  }

  /**
   * The frames that `chunk` completes, in order. Payloads are views on the chunks: nobody may change those any more.
   * @throws ERR_FRAME on a length, version or kind that we don't know. Frames that came whole before it were yielded.
   */
  *push(chunk: Uint8Array): Generator<Frame> {
    this.#held.push(chunk)
    this.#heldBytes += chunk.length
    for (;;) {
      const length = this.#nextLength()
      if (length === null || this.#heldBytes < prefixBytes + length) return
      const bytes = this.#joined()
      const end = prefixBytes + length
      this.#held = end < bytes.length ? [bytes.subarray(end)] : []
      this.#heldBytes = bytes.length - end
      yield { kind: bytes[prefixBytes + 1] as FrameKind, payload: bytes.subarray(headBytes, end) }
    }
  }

  /** Throws unless the stream may end here. */
  end(): void {
    if (this.#heldBytes > 0) throw refusedFrame('a whole frame', `a stream that ended after ${this.#heldBytes} bytes of one`)
  }

  /** Length of the frame at the front, its head checked; null while the head is incomplete. */
  #nextLength(): number | null {
    if (this.#heldBytes < headBytes) return null
    const head = this.#head()
    const length = head.readUInt32BE(0)
    if (length < overheadBytes || length > this.#frameBytesMax) {
      throw refusedFrame(`a length of ${overheadBytes} to ${this.#frameBytesMax} bytes`, String(length))
    }
    if (head[prefixBytes] !== frameVersion) throw refusedFrame(`frame version ${frameVersion}`, String(head[prefixBytes]))
    const kind = head[prefixBytes + 1] ?? 0
    if (kind < FrameKind.message || kind > FrameKind.received) throw refusedFrame('a known kind of frame', String(kind))
    return length
  }

  #head(): Buffer {
    const first = this.#held[0]
    if (first !== undefined && first.length >= headBytes) return Buffer.from(first.buffer, first.byteOffset, headBytes)
    return Buffer.from(this.#joined().subarray(0, headBytes))
  }

  /** Everything held as one run. Called when a frame is complete or its head is split, so each byte is copied twice at most. */
  #joined(): Uint8Array {
    const only = this.#held[0]
    if (this.#held.length === 1 && only !== undefined) return only
    const bytes = Buffer.concat(this.#held, this.#heldBytes)
    this.#held = [bytes]
    return bytes
  }
}

function refusedFrame(expected: string, got: string): HoldfastError {
  return new HoldfastError('ERR_FRAME', `frame: expected ${expected}, got ${got}`, {
    hint: 'the other node speaks another version of the wire format, or is no Holdfast node',
  })
}
