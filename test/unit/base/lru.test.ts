import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BoundedLru } from '#base/lru.ts'

interface Held {
  readonly key: string
  readonly value: number
  readonly weight: number
  used: boolean
}

/** Slow twin: a list, and a hand that goes around it. */
class SlowClock {
  list: Held[] = []
  hand = 0
  readonly gone: number[] = []

  get(key: string): number | undefined {
    const held = this.list.find((each) => each.key === key)
    if (held) held.used = true
    return held?.value
  }

  set(key: string, value: number, weight: number): void {
    this.remove(key)
    if (weight > entryWeightMax) return void this.gone.push(value)
    this.list.push({ key, value, weight, used: false })
    while (this.list.reduce((sum, each) => sum + each.weight, 0) > weightMax) {
      if (this.hand >= this.list.length) this.hand = 0
      const held = this.list[this.hand]!
      this.hand += 1
      if (held.used) held.used = false
      else if (held.key !== key) this.remove(held.key)
    }
  }

  remove(key: string): void {
    const at = this.list.findIndex((each) => each.key === key)
    if (at < 0) return
    this.gone.push(this.list[at]!.value)
    this.list.splice(at, 1)
    if (at < this.hand) this.hand -= 1
  }
}

const [weightMax, entryWeightMax] = [8, 4]
const step = fc.record({
  what: fc.constantFrom('get', 'set', 'set', 'delete', 'peek'),
  key: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
  weight: fc.integer({ min: 0, max: 5 }),
})

test('a bounded cache is its slow twin: what it gives, what it holds, what leaves and in which order', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const dropped: number[] = []
      const [fast, slow] = [
        new BoundedLru<string, number>({ weightMax, entryWeightMax, dropped: (value) => dropped.push(value) }),
        new SlowClock(),
      ]
      for (const [i, { what, key, weight }] of steps.entries()) {
        if (what === 'set') {
          fast.set(key, i, weight)
          slow.set(key, i, weight)
        } else if (what === 'delete') {
          fast.delete(key)
          slow.remove(key)
        } else if (what === 'peek') expect(fast.peek(key)).toBe(slow.list.find((each) => each.key === key)?.value)
        else expect(fast.get(key)).toBe(slow.get(key))
        expect([...fast.keys()]).toEqual(slow.list.map((each) => each.key))
        expect(fast.weight).toBe(slow.list.reduce((sum, each) => sum + each.weight, 0))
        expect(dropped).toEqual(slow.gone)
      }
    }),
    { numRuns: 300 },
  )
})

test('what is used stays, though it came first', () => {
  const cache = new BoundedLru<number, number>({ weightMax: 3, entryWeightMax: 1 })
  for (const key of [1, 2, 3]) cache.set(key, key)
  cache.get(1)
  cache.set(4, 4)
  expect([...cache.keys()]).toEqual([1, 3, 4])
  cache.clear()
  expect([cache.size, cache.weight]).toEqual([0, 0])
})

test('an insertion into a cache of which everything is in use walks a few entries, not all', () => {
  const cache = new BoundedLru<number, number>({ weightMax: 1000, entryWeightMax: 1 })
  for (let key = 0; key < 1000; key += 1) cache.set(key, key)
  for (let key = 0; key < 1000; key += 1) cache.get(key)
  cache.set(1000, 1000)
  expect(cache.peek(31)).toBe(31)
  expect(cache.peek(32)).toBeUndefined()
  expect(cache.peek(33)).toBe(33)
  expect(cache.size).toBe(1000)
})
