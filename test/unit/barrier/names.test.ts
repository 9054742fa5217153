import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isHoldfastError } from '#base/errors.ts'
import { systemRandom } from '#base/random.ts'
import { compareUtf8, rangeEnd, sortNames, startsWith } from '#barrier/bytes.ts'
import { createNameCache, NamespaceNames, nameKeyBytes, sectionBytes } from '#barrier/names.ts'
import { leafSegments, pathSegments, pathSegmentsMax } from '#barrier/paths.ts'

const nameKey = systemRandom.bytes(nameKeyBytes)
const make = (cacheBytes: number, namespace = 'root', key = nameKey): NamespaceNames =>
  new NamespaceNames(namespace, key.slice(), createNameCache(cacheBytes))
const cold = make(0).section('kv', 0x20)
const warm = make(1 << 20).section('kv', 0x20)

const segment = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 6 }).filter((s) => !s.includes('/') && s !== '.' && s !== '..')
const path = fc.array(segment, { minLength: 1, maxLength: 5 }).map((segments) => segments.join('/'))
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

test('a path has one key, whatever was looked up before, cached or not, in whatever order', () => {
  fc.assert(
    fc.property(fc.array(path, { minLength: 1, maxLength: 12 }), (paths) => {
      const small = make(2_000).section('kv', 0x20) // Evicts all the time.
      const expected = paths.map((p) => hexOf(cold.leaf(p)))
      expect(paths.map((p) => hexOf(warm.leaf(p)))).toEqual(expected)
      expect(paths.toReversed().map((p) => hexOf(small.leaf(p)))).toEqual(expected.toReversed())
      expect(paths.map((p) => hexOf(small.leaf(p)))).toEqual(expected)
    }),
    { numRuns: 200 },
  )
})

test('different paths have different keys, and no folder prefix begins a key outside it', () => {
  fc.assert(
    fc.property(path, path, (a, b) => {
      if (a !== b) expect(hexOf(cold.leaf(a))).not.toBe(hexOf(cold.leaf(b)))
      expect(hexOf(cold.folder(a))).not.toBe(hexOf(cold.leaf(a)))
      expect(startsWith(cold.leaf(b), cold.folder(a))).toBe(b.startsWith(`${a}/`))
      const inRange = Buffer.compare(cold.leaf(b), cold.folder(a)) >= 0 && Buffer.compare(cold.leaf(b), rangeEnd(cold.folder(a))) < 0
      expect(inRange).toBe(b.startsWith(`${a}/`))
    }),
    { numRuns: 1_000 },
  )
})

test('from the key of anything below a folder, its child is read back', () => {
  fc.assert(
    fc.property(path, (p) => {
      const segments = p.split('/')
      for (let depth = 0; depth < segments.length; depth++) {
        const folder = cold.folder(segments.slice(0, depth).join('/'))
        const child = cold.child(folder, cold.leaf(p))
        const last = depth === segments.length - 1
        expect(child.name).toBe(last ? segments[depth] : `${segments[depth]}/`)
        expect(hexOf(child.key)).toBe(hexOf(last ? cold.leaf(p) : cold.folder(segments.slice(0, depth + 1).join('/'))))
      }
    }),
    { numRuns: 300 },
  )
})

test('an equal name looks unrelated in another folder, mount, namespace, class, as a folder, and under another key', () => {
  const tail = (key: Uint8Array): string => hexOf(key.subarray(-20))
  const names = make(0)
  const seen = [
    tail(names.section('kv', 0x20).leaf('a/name')),
    tail(names.section('kv', 0x20).leaf('b/name')),
    tail(names.section('kv', 0x20).leaf('name')),
    tail(names.section('kv', 0x20).folder('name')),
    tail(names.section('kv2', 0x20).leaf('name')),
    tail(make(0, 'team').section('kv', 0x20).leaf('name')),
    tail(names.section('kv', 0x30).leaf('name')),
    tail(make(0, 'root', systemRandom.bytes(nameKeyBytes)).section('kv', 0x20).leaf('name')),
  ]
  expect(new Set(seen).size).toBe(seen.length)
  expect(hexOf(make(0, 'a').section('b/c', 0x20).root)).not.toBe(hexOf(make(0, 'a/b').section('c', 0x20).root))
})

test('keys begin with their class and a section of fixed length, and hold no plaintext', () => {
  const key = cold.leaf('customers/acme/password')
  expect(key[0]).toBe(0x20)
  expect(cold.root.length).toBe(sectionBytes)
  expect(startsWith(key, cold.root)).toBe(true)
  for (const word of ['customers', 'acme', 'password']) expect(Buffer.from(key).includes(word)).toBe(false)
})

test('a key that was altered, cut, or moved to another folder is refused', () => {
  const folder = cold.folder('a')
  const key = cold.leaf('a/name')
  const altered = key.slice()
  altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1
  const moved = Buffer.concat([cold.folder('b'), key.subarray(folder.length)])
  const kindSwapped = Buffer.from(key)
  kindSwapped[folder.length] = 0x02
  const attempts: [Uint8Array, Uint8Array][] = [
    [folder, altered],
    [folder, key.subarray(0, -1)],
    [folder, Buffer.concat([key, Buffer.from([1])])],
    [cold.folder('b'), moved],
    [folder, kindSwapped],
    [folder, Buffer.concat([kindSwapped, Buffer.from([1])])],
    [folder, folder],
  ]
  for (const [prefix, bytes] of attempts) {
    let code: unknown
    try {
      cold.child(prefix, bytes)
    } catch (error) {
      code = isHoldfastError(error) && error.code
    }
    expect(code).toBe('ERR_DECRYPT')
  }
})

test.each([
  ['an empty segment', 'a//b', 'ERR_BAD_REQUEST'],
  ['a leading slash', '/a', 'ERR_BAD_REQUEST'],
  ['a trailing slash', 'a/', 'ERR_BAD_REQUEST'],
  ['dots', 'a/../b', 'ERR_RELATIVE_PATH'],
  ['a dot', '.', 'ERR_RELATIVE_PATH'],
  ['a lone surrogate', '\ud800', 'ERR_BAD_REQUEST'],
  ['a long segment', 'x'.repeat(1_025), 'ERR_BAD_REQUEST'],
  ['a segment long in bytes', 'é'.repeat(513), 'ERR_BAD_REQUEST'],
  ['too many bytes', `${'x'.repeat(1_000)}/`.repeat(5) + 'x', 'ERR_BAD_REQUEST'],
  ['too many segments', Array.from({ length: pathSegmentsMax + 1 }, () => 'x').join('/'), 'ERR_BAD_REQUEST'],
] as const)('a path with %s is refused', (_what, bad, code) => {
  let got: unknown
  try {
    pathSegments(bad)
  } catch (error) {
    got = isHoldfastError(error) && error.code
  }
  expect(got).toBe(code)
})

test('limits are inclusive, and a leaf has a name', () => {
  expect(pathSegments('x'.repeat(1_024))).toHaveLength(1)
  expect(pathSegments(Array.from({ length: pathSegmentsMax }, () => 'x').join('/'))).toHaveLength(pathSegmentsMax)
  expect(pathSegments('...')).toEqual(['...'])
  expect(() => leafSegments('')).toThrow(/expected a name/)
})

test("a range's end is just above all that begin with the prefix, and a copy", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 4 }),
      fc.uint8Array({ maxLength: 4 }),
      fc.uint8Array({ maxLength: 5 }),
      (prefix, more, other) => {
        prefix[0] = 0x20
        const lent = Buffer.from(prefix)
        const end = rangeEnd(lent)
        expect([...lent]).toEqual([...prefix])
        expect(Buffer.compare(Buffer.concat([prefix, more]), end)).toBe(-1)
        if (Buffer.compare(other, prefix) > 0 && !startsWith(other, prefix)) expect(Buffer.compare(other, end)).toBeGreaterThanOrEqual(0)
      },
    ),
    { numRuns: 2_000 },
  )
})

test('names sort as their UTF-8 bytes do', () => {
  const anyName = fc.string({ unit: 'binary', maxLength: 5 }).filter((s) => s.isWellFormed())
  fc.assert(
    fc.property(fc.array(anyName, { maxLength: 12 }), (names) => {
      const slow = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      expect(sortNames([...names])).toEqual(slow)
      expect(names.toSorted(compareUtf8)).toEqual(slow)
    }),
    { numRuns: 2_000 },
  )
})
