import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { JsonScanner, parseJsonObject } from '#http/json.ts'

const generous = { jsonDepthMax: 1_000, jsonStringsMax: 1_000_000 }

/** Oracle: counts on the parsed value. */
function stringsOf(value: unknown): number {
  if (typeof value === 'string') return 1
  if (Array.isArray(value)) return value.reduce<number>((sum, element) => sum + stringsOf(element), 0)
  if (typeof value !== 'object' || value === null) return 0
  return Object.values(value).reduce<number>((sum, element) => sum + 1 + stringsOf(element), 0)
}
function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  return 1 + Math.max(0, ...Object.values(value).map(depthOf))
}

const accepts = (text: string, limits: { jsonDepthMax: number; jsonStringsMax: number }, cut: number): boolean => {
  const bytes = Buffer.from(text)
  const scanner = new JsonScanner(limits)
  try {
    for (let at = 0; at < bytes.length; at += cut) scanner.feed(bytes.subarray(at, at + cut))
    return true
  } catch {
    return false
  }
}

describe('the scanner', () => {
  test('CVE-2025-6203, CVE-2025-59043: counts strings and depth as the parsed value has them, however the bytes are split', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), fc.integer({ min: 1, max: 9 }), (text, cut) => {
        const value: unknown = JSON.parse(text)
        // Repeated keys count each time they are written, which the parsed value no longer shows.
        const strings = stringsOf(value)
        const depth = depthOf(value)
        expect(accepts(text, { jsonDepthMax: depth, jsonStringsMax: strings }, cut)).toBe(true)
        if (strings > 0) expect(accepts(text, { jsonDepthMax: depth, jsonStringsMax: strings - 1 }, cut)).toBe(false)
        if (depth > 0) expect(accepts(text, { jsonDepthMax: depth - 1, jsonStringsMax: strings }, cut)).toBe(false)
      }),
      { numRuns: 2_000 },
    )
  })

  test('takes no bracket or quote inside a string for structure', () => {
    const text = JSON.stringify({ a: '[[[["{{{{', b: '\\"\\\\"', c: '\\' })
    for (let cut = 1; cut < 8; cut += 1) expect(accepts(text, { jsonDepthMax: 1, jsonStringsMax: 6 }, cut)).toBe(true)
  })

  test('bounds items that are no strings', () => {
    expect(accepts(`[${'1,'.repeat(262_144)}1]`, generous, 65_536)).toBe(true)
    expect(accepts(`[${'1,'.repeat(262_145)}1]`, generous, 65_536)).toBe(false)
  })

  test('refuses a bomb before it costs anything', () => {
    const began = performance.now()
    expect(accepts('['.repeat(32 * 1024 * 1024), { jsonDepthMax: 64, jsonStringsMax: 1_000 }, 65_536)).toBe(false)
    expect(performance.now() - began).toBeLessThan(1_000)
  })

  test.each([
    ['{"a":123456789012345}', false],
    ['{"a":1234567890123456}', true],
    ['{"a":"1234567890123456"}', false],
    ['{"a":1e5}', true],
    ['{"a":1.23456789012345678}', true],
    ['{"a":true,"e":1}', false],
  ])('%s has long numbers: %s', (text, expected) => {
    const scanner = new JsonScanner(generous)
    scanner.feed(Buffer.from(text))
    expect(scanner.longNumbers).toBe(expected)
  })
})

test('what is parsed and written again is what was sent', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
      const text = JSON.stringify(value)
      expect(JSON.stringify(parseJsonObject(Buffer.from(text), true))).toBe(JSON.stringify(JSON.parse(text)))
    }),
  )
  for (const number of ['12345678901234567890', '-9007199254740993', '1e400', '0.1234567890123456789', '1E5']) {
    expect(JSON.stringify(parseJsonObject(Buffer.from(`{"n":${number}}`), true))).toBe(`{"n":${number === '1E5' ? '100000' : number}}`)
  }
})

test('__proto__ is a key like others', () => {
  const value = parseJsonObject(Buffer.from('{"__proto__":{"polluted":true},"a":1}'), false)
  expect(Object.keys(value)).toEqual(['__proto__', 'a'])
  expect(({} as Record<string, unknown>).polluted).toBeUndefined()
})
