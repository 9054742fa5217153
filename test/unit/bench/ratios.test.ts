import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ratiosOf, spreadOf } from '../../../bench/load/ratios.ts'

const figures = (count: number): fc.Arbitrary<number[]> =>
  fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), { minLength: count, maxLength: count })

/** Slow twin: the turns laid out as they were measured (A1 B1 A2 B2 ...), each A held against the Bs that stand next to it. */
function slowRatios(a: readonly number[], b: readonly number[]): number[] {
  const line = a.flatMap((value, i) => [
    { side: 'a', value },
    { side: 'b', value: b[i] ?? Number.NaN },
  ])
  return line.flatMap(({ side, value }, i) => {
    if (side === 'b') return []
    const beside = [line[i - 1], line[i + 1]].flatMap((other) => (other === undefined ? [] : [other.value]))
    return [value / (beside.reduce((sum, each) => sum + each, 0) / beside.length)]
  })
}

test('ratios of turns agree with their slow twin', () => {
  const pairs = fc.integer({ min: 1, max: 7 }).chain((count) => fc.tuple(figures(count), figures(count)))
  fc.assert(
    fc.property(pairs, ([a, b]) => {
      const [fast, slow] = [ratiosOf(a, b), slowRatios(a, b).toSorted((x, y) => x - y)]
      expect(fast.lowest).toBeCloseTo(slow[0]!, 9)
      expect(fast.highest).toBeCloseTo(slow.at(-1)!, 9)
      const below = slow.filter((value) => value < fast.median - 1e-9 * fast.median).length
      const above = slow.filter((value) => value > fast.median + 1e-9 * fast.median).length
      expect(Math.max(below, above)).toBeLessThanOrEqual(slow.length / 2)
    }),
  )
})

test('a machine that slows down steadily does not flatter the side that goes first', () => {
  // The same server twice: a tenth slower from each turn to the next.
  const speed = Array.from({ length: 10 }, (_, i) => 1_000 * 0.9 ** i)
  const [a, b] = [speed.filter((_, i) => i % 2 === 0), speed.filter((_, i) => i % 2 === 1)]
  expect(ratiosOf(a, b).median).toBeCloseTo(1, 1)
  expect(spreadOf(a.map((value, i) => value / b[i]!)).median, 'held against its one neighbour').toBeGreaterThan(1.1)
})

test('what cannot be compared is refused', () => {
  expect(() => ratiosOf([1, 2], [1])).toThrow('as many turns')
  expect(() => ratiosOf([1], [0])).toThrow('above zero')
  expect(() => ratiosOf([Number.NaN], [1])).toThrow('above zero')
  expect(() => spreadOf([])).toThrow('at least one')
})
