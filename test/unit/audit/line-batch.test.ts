import { LineBatch } from '#audit/line-batch.ts'
import fc from 'fast-check'
import { expect, test } from 'vitest'

const line = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constant('é'.repeat(40_000)),
  fc.constant('a'.repeat(70_000)),
  fc.constant(''),
)

test('holds the lines as UTF-8, each with its newline, also after it was used before', () => {
  const batch = new LineBatch()
  fc.assert(
    fc.property(fc.array(line, { maxLength: 6 }), (lines) => {
      batch.clear()
      for (const one of lines) expect(Buffer.from(one).equals(batch.add(one))).toBe(true)
      const expected = lines.map((one) => Buffer.from(`${one}\n`))
      expect(batch.bytes.equals(Buffer.concat(expected))).toBe(true)
      expect(batch.lines().every((one, i) => one.equals(expected[i]!.subarray(0, -1)))).toBe(true)
      expect(batch.lines().length).toBe(lines.length)
    }),
    { numRuns: 60 },
  )
})

test('leaves nothing of its lines where they lay: when it is cleared, and when it needs more room', () => {
  const batch = new LineBatch()
  const first = batch.add('secret/a')
  batch.add('b'.repeat(100_000))
  expect([...first].every((byte) => byte === 0)).toBe(true)
  const second = batch.add('secret/c')
  expect(Buffer.from(second).toString()).toBe('secret/c')
  batch.clear()
  expect([...second].every((byte) => byte === 0)).toBe(true)
  expect([batch.lines().length, batch.bytes.length]).toEqual([0, 0])
})
