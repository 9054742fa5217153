import * as fc from 'fast-check'
import { Packr } from 'msgpackr'
import { expect, test } from 'vitest'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { formatHostPort } from '#base/host-port.ts'
import { parsePeerAddress } from '#transport/address.ts'
import { FrameQueue } from '#transport/frame-queue.ts'
import { FrameDecoder, FrameKind, emptyFrame, encodeFrame, frameValue } from '#transport/frames.ts'
import { decode, encode } from '#transport/msgpack.ts'
import { decodeError, encodeError } from '#transport/wire-errors.ts'

const bytesMax = 1024 * 1024
const plain = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.maxSafeNat(),
    // msgpack has no negative zero.
    fc.double({ noNaN: true }).map((number) => number + 0),
    fc.string({ unit: 'grapheme' }),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(
      fc.string({ maxLength: 8 }).filter((key) => key !== '__proto__'),
      tie('value'),
      { noNullPrototype: true },
    ),
  ),
})).value

test('plain data survives encode and decode', () => {
  fc.assert(
    fc.property(plain, (value) => {
      expect(decode(encode(value))).toEqual(value)
    }),
    { numRuns: 500 },
  )
  expect(decode(encode({ a: undefined, b: new Uint8Array(300_000) }))).toEqual({ a: undefined, b: Buffer.alloc(300_000) })
})

test('arbitrary bytes are decoded or refused with ERR_FRAME, nothing else', () => {
  let refused = 0
  const seeds = fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    plain.map((value) => Uint8Array.from(encode(value))),
  )
  fc.assert(
    fc.property(seeds, fc.nat(), fc.nat({ max: 255 }), (bytes, at, byte) => {
      const changed = Uint8Array.from(bytes)
      if (changed.length > 0) changed[at % changed.length] = byte
      try {
        decode(changed)
      } catch (error) {
        refused++
        expect(isHoldfastError(error, 'ERR_FRAME')).toBe(true)
      }
    }),
    { numRuns: 5_000 },
  )
  expect(refused).toBeGreaterThan(100)
})

test('what is no plain data, lies about its length, or nests too deep is refused before it is built', () => {
  const packr = new Packr({ moreTypes: true, structuredClone: true })
  const bad: Uint8Array[] = [
    new Uint8Array(0),
    Uint8Array.of(0xc1),
    Uint8Array.of(0xdd, 0x01, 0xff, 0xff, 0xff),
    Uint8Array.of(0xdf, 0x7f, 0xff, 0xff, 0xff),
    Uint8Array.of(0xc6, 0xff, 0xff, 0xff, 0xff),
    Uint8Array.of(0xdb, 0, 0, 0, 9, 65),
    Uint8Array.of(0xdd, 0, 0),
    Uint8Array.of(1, 1),
    new Uint8Array(100_000).fill(0x91),
    Uint8Array.from(packr.pack(/x/)),
    Uint8Array.from(packr.pack(new Error('x'))),
    Uint8Array.from(packr.pack(new Date(0))),
    Uint8Array.from(packr.pack(new Set([1]))),
    Uint8Array.from(new Packr().pack({ a: 1 })),
  ]
  for (const bytes of bad) expect(() => decode(bytes), Buffer.from(bytes.subarray(0, 8)).toString('hex')).toThrow('msgpack: expected')
})

test('frames come out as they went in, however the stream is cut', () => {
  const values = fc.array(plain, { minLength: 1, maxLength: 12 })
  fc.assert(
    fc.property(values, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 50 }), (sent, cuts) => {
      const frames = sent.map((value) => encodeFrame(FrameKind.message, value, bytesMax))
      const stream = Buffer.concat([emptyFrame(FrameKind.ping), ...frames])
      const decoder = new FrameDecoder(bytesMax)
      const got: unknown[] = []
      for (let at = 0, i = 0; at < stream.length; i++) {
        const cut = cuts[i % cuts.length] ?? 1
        for (const frame of decoder.push(stream.subarray(at, at + cut))) {
          got.push(frame.kind === FrameKind.ping ? 'ping' : frameValue(frame))
        }
        at += cut
      }
      decoder.end()
      expect(got).toEqual(['ping', ...sent])
    }),
    { numRuns: 300 },
  )
})

test('a frame of the wrong version, kind or length is refused at its head; those before it count', () => {
  const good = encodeFrame(FrameKind.message, 'x', bytesMax)
  const changed = (at: number, value: number): Buffer => {
    const bytes = Buffer.from(good)
    bytes[at] = value
    return bytes
  }
  const cases: [Buffer, string][] = [
    [changed(4, 2), 'frame version 1, got 2'],
    [changed(5, 9), 'kind of frame, got 9'],
    [changed(5, 0), 'kind of frame, got 0'],
    [changed(0, 255), 'a length of 2 to'],
    [changed(3, 1), 'a length of 2 to'],
    [Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'a length of 2 to'],
  ]
  for (const [bytes, text] of cases) {
    const decoder = new FrameDecoder(bytesMax)
    const kinds: number[] = []
    expect(() => {
      for (const frame of decoder.push(Buffer.concat([good, bytes]))) kinds.push(frame.kind)
    }).toThrow(text)
    expect(kinds).toEqual([FrameKind.message])
  }
  const cut = new FrameDecoder(bytesMax)
  expect([...cut.push(good.subarray(0, 7))]).toEqual([])
  expect(() => cut.end()).toThrow('a whole frame')
  expect(() => encodeFrame(FrameKind.message, Buffer.alloc(2_000), 1_000)).toThrow('at most 1000 bytes')
})

test('the queue keeps the newest frames within its bound, in order', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 3_000 }), fc.integer({ min: 40, max: 400 }), (sizes, max) => {
      const queue = new FrameQueue(max)
      sizes.forEach((size, i) => {
        const frame = Buffer.alloc(size + 4)
        frame.writeUInt32BE(i)
        queue.push(frame.subarray(0, Math.min(frame.length, max)))
      })
      expect(queue.bytes).toBeLessThanOrEqual(max)
      const order: number[] = []
      for (let batch = queue.take(64); batch.length > 0; batch = queue.take(64)) order.push(...batch.map((frame) => frame.readUInt32BE()))
      expect(order).toEqual(Array.from({ length: order.length }, (_, i) => sizes.length - order.length + i))
      expect(order.length + queue.dropped).toBe(sizes.length)
      expect(queue.bytes).toBe(0)
    }),
    { numRuns: 100 },
  )
})

test('errors cross the wire with all that a caller matches on, and nothing of what is not ours', () => {
  const error = new HoldfastError('ERR_CAS_MISMATCH', 'm', { hint: 'h', errors: ['x', 'y'], data: { a: [1] } })
  expect(decodeError(encodeError(error))).toEqual(error)
  expect(decodeError(encodeError(new HoldfastError('ERR_NOT_FOUND', 'm', { errors: [] }))).errors).toEqual([])
  const foreign = decodeError(encodeError(new Error('password=hunter2')))
  expect(foreign).toMatchObject({ code: 'ERR_INTERNAL', message: 'internal error' })
  const odd = decodeError(encodeError(new HoldfastError('ERR_BUSY', 'm', { data: { when: new Date(0) } })))
  expect(odd).toMatchObject({ code: 'ERR_BUSY', data: undefined })
  expect(decodeError(encode({ code: 'constructor', message: 'm' })).code).toBe('ERR_UPSTREAM')
  expect(decodeError(Buffer.from('<html>')).code).toBe('ERR_UPSTREAM')
})

test('addresses', () => {
  expect(parsePeerAddress('10.0.0.1:8201')).toEqual({ host: '10.0.0.1', port: 8201 })
  expect(parsePeerAddress('https://node-1.example:8201')).toEqual({ host: 'node-1.example', port: 8201 })
  expect(formatHostPort(parsePeerAddress('[fd00::1]:8201'))).toBe('[fd00::1]:8201')
  for (const bad of [
    '',
    'host',
    'host:',
    ':1',
    'host:65536',
    'host:0',
    'http://host:1',
    'a:b@c:1',
    'fd00::1:8201',
    'host:1/path',
    'ho st:1',
  ]) {
    expect(() => parsePeerAddress(bad), bad).toThrow('cluster address')
  }
})
