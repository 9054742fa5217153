import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { gatePath, judge, type Thresholds } from '../../../bench/load/gate.ts'

test('each ratio is held against its threshold, and none may be missing', () => {
  const thresholds: Thresholds = { a: { least: 0.5, why: 'x' }, b: { most: 2, why: 'y' } }
  const verdict = (a: number, b: number): boolean[] => judge({ a, b }, thresholds).map(({ ok }) => ok)
  expect(verdict(0.5, 2)).toEqual([true, true])
  expect(verdict(0.49, 2.01)).toEqual([false, false])
  expect(verdict(Number.NaN, Number.NaN), 'what was not measured has not held').toEqual([false, false])
  expect(() => judge({ a: 1 }, thresholds)).toThrow('expected b to be measured')
  expect(() => judge({ a: 1, b: 1, c: 1 }, thresholds)).toThrow('a threshold for c')
})

test('every threshold of gate.json bounds something, and says why', () => {
  const thresholds = Object.values(JSON.parse(readFileSync(gatePath, 'utf8')) as Thresholds)
  expect(thresholds.length).toBeGreaterThan(2)
  for (const { least, most, why } of thresholds) expect([(least ?? most ?? 0) > 0, why.length > 10]).toEqual([true, true])
})
