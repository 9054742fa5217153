import { compileAcl } from '#policies/acl.ts'
import { failedCondition, localTime } from '#policies/conditions.ts'
import { parsePolicy } from '#policies/parse.ts'
import type { AccessRequest, CallerFacts, CompiledAcl, RuleConditions } from '#policies/types.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const conditionsOf = (text: string): RuleConditions =>
  parsePolicy('p', `path "a" { capabilities = ["read"] conditions { ${text} } }`).rules[0]!.conditions!

const at = (time: string, more: Partial<CallerFacts> = {}): CallerFacts => ({ nowMs: Date.parse(time), ...more })

const aclOf = (...texts: string[]): CompiledAcl => compileAcl(texts.map((text, i) => parsePolicy(`p${i}`, text)))

const reads = (acl: CompiledAcl, path: string, caller: CallerFacts): boolean => {
  const request: AccessRequest = { path, operation: 'read', needsSudo: false, body: {}, query: {}, wrapTtlSeconds: 0, ...caller }
  return acl.decide(request).allowed
}

describe('time of day', () => {
  // 2026-11-23 is a Monday.
  test.each<[why: string, conditions: string, time: string, failed: string | null]>([
    ['the first minute is in', 'time = "08:00-18:00"', '2026-11-23T08:00:00Z', null],
    ['the minute before is not', 'time = "08:00-18:00"', '2026-11-23T07:59:59Z', 'time'],
    ['the last second is in', 'time = "08:00-18:00"', '2026-11-23T17:59:59Z', null],
    ['the end is not', 'time = "08:00-18:00"', '2026-11-23T18:00:00Z', 'time'],
    ['to the end of the day', 'time = "18:00-24:00"', '2026-11-23T23:59:59Z', null],
    ['over midnight, before it', 'time = "22:00-06:00"', '2026-11-23T22:00:00Z', null],
    ['over midnight, after it', 'time = "22:00-06:00"', '2026-11-24T05:59:00Z', null],
    ['over midnight, outside', 'time = "22:00-06:00"', '2026-11-24T06:00:00Z', 'time'],
    ['a day that is named', 'weekdays = ["mon", "tue"]', '2026-11-23T00:00:00Z', null],
    ['a day that is not', 'weekdays = ["mon", "tue"]', '2026-11-25T00:00:00Z', 'weekdays'],
    ['both must hold', 'time = "08:00-18:00" weekdays = ["mon"]', '2026-11-24T09:00:00Z', 'weekdays'],
    ["Friday's night is Friday's on Saturday", 'time = "22:00-06:00" weekdays = ["fri"]', '2026-11-28T05:00:00Z', null],
    ['and not on Friday morning', 'time = "22:00-06:00" weekdays = ["fri"]', '2026-11-27T05:00:00Z', 'weekdays'],
    ["Sunday's night is Sunday's on Monday", 'time = "22:00-06:00" weekdays = ["sun"]', '2026-11-23T01:00:00Z', null],
    ['a zone moves the day', 'weekdays = ["mon"] timezone = "Pacific/Auckland"', '2026-11-22T12:00:00Z', null],
    ['and the hour', 'time = "08:00-18:00" timezone = "America/New_York"', '2026-11-23T12:59:00Z', 'time'],
    ['which begins there later', 'time = "08:00-18:00" timezone = "America/New_York"', '2026-11-23T13:00:00Z', null],
    ['a zone of half an hour', 'time = "08:00-18:00" timezone = "Asia/Kolkata"', '2026-11-23T02:30:00Z', null],
    ['a zone of three quarters', 'time = "08:00-18:00" timezone = "Asia/Kathmandu"', '2026-11-23T02:14:00Z', 'time'],
  ])('%s', (_, conditions, time, failed) => {
    expect(failedCondition(conditionsOf(conditions), at(time))).toBe(failed)
  })

  test.each<[string, string, string | null]>([
    ['winter: eight is seven in UTC', '2026-03-28T07:00:00Z', null],
    ['winter: a minute before', '2026-03-28T06:59:00Z', 'time'],
    ['summer began that night: eight is six in UTC', '2026-03-29T06:00:00Z', null],
    ['summer: a minute before', '2026-03-29T05:59:00Z', 'time'],
    ['the last day of summer', '2026-10-24T06:00:00Z', null],
    ['winter began that night', '2026-10-25T06:30:00Z', 'time'],
    ['winter again', '2026-10-25T07:00:00Z', null],
  ])('summer time in Berlin: %s', (_, time, failed) => {
    expect(failedCondition(conditionsOf('time = "08:00-18:00" timezone = "Europe/Berlin"'), at(time))).toBe(failed)
  })

  test('the hour that is skipped never comes; the one that comes twice is twice in', () => {
    const night = conditionsOf('time = "02:00-03:00" timezone = "Europe/Berlin"')
    const minutesIn = (day: string): number =>
      Array.from({ length: 24 * 60 }, (_, minute) => Date.parse(day) + minute * 60_000).filter(
        (nowMs) => failedCondition(night, { nowMs }) === null,
      ).length
    expect([minutesIn('2026-03-28T12:00:00Z'), minutesIn('2026-10-24T12:00:00Z'), minutesIn('2026-06-01T12:00:00Z')]).toEqual([0, 120, 60])
  })

  test('agrees with a slow oracle that writes the local time down and reads it again', () => {
    const zones = ['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Pacific/Auckland', 'Australia/Lord_Howe']
    fc.assert(
      fc.property(fc.nat({ max: 2_000_000_000 }), fc.constantFrom(...zones), (seconds, timeZone) => {
        const [, day, hour, minute] = /^(\w+), (\d\d):(\d\d)$/.exec(
          new Date(seconds * 1_000)
            .toLocaleString('en-GB', { timeZone, weekday: 'short', hour: '2-digit', minute: '2-digit' })
            .replace(' ', ', ')
            .replace(',,', ','),
        )!
        const weekday = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'].indexOf(day!)
        const got = localTime(seconds * 1_000, timeZone)
        return got.weekday === weekday && got.minute === Number(hour) * 60 + Number(minute)
      }),
      { numRuns: 500 },
    )
  })
})

describe('from where, and for which tokens', () => {
  const ranges = conditionsOf('source_cidrs = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]')
  test.each<[string | undefined, boolean]>([
    ['10.1.2.3', true],
    ['::ffff:10.1.2.3', true],
    ['11.0.0.1', false],
    ['192.0.2.7', true],
    ['192.0.2.8', false],
    ['2001:db8::1', true],
    ['2001:db9::1', false],
    ['', false],
    ['localhost', false],
    [undefined, false],
  ])('%s: %s', (clientAddress, holds) => {
    expect(failedCondition(ranges, { nowMs: 0, clientAddress })).toBe(holds ? null : 'source_cidrs')
  })

  test.each<[number | null | undefined, boolean]>([
    [3_600, true],
    [1, true],
    [3_601, false],
    [null, false],
    [undefined, false],
  ])('a token of %s seconds: %s', (tokenTtlSeconds, holds) => {
    expect(failedCondition(conditionsOf('max_token_ttl = "1h"'), { nowMs: 0, tokenTtlSeconds })).toBe(holds ? null : 'max_token_ttl')
  })
})

describe('in a rule', () => {
  const inside = at('2026-11-23T09:00:00Z', { clientAddress: '10.0.0.1', tokenTtlSeconds: 60 })
  const outside = { ...inside, clientAddress: '192.0.2.1' }
  const net = 'conditions { source_cidrs = ["10.0.0.0/8"] }'

  test('one that fails takes the rule away, and the next best decides', () => {
    const acl = aclOf(
      `path "a/b" { capabilities = ["read"] ${net} } path "a/*" { capabilities = ["list"] } path "c" { capabilities = ["read"] ${net} }`,
    )
    expect([reads(acl, 'a/b', inside), reads(acl, 'a/b', outside), reads(acl, 'c', inside), reads(acl, 'c', outside)]).toEqual([
      true,
      false,
      true,
      false,
    ])
    const open = aclOf(`path "a/b" { capabilities = ["list"] ${net} } path "a/*" { capabilities = ["read"] }`)
    expect([reads(open, 'a/b', inside), reads(open, 'a/b', outside)]).toEqual([false, true])
  })

  test.each(['a/b', 'a/*', 'a/+', '+/b', 'a/+*'.replace('+*', '+/*')])('of pattern %s', (pattern) => {
    const acl = aclOf(`path "${pattern}" { capabilities = ["read"] ${net} } path "*" { capabilities = ["list"] }`)
    const path = pattern.endsWith('/*') ? 'a/b/c' : 'a/b'
    expect([reads(acl, path, inside), reads(acl, path, outside)]).toEqual([true, false])
  })

  test('a deny is there whatever its conditions say', () => {
    const acl = aclOf(`path "a/b" { capabilities = ["deny"] ${net} } path "a/*" { capabilities = ["read"] }`)
    expect([reads(acl, 'a/b', inside), reads(acl, 'a/b', outside)]).toEqual([false, false])
    const merged = aclOf(`path "a" { capabilities = ["deny"] ${net} }`, 'path "a" { capabilities = ["read"] }')
    expect([reads(merged, 'a', inside), reads(merged, 'a', outside)]).toEqual([false, false])
  })

  test('of several parts of one pattern those count whose conditions hold', () => {
    const acl = aclOf(
      `path "a" { capabilities = ["read"] ${net} allowed_parameters = { "x" = ["1"] } }`,
      'path "a" { capabilities = ["list"] required_parameters = ["y"] }',
      'path "a" { capabilities = ["update"] conditions { max_token_ttl = "10s" } }',
    )
    const capabilities = (caller: CallerFacts) => acl.capabilities('a', caller)
    // In turns, so that nothing is kept from one caller for the next.
    for (let turn = 0; turn < 2; turn += 1) {
      expect(capabilities(inside)).toEqual(['list', 'read'])
      expect(capabilities(outside)).toEqual(['list'])
      expect(capabilities({ ...outside, tokenTtlSeconds: 10 })).toEqual(['list', 'update'])
      expect(capabilities({ ...inside, tokenTtlSeconds: 10 })).toEqual(['list', 'read', 'update'])
      expect(capabilities({ nowMs: 0 })).toEqual(['list'])
    }
    expect(
      acl.decide({ ...inside, path: 'a', operation: 'read', needsSudo: false, body: { y: 1, x: '1' }, query: {}, wrapTtlSeconds: 0 })
        .allowed,
    ).toBe(false)
    expect(
      acl.decide({ ...inside, path: 'a', operation: 'read', needsSudo: false, body: { x: '1' }, query: { y: '1' }, wrapTtlSeconds: 0 })
        .allowed,
    ).toBe(false)
  })

  test('explain names what fails, and passes the rule over', () => {
    const acl = aclOf(`path "a/b" {\n capabilities = ["read"]\n ${net} }\npath "a/*" { capabilities = ["list"] }`)
    const request: AccessRequest = { path: 'a/b', operation: 'read', needsSudo: false, body: {}, query: {}, wrapTtlSeconds: 0, ...outside }
    expect(acl.explain(request)).toEqual({
      allowed: false,
      root: false,
      reason: 'no capability',
      paginationLimit: 0,
      listFilter: null,
      rule: { pattern: 'a/*', policies: ['p0'] },
      candidates: [
        { pattern: 'a/b', capabilities: ['deny'], active: false, parts: [{ policy: 'p0', line: 1, failed: 'source_cidrs' }] },
        { pattern: 'a/*', capabilities: ['list'], active: true, parts: [{ policy: 'p0', line: 4, failed: null }] },
      ],
    })
    expect(acl.explain({ ...request, ...inside })).toMatchObject({ allowed: true, reason: 'allowed', rule: { pattern: 'a/b' } })
  })
})

test.each<[string, string]>([
  ['', 'line 1, column 36: expected at least one of time, weekdays, source_cidrs, max_token_ttl in "conditions", got none'],
  ['timezone = "UTC"', 'line 1, column 36: expected at least one of time, weekdays, source_cidrs, max_token_ttl in "conditions", got none'],
  ['tiem = "08:00-18:00"', 'line 1, column 49: expected a key that conditions can have, got "tiem"'],
  ['time = "8-18"', 'line 1, column 56: expected two times of day for "time", got something else'],
  ['time = "08:00-08:00"', 'line 1, column 56: expected two times of day for "time", got something else'],
  ['time = "24:00-08:00"', 'line 1, column 56: expected two times of day for "time", got something else'],
  ['time = "08:00-24:01"', 'line 1, column 56: expected two times of day for "time", got something else'],
  ['time = 8', 'line 1, column 56: expected a string for "time", got a number'],
  ['weekdays = ["monday"]', 'line 1, column 61: expected one of mon, tue, wed, thu, fri, sat, sun, got weekday "monday"'],
  ['weekdays = []', 'line 1, column 60: expected at least one day in "weekdays", got none'],
  ['time = "08:00-18:00" timezone = "Mars/Base"', 'line 1, column 81: expected a time zone, got "Mars/Base"'],
  ['source_cidrs = ["10.0.0.0/33"]', 'line 1, column 65: expected an address or address/bits in "source_cidrs", got "10.0.0.0/33"'],
  ['source_cidrs = []', 'line 1, column 64: expected 1 to 256 ranges in "source_cidrs", got 0'],
  ['max_token_ttl = "0s"', 'line 1, column 65: expected a duration above 0 for "max_token_ttl", got 0'],
])('conditions { %s } is refused', (text, message) => {
  expect(() => conditionsOf(text)).toThrow(`failed to parse policy: ${message}`)
})
