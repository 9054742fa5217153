import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PackedCache } from '#barrier/packed.ts'

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
const get = (cache: PackedCache, key: string): string | null | undefined => {
  if (!cache.find(bytes(key))) return undefined
  const value = cache.value()
  return value === null ? null : Buffer.from(value).toString()
}

test('against a map: what is found is what was set last, whatever was evicted meanwhile; memory stays within the bound', () => {
  const keys = fc.nat(60).map((n) => `key ${n}`)
  const step = fc.oneof(
    { weight: 10, arbitrary: fc.record({ kind: fc.constant('set' as const), key: keys, length: fc.nat(200), none: fc.nat(9) }) },
    { weight: 10, arbitrary: fc.record({ kind: fc.constant('get' as const), key: keys }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('delete' as const), key: keys }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('prefix' as const), key: keys }) },
  )
  let [hits, evicted] = [0, 0]
  fc.assert(
    fc.property(fc.array(step, { minLength: 300, maxLength: 900 }), fc.integer({ min: 4_096, max: 20_000 }), (steps, bytesMax) => {
      const cache = new PackedCache(bytesMax)
      const model = new Map<string, { text: string | null; since: number }>()
      for (const [at, each] of steps.entries()) {
        const { key } = each
        if (each.kind === 'set') {
          const text = each.none === 0 ? null : `${at} `.padEnd(each.length, 'x')
          const since = 2 ** 40 + at
          cache.set(bytes(key), text === null ? null : bytes(text), since)
          model.set(key, { text, since })
        } else if (each.kind === 'delete') {
          cache.delete(bytes(key))
          model.delete(key)
        } else if (each.kind === 'prefix') {
          cache.deletePrefix(bytes(key))
          for (const known of model.keys()) if (known.startsWith(key)) model.delete(known)
        } else {
          const found = get(cache, key)
          const known = model.get(key)
          if (found === undefined) evicted += known === undefined ? 0 : 1
          else {
            hits += 1
            if (found !== known?.text || cache.since() !== known?.since) expect([found, cache.since()]).toEqual([known?.text, known?.since])
          }
        }
        if (cache.bytes > bytesMax || cache.size > model.size) expect([cache.bytes, cache.size]).toEqual([bytesMax, model.size])
      }
    }),
    { numRuns: 200 },
  )
  // It must be of use, and have been full.
  expect(hits).toBeGreaterThan(500)
  expect(evicted).toBeGreaterThan(100)
})

test('nothing is lost while there is room', () => {
  const cache = new PackedCache(4 * 1024 * 1024)
  for (let i = 0; i < 20_000; i += 1) cache.set(bytes(`path ${i}`), bytes(`value ${i}`), i)
  let found = 0
  for (let i = 0; i < 20_000; i += 1) if (get(cache, `path ${i}`) === `value ${i}`) found += 1
  expect(found).toBe(20_000)
})

test('what is asked for again and again outlives what is only set', () => {
  const cache = new PackedCache(64 * 1024)
  cache.set(bytes('used'), bytes('here'))
  for (let i = 0; i < 10_000; i += 1) {
    cache.set(bytes(`${i}`), new Uint8Array(100))
    if (get(cache, 'used') !== 'here') expect(i).toBe('never lost')
  }
  expect(get(cache, '0')).toBeUndefined()
})

test('what is found is a copy, and stays as it was', () => {
  const cache = new PackedCache(64 * 1024)
  cache.set(bytes('a'), bytes('first'))
  cache.find(bytes('a'))
  const copy = cache.value()!
  cache.set(bytes('a'), bytes('other'))
  expect(Buffer.from(copy).toString()).toBe('first')
  copy.fill(0)
  expect(get(cache, 'a')).toBe('other')
})

test('what does not fit is not kept, and takes away what was there before', () => {
  const cache = new PackedCache(1024 * 1024)
  expect([cache.fits(65, 4_096), cache.fits(65, 16_384), new PackedCache(0).fits(1, 1)]).toEqual([true, false, false])
  cache.set(bytes('a'), bytes('small'))
  cache.set(bytes('a'), new Uint8Array(16_384))
  expect(get(cache, 'a')).toBeUndefined()
  const none = new PackedCache(0)
  none.set(bytes('a'), null)
  expect([get(none, 'a'), none.bytes]).toEqual([undefined, 0])
})

test('emptied, it holds no memory, and can be filled again', () => {
  const cache = new PackedCache(64 * 1024)
  cache.set(bytes('a'), null)
  cache.clear()
  expect([cache.size, cache.bytes, get(cache, 'a')]).toEqual([0, 0, undefined])
  cache.set(bytes('a'), bytes('again'))
  expect(get(cache, 'a')).toBe('again')
})

test('two keys of one hash are two keys', () => {
  // Of so many of one length some ten pairs have one hash of 32 bits.
  const count = 300_000
  const cache = new PackedCache(64 * 1024 * 1024)
  const key = (i: number): string => `key ${String(i).padStart(6, '0')}`
  for (let i = 0; i < count; i += 1) cache.set(bytes(key(i)), bytes(key(i)))
  const wrong: [string, string][] = []
  let found = 0
  for (let i = 0; i < count; i += 1) {
    const value = get(cache, key(i)) ?? key(i)
    if (value !== key(i)) wrong.push([key(i), value])
    if (get(cache, key(i)) !== undefined) found += 1
  }
  expect(wrong).toEqual([])
  expect(found).toBeGreaterThan(count * 0.99)
})

test('what is used moves together when its block is taken again, and is found there with its value', () => {
  const cache = new PackedCache(64 * 1024)
  const used = Array.from({ length: 60 }, (_, i) => `used ${i}`)
  // Between others, so that each has to move; so few that half of a block holds those of it.
  for (const [i, key] of used.entries()) {
    cache.set(bytes(key), bytes(`value of ${key}`), i)
    for (let j = 0; j < 5; j += 1) cache.set(bytes(`other ${i} ${j}`), new Uint8Array(100))
  }
  for (let round = 0; round < 5; round += 1) {
    for (const [i, key] of used.entries()) {
      expect(get(cache, key)).toBe(`value of ${key}`)
      expect(cache.since()).toBe(i)
    }
    for (let j = 0; j < 450; j += 1) cache.set(bytes(`filler ${round} ${j}`), new Uint8Array(100))
  }
})
