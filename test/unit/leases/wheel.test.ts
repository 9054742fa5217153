/** The wheel against a slow twin that shares no code: a list, searched whole. */
import { TimingWheel } from '#leases/wheel.ts'
import fc from 'fast-check'
import { expect, test } from 'vitest'

interface Entry {
  key: string
  dueMs: number
}

class SlowTwin {
  entries: Entry[] = []
  schedule(key: string, dueMs: number): void {
    this.cancel(key)
    this.entries.push({ key, dueMs })
  }
  cancel(key: string): void {
    this.entries = this.entries.filter((entry) => entry.key !== key)
  }
  advance(nowMs: number, countMax: number): Entry[] {
    const due = this.entries.filter(({ dueMs }) => dueMs <= nowMs).toSorted((a, b) => a.dueMs - b.dueMs || (a.key < b.key ? -1 : 1))
    const taken = due.slice(0, countMax)
    for (const { key } of taken) this.cancel(key)
    return taken
  }
}

const startMs = 1_700_000_000_000
// Small ones for ties and neighbours, large ones for each hand, and beyond the slowest.
const delay = fc.oneof(fc.integer({ min: -500, max: 1_000 }), fc.integer({ min: 0, max: 500_000 }), fc.integer({ min: 0, max: 10 ** 10 }))
const step = fc.oneof(
  fc.record({ kind: fc.constant('schedule' as const), key: fc.nat({ max: 12 }), delay }),
  fc.record({ kind: fc.constant('cancel' as const), key: fc.nat({ max: 12 }), delay: fc.constant(0) }),
  fc.record({ kind: fc.constant('advance' as const), key: fc.constantFrom(1, 2, 1_000), delay }),
)

test('hands out what a sorted list would, when it would, in its order', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.nat({ max: 5_000 }), (steps, offset) => {
      let nowMs = startMs + offset
      const wheel = new TimingWheel<number>({ nowMs, sizeMax: 1_000 })
      const twin = new SlowTwin()
      for (const { kind, key, delay: ms } of steps) {
        if (kind === 'schedule') {
          wheel.schedule(`k${key}`, nowMs + ms, key)
          twin.schedule(`k${key}`, nowMs + ms)
        } else if (kind === 'cancel') {
          wheel.cancel(`k${key}`)
          twin.cancel(`k${key}`)
        } else {
          nowMs += Math.max(0, ms)
          const got = wheel.advance(nowMs, key).map(({ key: name, dueMs }) => ({ key: name, dueMs }))
          expect(got).toEqual(twin.advance(nowMs, key))
        }
        expect(wheel.size).toBe(twin.entries.length)
      }
      // Whatever is left comes in the end, once.
      nowMs += 2 * 10 ** 10
      expect(wheel.advance(nowMs).map(({ key }) => key)).toEqual(twin.advance(nowMs, 100).map(({ key }) => key))
      expect(wheel.size).toBe(0)
    }),
    { numRuns: 3_000 },
  )
})

test('turned tick by tick, nothing comes early and nothing more than one tick late', () => {
  const wheel = new TimingWheel<number>({ nowMs: startMs, sizeMax: 10_000 })
  const dues = Array.from({ length: 2_000 }, (_, i) => startMs + ((i * 7_919) % 900_000))
  for (const [i, dueMs] of dues.entries()) wheel.schedule(`k${i}`, dueMs, i)
  let seen = 0
  for (let nowMs = startMs; nowMs <= startMs + 900_000; nowMs += 50) {
    for (const { dueMs } of wheel.advance(nowMs)) {
      expect(dueMs).toBeLessThanOrEqual(nowMs)
      expect(nowMs - dueMs).toBeLessThan(50)
      seen += 1
    }
  }
  expect(seen).toBe(2_000)
})

test('a full wheel takes nothing new, and still moves what it has', () => {
  const wheel = new TimingWheel<null>({ nowMs: 0, sizeMax: 2 })
  expect([wheel.schedule('a', 10, null), wheel.schedule('b', 20, null), wheel.schedule('c', 5, null)]).toEqual([true, true, false])
  expect([wheel.schedule('a', 1_000, null), wheel.full]).toEqual([true, true])
  expect(wheel.advance(500).map(({ key }) => key)).toEqual(['b'])
  wheel.clear(500)
  expect([wheel.size, wheel.has('a')]).toEqual([0, false])
})
