import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FairCounts } from '#core/fair-counts.ts'

test('what is new takes the place of the oldest of the group that has most', () => {
  const counts = new FairCounts<number>(4)
  counts.set('few', 'a', 1)
  for (const key of ['a', 'b', 'c', 'd']) counts.set('many', key, 2)
  expect([counts.size, counts.get('few', 'a'), counts.get('many', 'a'), counts.get('many', 'b')]).toEqual([4, 1, undefined, 2])
  // Set again it is the newest.
  counts.set('many', 'b', 3)
  counts.set('few', 'b', 1)
  expect(['b', 'c', 'd'].map((key) => counts.get('many', key))).toEqual([3, undefined, 2])
})

test('whatever is done, it holds no more than it may, and nothing of a group with no more than an average share is forgotten', () => {
  const sizeMax = 12
  const step = fc.tuple(fc.constantFrom('set', 'set', 'set', 'delete', 'deleteWhere'), fc.nat({ max: 3 }), fc.nat({ max: 9 }))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const counts = new FairCounts<string>(sizeMax)
      /** Slow twin: by group, oldest first. */
      const twin = new Map<string, string[]>()
      const without = (group: string, key: string): string[] => (twin.get(group) ?? []).filter((each) => each !== key)
      for (const [what, at, number] of steps) {
        const [group, key] = [`g${at}`, `k${number}`]
        if (what === 'delete') {
          counts.delete(group, key)
          twin.set(group, without(group, key))
        } else if (what === 'deleteWhere') {
          counts.deleteWhere((value) => value === group)
          twin.set(group, [])
        } else {
          counts.set(group, key, group)
          twin.set(group, [...without(group, key), key])
          const all = [...twin.entries()].flatMap(([name, keys]) => keys.map((each) => [name, each] as const))
          const gone = all.filter(([name, each]) => counts.get(name, each) === undefined)
          expect(gone.length).toBe(Math.max(0, all.length - sizeMax))
          for (const [name, each] of gone) {
            const present = [...twin.values()].filter((keys) => keys.length > 0)
            expect(twin.get(name)![0]).toBe(each)
            expect(twin.get(name)!.length * present.length).toBeGreaterThanOrEqual(all.length)
            twin.set(name, without(name, each))
          }
        }
        expect(counts.size).toBe([...twin.values()].reduce((sum, keys) => sum + keys.length, 0))
        expect(counts.size).toBeLessThanOrEqual(sizeMax)
      }
    }),
    { numRuns: 2_000 },
  )
})

test('many new ones in a full one take no time that anybody would notice', () => {
  const counts = new FairCounts<number>(65_536)
  const startedMs = performance.now()
  for (let at = 0; at < 300_000; at += 1) counts.set(`g${at % 3}`, String(at), at)
  expect(counts.size).toBe(65_536)
  expect(performance.now() - startedMs).toBeLessThan(20_000)
})

test('what was forgotten takes no memory, also where one value stays for good and others come and go', () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const counts = new FairCounts<number>(1_000)
  const round = (): void => {
    for (let at = 0; at < 200_000; at += 1) {
      counts.set('mount', `name ${at}`, at)
      counts.delete('mount', `name ${at}`)
    }
  }
  // Once beyond what it may hold, so that room was made; and then as a login that fails and succeeds does.
  for (let at = 0; at < 1_100; at += 1) counts.set('mount', `first ${at}`, at)
  for (let at = 0; at < 1_099; at += 1) counts.delete('mount', `first ${at}`)
  round()
  collect()
  const before = process.memoryUsage().heapUsed
  round()
  collect()
  expect(counts.size).toBe(1)
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(2_000_000)
})
