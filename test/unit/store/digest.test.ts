import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { HoldfastError } from '#base/errors.ts'
import { digestBytes, ElementCache, expand, StateDigest } from '#store/digest.ts'
import { classicLevel, type Level, type LevelFactory } from '#store/level.ts'
import { openStateStore } from '#store/state.ts'
import type { Op, StateStore } from '#store/types.ts'

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

function open(): Promise<StateStore> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-digest-'))
  folders.push(directory)
  return openStateStore({ directory, clusterId: 'c1' })
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)

/** From scratch, lane by lane, with nothing of the production code but the expansion. */
function naive(pairs: Iterable<readonly [Uint8Array, Uint8Array]>): Buffer {
  const lanes = new Uint16Array(1024)
  for (const [key, value] of pairs) {
    const element = expand(key, value)
    const added = new Uint16Array(element.buffer, element.byteOffset, 1024)
    for (let at = 0; at < 1024; at += 1) lanes[at] = ((lanes[at] ?? 0) + (added[at] ?? 0)) % 65_536
  }
  return Buffer.from(lanes.buffer)
}

async function pairsOf(store: StateStore): Promise<(readonly [Uint8Array, Uint8Array])[]> {
  const view = store.view()
  try {
    return await Array.fromAsync(view.entriesFrom(bytes(8), bytes(255, 255)))
  } finally {
    view.release()
  }
}

// Few keys and short values: the same key is written again, with the same value too.
const op = fc.record({
  key: fc.uint8Array({ minLength: 0, maxLength: 1 }).map((rest) => bytes(8, ...rest.map((byte) => byte % 4))),
  value: fc.option(fc.uint8Array({ maxLength: 2 }), { nil: null }),
})
const batches = fc.array(fc.array(op, { maxLength: 6 }), { minLength: 1, maxLength: 10 })

test('an element has the published length, and lengths keep pairs apart', () => {
  expect(expand(bytes(1, 2), bytes(3)).byteLength).toBe(digestBytes)
  expect(expand(bytes(1, 2), bytes(3))).not.toEqual(expand(bytes(1), bytes(2, 3)))
  // The byte order is part of what nodes compare: SHAKE128 of eight zero bytes begins with these lanes.
  const first = new StateDigest()
  first.add(expand(bytes(), bytes()))
  expect(Buffer.from(first.bytes().subarray(0, 8)).toString('hex')).toBe('7a24b666da345c98')
})

test('sums agree with lanes added one by one, in any order, and a subtraction undoes an addition', () => {
  const pair = fc.tuple(fc.uint8Array({ maxLength: 8 }), fc.uint8Array({ maxLength: 8 }))
  fc.assert(
    fc.property(fc.array(pair, { maxLength: 12 }), fc.array(pair, { maxLength: 4 }), fc.integer(), (pairs, gone, turn) => {
      const sum = new StateDigest()
      for (const [key, value] of [...pairs, ...gone]) sum.add(expand(key, value))
      for (const [key, value] of gone) sum.subtract(expand(key, value))
      expect(Buffer.from(sum.bytes())).toEqual(naive(pairs))
      const turned = new StateDigest()
      for (let at = 0; at < pairs.length; at += 1) {
        const [key, value] = pairs[(at + Math.abs(turn)) % pairs.length] ?? [bytes(), bytes()]
        turned.add(expand(key, value))
      }
      expect(turned.bytes()).toEqual(sum.bytes())
    }),
    { numRuns: 200 },
  )
})

test('the store keeps the digest of what it holds, whatever is written, deleted and written again', async () => {
  await fc.assert(
    fc.asyncProperty(batches, async (rounds) => {
      const store = await open()
      for (const [at, ops] of rounds.entries()) {
        await store.apply(ops as readonly Op[], { ...store.meta, applied: at + 1, appliedTerm: 1 })
        const { digest } = store.meta
        expect(Buffer.from(digest.length === 0 ? new Uint8Array(digestBytes) : digest)).toEqual(naive(await pairsOf(store)))
      }
      await store.close()
    }),
    { numRuns: 40 },
  )
})

test('the digest goes on where it was: after a restart, and in what a snapshot brings', async () => {
  const store = await open()
  const ops = Array.from({ length: 300 }, (_, at): Op => ({ key: bytes(16, at >> 8, at & 255), value: bytes(at & 255) }))
  await store.apply(ops, { ...store.meta, applied: 5, appliedTerm: 1 })
  const directory = folders.at(-1) ?? ''
  await store.close()
  const again = await openStateStore({ directory, clusterId: 'c1' })
  expect(again.meta.digest).toHaveLength(digestBytes)
  // Nothing is cached now: what is replaced is read.
  await again.apply([...ops.slice(0, 150).map(({ key }) => ({ key, value: null })), { key: bytes(16, 1, 43), value: bytes(9) }], {
    ...again.meta,
    applied: 6,
  })
  expect(Buffer.from(again.meta.digest)).toEqual(naive(await pairsOf(again)))

  const other = await open()
  const sent = again.snapshot()
  expect((await other.receive(sent.stream)).index).toBe(6)
  sent.release()
  await other.install(sent.meta)
  expect(other.meta.digest).toEqual(again.meta.digest)
  const result = await other.scrub(async () => {})
  expect(result).toMatchObject({ index: 6, pairs: 150 })
  await Promise.all([again.close(), other.close()])
})

test('a cache of elements forgets the oldest', () => {
  const cache = new ElementCache(2)
  cache.set('a', null)
  cache.set('b', null)
  cache.set('a', null)
  cache.set('c', null)
  expect(['a', 'b', 'c'].map((id) => cache.get(id))).toEqual([null, undefined, null])
})

/** LevelDB that forgets what is written to `lost`, and says nothing. */
function forgetful(lost: Uint8Array): LevelFactory {
  return (path, options) => {
    const level: Level = classicLevel(path, options)
    const batch = level.batch.bind(level)
    level.batch = (ops, how) =>
      batch(
        ops.filter((each) => Buffer.compare(each.key, lost) !== 0),
        how,
      )
    return level
  }
}

test('a snapshot of a state that is not what its record says is refused', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-digest-'))
  folders.push(directory)
  const store = await openStateStore({ directory, clusterId: 'c1', level: forgetful(bytes(16, 2)) })
  const ops = [1, 2, 3].map((at): Op => ({ key: bytes(16, at), value: bytes(at) }))
  await store.apply(ops, { ...store.meta, applied: 5, appliedTerm: 1 })
  const other = await open()
  const sent = store.snapshot()
  await expect(other.receive(sent.stream)).rejects.toMatchObject({ code: 'ERR_FRAME' })
  sent.release()
  // Where nobody else has it, what is on the disk is the state.
  await expect(store.scrub(async () => {})).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  expect(await store.amend()).toBe(true)
  expect(Buffer.from(store.meta.digest)).toEqual(naive(await pairsOf(store)))
  expect(await store.scrub(async () => {})).toMatchObject({ index: 5, pairs: 2 })
  expect(await store.amend()).toBe(false)
  await Promise.all([store.close(), other.close()])
})

test('a state that was given up stays so until a snapshot is installed, also after a restart', async () => {
  const store = await open()
  await store.apply([{ key: bytes(16), value: bytes(1) }], { ...store.meta, applied: 5, appliedTerm: 1 })
  const directory = folders.at(-1) ?? ''
  const sound = await open()
  await sound.apply([{ key: bytes(16), value: bytes(1) }], { ...sound.meta, applied: 7, appliedTerm: 1 })
  await store.condemn(new HoldfastError('ERR_STORE_CORRUPT', 'because'))
  expect(() => store.snapshot()).toThrow('because')
  await store.close()
  await expect(openStateStore({ directory, clusterId: 'c1' })).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  for (let restart = 0; restart < 2; restart += 1) {
    const lost = await openStateStore({ directory, clusterId: 'c1', repairable: true })
    expect(lost.damage?.message).toContain('because')
    expect(lost.meta.applied).toBe(0)
    await lost.close()
  }
  const again = await openStateStore({ directory, clusterId: 'c1', repairable: true })
  const sent = sound.snapshot()
  await again.receive(sent.stream)
  sent.release()
  await again.install(sent.meta)
  expect(again.damage).toBeNull()
  await again.close()
  const after = await openStateStore({ directory, clusterId: 'c1' })
  expect(after.meta.applied).toBe(7)
  expect(after.damage).toBeNull()
  await Promise.all([after.close(), sound.close()])
})
