/** The snapshot file: what is written is read, and no flip, cut or graft goes unseen, whatever the size of the pieces that it comes in. */
import fc from 'fast-check'
import { crc32c } from '@node-rs/crc32'
import { expect, test } from 'vitest'
import { BlockKind, damageOf, encodeBlock, preambleBytes } from '#snapshots/blocks.ts'
import { isSealedBy, openSnapshotFile } from '#snapshots/file.ts'
import { sealOf } from '#snapshots/header.ts'
import { inspectSnapshotFile } from '#snapshots/inspect.ts'
import { bytesOf, metaOf, pieces, snapshotFile, snapshotHeader, snapshotKey, snapshotPairs } from '#test/support/snapshot-file.ts'

const values = (count: number, bytes = 100): Uint8Array[] => Array.from({ length: count }, (_, at) => new Uint8Array(bytes).fill(at))
const small = await snapshotFile(snapshotPairs(values(6, 20)))
/** Several blocks of body: 64 KiB each. */
const large = await snapshotFile(snapshotPairs(values(1_000, 400)))

async function verdict(bytes: Uint8Array, size = 0): Promise<unknown> {
  try {
    return await inspectSnapshotFile(pieces(bytes, size))
  } catch (error) {
    return error
  }
}

test('a file is read back: header, seal configuration, counts, and the MAC under its key and no other', async () => {
  const pairs = snapshotPairs(values(1_000, 400))
  const summary = await inspectSnapshotFile(pieces(large, 1_000))
  expect(summary.header).toEqual(snapshotHeader)
  expect(sealOf(summary.header)).toMatchObject({ type: 'shamir', secret: { shares: 3, threshold: 2 } })
  expect(summary).toMatchObject({ voters: ['a', 'b'], learners: ['c'], sectionsInAll: 2, seal: { bytes: large.length } })
  expect(summary.total.pairs).toBe(pairs.length)
  expect(Object.fromEntries(Object.entries(summary.classes).map(([name, { pairs: count }]) => [name, count]))).toEqual({
    cluster: 1,
    everywhere: 500,
    'this cluster': 500,
    'clear records': 3,
  })
  expect(summary.sections.map(({ pairs: count }) => count)).toEqual([500, 500])
  expect(isSealedBy(summary.seal, snapshotKey)).toBe(true)
  expect(isSealedBy(summary.seal, new Uint8Array(32))).toBe(false)
})

test('the body is the stream that went in, and ends without an error only when the seal agrees', async () => {
  const file = await openSnapshotFile(pieces(large, 777))
  expect(() => file.seal()).toThrow(/read to its end/)
  const body = await bytesOf(file.body)
  expect(body.length).toBe(file.seal().bodyBytes)
  expect(body.length).toBeGreaterThan(400_000)
})

test('any bit flip is found, and where it is', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(large.length * 8 - 1), fc.integer({ min: 1, max: 70_000 }), async (bit, size) => {
      const bytes = Buffer.from(large)
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const error = await verdict(bytes, size)
      const damage = damageOf(error)
      expect(damage, `bit ${bit}: ${String(error)}`).toMatchObject({ kind: 'damaged' })
      expect(damage?.from).toBeLessThanOrEqual(bit >> 3)
      expect(damage?.to).toBeGreaterThan(bit >> 3)
    }),
    { numRuns: 60 },
  )
  // One in each byte of what frames it, of the header and of the seal.
  for (let bit = 0; bit < small.length * 8; bit += 7) {
    const bytes = Buffer.from(small)
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    expect(damageOf(await verdict(bytes)), `bit ${bit}`).toMatchObject({ kind: 'damaged' })
  }
}, 120_000)

test('any cut is found, as a cut at the byte where it is', async () => {
  for (let length = preambleBytes; length < small.length; length += 1)
    expect(damageOf(await verdict(small.subarray(0, length))), `cut to ${length}`).toEqual({ kind: 'cut off', from: length, to: null })
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: preambleBytes, max: large.length - 1 }), async (length) => {
      expect(damageOf(await verdict(large.subarray(0, length), 10_000))).toEqual({ kind: 'cut off', from: length, to: null })
    }),
    { numRuns: 40 },
  )
}, 60_000)

test('what follows the seal, a block left out, one twice, two exchanged: all damage', async () => {
  expect(damageOf(await verdict(Buffer.concat([large, Buffer.from([0])])))).toMatchObject({ kind: 'damaged', from: large.length })
  const blocks = cutIntoBlocks(large)
  expect(blocks.length).toBeGreaterThan(6)
  const joined = (list: readonly Buffer[]): Buffer => Buffer.concat([large.subarray(0, preambleBytes), ...list])
  expect(joined(blocks).equals(large)).toBe(true)
  const without = blocks.toSpliced(3, 1)
  const twice = blocks.toSpliced(3, 0, blocks[3] as Buffer)
  const exchanged = blocks.with(3, blocks[4] as Buffer).with(4, blocks[3] as Buffer)
  for (const list of [without, twice, exchanged]) expect(damageOf(await verdict(joined(list)))).toMatchObject({ kind: 'damaged' })
})

test('what somebody without the key has put together is found out by the MAC, and by the digests before that', async () => {
  const blocks = cutIntoBlocks(small)
  const body = blocks.findIndex((block) => block[4] === BlockKind.body)
  const payload = Buffer.from((blocks[body] as Buffer).subarray(13, -4))
  payload[payload.length - 1] = (payload.at(-1) ?? 0) ^ 1
  const forged = blocks.with(body, encodeBlock(BlockKind.body, body, payload))
  // Its block is as its checksum says; the seal's SHA-256 is another.
  expect(damageOf(await verdict(Buffer.concat([small.subarray(0, preambleBytes), ...forged])))).toMatchObject({ from: 0 })
  // All of it made anew, under another key: whole, and not ours.
  const other = await inspectSnapshotFile(pieces(await snapshotFile(snapshotPairs(values(6, 20)), { key: new Uint8Array(32).fill(1) })))
  expect(isSealedBy(other.seal, snapshotKey)).toBe(false)
})

test('a state that is not what its digest or its header says is refused, though the file is whole', async () => {
  const pairs = snapshotPairs(values(6, 20))
  const lost = await snapshotFile(pairs.toSpliced(2, 1), { meta: metaOf(pairs) })
  expect(String(await verdict(lost))).toMatch(/expected its state's digest, got other pairs/)
  expect(String(await verdict(await snapshotFile(pairs, { header: { ...snapshotHeader, index: 8 } })))).toMatch(
    /at index 8, got the one at 7/,
  )
  expect(String(await verdict(await snapshotFile(pairs, { header: { ...snapshotHeader, clusterId: 'other' } })))).toMatch(
    /got that of another/,
  )
  const records = { ...snapshotHeader.records, 'core/root-key': new Uint8Array([1]) }
  expect(String(await verdict(await snapshotFile(pairs, { header: { ...snapshotHeader, records } })))).toMatch(/records of its header/)
})

test('another version is refused by its number; what is no snapshot is called so', async () => {
  const newer = Buffer.from(small)
  newer.writeUInt16BE(2, preambleBytes - 6)
  newer.writeUInt32BE(crc32c(newer.subarray(0, preambleBytes - 4)), preambleBytes - 4)
  expect(await verdict(newer)).toMatchObject({ code: 'ERR_UPGRADE_REQUIRED', message: 'snapshot file: expected version 1, got 2' })
  for (const other of [Buffer.alloc(0), Buffer.from('{"a":1}'), Buffer.alloc(1_000, 7), Buffer.from([0x1f, 0x8b, 8, 0])])
    expect(damageOf(await verdict(other))).toMatchObject({ kind: 'no snapshot' })
})

/** Behind the preamble. */
function cutIntoBlocks(file: Buffer): Buffer[] {
  const blocks: Buffer[] = []
  for (let at = preambleBytes; at < file.length;) {
    const end = at + 13 + file.readUInt32BE(at) + 4
    blocks.push(file.subarray(at, end))
    at = end
  }
  return blocks
}
