import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ConflictWindow } from '#replica/conflicts.ts'

const key = (letters: string): Uint8Array => new Uint8Array(Buffer.from(letters))
const name = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 2 })

/** Slow and obvious: looks at every change. */
function newestChange(
  changes: readonly { index: number; keys: readonly string[] }[],
  view: number,
  reads: readonly string[],
  ranges: readonly (readonly [string, string])[],
): number | null {
  const hit = (each: string): boolean => reads.includes(each) || ranges.some(([start, end]) => each >= start && each < end)
  const indexes = changes.filter(({ index, keys }) => index > view && keys.some(hit)).map(({ index }) => index)
  return indexes.length === 0 ? null : Math.max(...indexes)
}

test('finds the newest change of anything read or listed since the view, as a scan of all changes does', () => {
  const steps = fc.array(fc.record({ gap: fc.integer({ min: 1, max: 2 }), keys: fc.array(name, { maxLength: 3 }) }), { maxLength: 12 })
  const question = fc.record({
    view: fc.nat(20),
    reads: fc.array(name, { maxLength: 2 }),
    ranges: fc.array(fc.tuple(name, name), { maxLength: 6 }),
  })
  fc.assert(
    fc.property(steps, fc.array(question, { maxLength: 6 }), (given, questions) => {
      const window = new ConflictWindow(1_000, 0)
      const changes: { index: number; keys: string[] }[] = []
      let index = 0
      for (const { gap, keys } of given) {
        index += gap
        changes.push({ index, keys })
        window.note(index, keys.map(key))
      }
      for (const { view, reads, ranges } of questions) {
        const found = window.check(
          view,
          reads.map(key),
          ranges.map(([start, end]) => [key(start), key(end)] as const),
        )
        expect(found).toBe(newestChange(changes, view, reads, ranges))
      }
    }),
    { numRuns: 5_000 },
  )
})

test('with a bounded memory it may call an old view conflicting, but never misses a change, and never forgets what is in flight', () => {
  const steps = fc.array(fc.array(name, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 40 })
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 10 }), fc.nat(10), fc.nat(40), name, (given, keysMax, lag, view, read) => {
      const window = new ConflictWindow(keysMax, 0)
      const changes = given.map((keys, at) => ({ index: at + 1, keys }))
      for (const { index, keys } of changes) {
        window.note(index, keys.map(key))
        window.trim(index - lag)
      }
      const expected = newestChange(changes, view, [read], [])
      const found = window.check(view, [key(read)], [])
      if (expected !== null) expect(found).not.toBeNull()
      // Whoever waits for the answer must not be told an index before the real conflict.
      if (expected !== null && expected > given.length - lag) expect(found).toBeGreaterThanOrEqual(expected)
      expect(window.check(view, [], [])).toBeNull()
    }),
    { numRuns: 2_000 },
  )
})

test('after a reset every view from before it conflicts, if it read anything', () => {
  const window = new ConflictWindow(10, 0)
  window.note(3, [key('a')])
  window.reset(7)
  expect(window.check(6, [key('z')], [])).toBe(7)
  expect(window.check(7, [key('a')], [])).toBeNull()
  expect(window.check(1, [], [])).toBeNull()
})
