import fc from 'fast-check'
import { expect, test } from 'vitest'
import { NameSorter } from '#barrier/sorter.ts'

const names = fc.array(fc.oneof(fc.string({ maxLength: 3 }), fc.constantFrom('a', 'a/', '\u{1f600}', '\uff61', '\ud7ff')), {
  maxLength: 60,
})

test('in whatever runs they come: each name once, in the order of its UTF-8 bytes', async () => {
  await fc.assert(
    fc.asyncProperty(names, fc.integer({ min: 1, max: 7 }), async (given, run) => {
      const sorter = new NameSorter({ yieldTurn: async () => {}, entriesPerTurn: 1 }, () => {})
      for (const [i, name] of given.entries()) {
        sorter.add(name)
        if (i % run === 0) sorter.endRun()
      }
      const slow = [...new Set(given)].toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      expect(await sorter.sorted()).toEqual(slow)
    }),
    { numRuns: 500 },
  )
})

test('many names give way to others while they are merged, and end when they must', async () => {
  let turns = 0
  const sorter = new NameSorter({ yieldTurn: async () => void turns++, entriesPerTurn: 10 }, () => {
    if (turns > 50) throw new Error('sealed')
  })
  for (let i = 0; i < 4_000; i++) {
    sorter.add(String((i * 7_919) % 4_001))
    if (i % 10 === 9) sorter.endRun()
  }
  await expect(sorter.sorted()).rejects.toThrow('sealed')
  expect(turns).toBe(51)
})
