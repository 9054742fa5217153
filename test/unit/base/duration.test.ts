import { formatDuration, parseDurationMs, parseDurationSeconds } from '#base/duration.ts'
import fc from 'fast-check'
import { expect, test } from 'vitest'

test.each([
  ['768h', 2_764_800],
  ['1h30m', 5_400],
  ['1h30m0s', 5_400],
  ['90', 90],
  [90, 90],
  ['7d', 604_800],
  ['1w', 604_800],
  ['', 0],
  ['0', 0],
  [' 5s ', 5],
  ['1.5h', 5_400],
  ['1500ms', 1],
  ['+5s', 5],
])('%j is %d seconds', (value, seconds) => {
  expect(parseDurationSeconds(value)).toBe(seconds)
})

test('milliseconds keep their fraction', () => {
  expect(parseDurationMs('1.5ms')).toBe(1.5)
  expect(parseDurationMs('250ms')).toBe(250)
})

test.each([
  ['abc'],
  ['5x'],
  ['1h 3m'],
  ['h'],
  ['-'],
  ['1e3'],
  ['0x10'],
  [null],
  [{}],
  [true],
  [Number.NaN],
  [1e12],
  ['9'.repeat(65)],
  ['-5'],
  [-1],
])('%j is refused', (value) => {
  expect(() => parseDurationSeconds(value, { what: 'ttl' })).toThrow(/^ttl expected a duration, got /)
})

test('a negative one is taken only where the caller allows it', () => {
  expect(parseDurationSeconds('-1h', { allowNegative: true })).toBe(-3_600)
})

test('what is formatted parses back to the same seconds', () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 9_000_000_000 }), (seconds) => parseDurationSeconds(formatDuration(seconds)) === seconds))
  expect([0, 59, 90, 3_600, 2_764_800, -90].map(formatDuration)).toEqual(['0s', '59s', '1m30s', '1h0m0s', '768h0m0s', '-1m30s'])
})
