import { createHmac, randomBytes } from 'node:crypto'
import { SecretBytes } from '#base/secret.ts'
import { FormatMemo, formatRecord, plainFormat } from '#audit/format.ts'
import { createValueHasher, deriveKey, deriveKeyBytes } from '#audit/hashing.ts'
import { HmacKey } from '#audit/hmac.ts'
import type { AuditRecord, DeviceFormat, NonHmacKeys } from '#audit/types.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bytesOf, vectorSources } from '#test/support/vectors.ts'
import { none, record } from './helpers.ts'

const hasher = createValueHasher(deriveKey(Buffer.alloc(32, 7), 'test'))
const format = (of: AuditRecord, keys: NonHmacKeys = none): string =>
  `${formatRecord(
    of,
    keys,
    hasher,
    new FormatMemo(),
    plainFormat,
    new Map([
      ['x-a', true],
      ['h', true],
    ]),
  )}}`
const parsed = (of: AuditRecord, keys?: NonHmacKeys) => JSON.parse(format(of, keys))

describe('HmacKey', () => {
  test('is HMAC-SHA-256, for every key and text, and keeps a copy of the key', () => {
    const key = fc.uint8Array({ minLength: 1, maxLength: 100 })
    const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 300 }), fc.uint8Array({ maxLength: 300 }), fc.constant('é'.repeat(9_000)))
    fc.assert(
      fc.property(key, fc.array(text, { minLength: 1, maxLength: 3 }), (bytes, texts) => {
        const wiped = Uint8Array.from(bytes)
        const hmac = new HmacKey(wiped)
        wiped.fill(0)
        return texts.every((one) => hmac.hex(one) === createHmac('sha256', bytes).update(one).digest('hex'))
      }),
      { numRuns: 40 },
    )
  })

  test.each(vectorSources())('agrees with the $name vectors', ({ read }) => {
    let tried = 0
    for (const { tagSize, tests } of read('hmac_sha256_test.json').testGroups) {
      if (tagSize !== 256) continue
      for (const vector of tests) {
        const tag = bytesOf(vector, 'tag').toString('hex')
        expect(new HmacKey(bytesOf(vector, 'key')).hex(bytesOf(vector, 'msg')) === tag).toBe(vector.result === 'valid')
        tried += 1
      }
    }
    expect(tried).toBeGreaterThan(20)
  })
})

describe('a record', () => {
  test("has Vault's names, time first, and hashes tokens and data", () => {
    const line = format(
      record('secret/data/a', {
        type: 'response',
        request: {
          ...record('').request,
          path: 'secret/data/a',
          data: { data: { user: 'eve', n: 5, ok: true, no: null, list: ['x', 1] } },
          query: { version: '2' },
          headers: { 'x-a': ['b'] },
        },
        response: {
          status: 200,
          data: { keys: ['k'] },
          auth: { client_token: 's.new', accessor: 'new', policies: ['p'] },
          wrap_info: { token: 's.wrap', accessor: 'w', ttl: 60, creation_path: 'a' },
          warnings: ['w'],
        },
        error: 'no',
      }),
    )
    expect(Object.keys(JSON.parse(line))).toEqual(['time', 'type', 'auth', 'request', 'response', 'error'])
    const h = (value: string): string => hasher.hash(value)
    expect(JSON.parse(line)).toEqual({
      time: '2026-08-01T10:00:00.000Z',
      type: 'response',
      auth: { client_token: h('s.tokentokentokentokentoke'), accessor: h('acc'), policies: ['default'], display_name: 'token' },
      request: {
        id: 'r1',
        operation: 'read',
        namespace: { id: 'root' },
        path: 'secret/data/a',
        remote_address: '127.0.0.1',
        client_token: h('s.tokentokentokentokentoke'),
        data: { data: { user: h('eve'), n: 5, ok: true, no: null, list: [h('x'), 1] } },
        query: { version: h('2') },
        headers: { 'x-a': [h('b')] },
      },
      response: {
        status: 200,
        data: { keys: [h('k')] },
        auth: { client_token: h('s.new'), accessor: h('new'), policies: ['p'] },
        wrap_info: { token: h('s.wrap'), accessor: h('w'), ttl: 60, creation_path: 'a' },
        warnings: ['w'],
      },
      error: 'no',
    })
    expect(h('eve')).toMatch(/^hmac-sha256:[0-9a-f]{64}$/)
  })

  test('holds the headers that the rules name, and no others', () => {
    const request = { ...record('').request, headers: { 'x-a': 'one', 'x-b': 'two', 'x-c': 'three' } }
    const rules = new Map([
      ['x-a', true],
      ['x-b', false],
    ])
    const withRules = (format = plainFormat): Record<string, unknown> =>
      JSON.parse(`${formatRecord(record('', { request }), none, hasher, new FormatMemo(), format, rules)}}`).request
    expect(withRules().headers).toEqual({ 'x-a': [hasher.hash('one')], 'x-b': ['two'] })
    expect(withRules({ ...plainFormat, logRaw: true }).headers).toEqual({ 'x-a': ['one'], 'x-b': ['two'] })
    expect(formatRecord(record('', { request }), none, hasher, new FormatMemo())).not.toContain('headers')
  })

  test('raw, with accessors, with lists by their length: as the device is told', () => {
    const of = record('', {
      response: {
        data: { keys: ['a', 'b'], key_info: { a: {}, b: {} }, big: 10n, bytes: Buffer.from('x') },
        wrap_info: { token: 'hvs.w', accessor: 'wa' },
      },
    })
    const as = (more: Partial<DeviceFormat>) =>
      JSON.parse(`${formatRecord(of, none, hasher, new FormatMemo(), { ...plainFormat, ...more })}}`)
    expect(as({ logRaw: true })).toMatchObject({
      auth: { client_token: 's.tokentokentokentokentoke', accessor: 'acc' },
      response: { data: { keys: ['a', 'b'], big: '10', bytes: 'eA==' } },
    })
    expect(as({ hmacAccessor: false })).toMatchObject({
      auth: { client_token: hasher.hash('s.tokentokentokentokentoke'), accessor: 'acc' },
      response: { wrap_info: { token: hasher.hash('hvs.w'), accessor: 'wa' } },
    })
    expect(as({ elideLists: true }).response.data).toMatchObject({ keys: 2, key_info: 2 })
  })

  test('an error quotes no value of the request, wherever somebody put it', () => {
    const error = 'type expected one of a, got "hunter2"; and Correct-Horse-Battery; policy "shown-one"; role "upper"'
    const data = { type: 'hunter2', deep: [{ x: 'Correct-Horse-Battery' }], policy: 'shown-one', role: 'UPPER', short: 'a' }
    const { error: text } = parsed(record('', { error, request: { ...record('').request, data } }), { request: ['policy'], response: [] })
    expect(text).toBe(
      `type expected one of a, got "${hasher.hash('hunter2')}"; and ${hasher.hash('Correct-Horse-Battery')}; policy "shown-one"; role "${hasher.hash('upper')}"`,
    )
  })

  test('is one line, whatever is in it', () => {
    const line = format(
      record('a\nb\u2028\u0000"\\', { auth: null, error: 'x\ny', request: { ...record('').request, path: '\n', data: { 'k\n': 'v' } } }),
    )
    expect(line).not.toMatch(/[\n\r]/)
    expect(JSON.parse(line)).toMatchObject({ request: { path: '\n' } })
  })

  test('shows the keys that the mount lets through, and no other', () => {
    const request = { ...record('').request, data: { shown: { deep: 'a' }, hidden: 'b' } }
    expect(parsed(record('', { request, response: { data: { shown: 'c' } } }), { request: ['shown'], response: [] })).toMatchObject({
      request: { data: { shown: { deep: 'a' }, hidden: hasher.hash('b') } },
      response: { data: { shown: hasher.hash('c') } },
    })
  })

  test('records a long list by its length', () => {
    const keys = Array.from({ length: 1_001 }, (_, i) => `k${i}`)
    expect(parsed(record('', { response: { data: { keys, few: keys.slice(0, 2) } } })).response.data).toEqual({
      keys: 1_001,
      few: [hasher.hash('k0'), hasher.hash('k1')],
    })
  })

  test('a key called __proto__ is recorded like any other', () => {
    const data = JSON.parse('{"__proto__": {"x": "y"}}')
    expect(format(record('', { response: { data } }))).toContain(`"data":{"__proto__":{"x":"${hasher.hash('y')}"}}`)
  })

  test('does not follow a circle for ever', () => {
    const data: Record<string, unknown> = {}
    data.self = data
    expect(format(record('', { response: { data } }))).toContain('deeper than the record goes')
  })

  test("the same data object is hashed once, and another mount's keys do not show through", () => {
    const memo = new FormatMemo()
    const data = { a: 'secret' }
    const request = { ...record('').request, data }
    const first = formatRecord(record('', { request }), none, hasher, memo)
    expect(formatRecord(record('', { request }), none, hasher, memo)).toBe(first)
    expect(formatRecord(record('', { request }), { request: ['a'], response: [] }, hasher, memo)).toContain('"a":"secret"')
    expect(formatRecord(record('', { request }), none, hasher, memo)).toBe(first)
  })

  test('is what JSON.stringify makes of a copy with hashes, whatever is in it', () => {
    const leaf = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary', maxLength: 5 }),
      fc.double(),
      fc.boolean(),
      fc.constantFrom(null, undefined, -0),
    )
    const { value } = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        leaf,
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(fc.oneof(fc.string({ unit: 'binary', maxLength: 5 }), fc.constantFrom('1', 'toJSON', 'a"\\')), tie('value'), {
          maxKeys: 4,
        }),
      ),
    }))
    const copy = (of: unknown): unknown => {
      if (typeof of === 'string') return hasher.hash(of)
      if (Array.isArray(of)) return of.map(copy)
      if (typeof of !== 'object' || of === null) return of
      return Object.fromEntries(Object.entries(of).map(([key, inner]) => [key, copy(inner)]))
    }
    const text = fc.string({ unit: 'binary', maxLength: 20 })
    fc.assert(
      fc.property(value, value, text, text, fc.boolean(), (data, answer, path, name, shown) => {
        const request = { ...record('').request, path, operation: name, mount_point: name, data, remote_port: 1, retry_id: path }
        const response = { status: 200, data: { a: answer, b: answer }, warnings: [name], replay_of: path }
        const expected = {
          time: '2026-08-01T10:00:00.000Z',
          type: 'request',
          auth: { ...record('').auth, client_token: hasher.hash('s.tokentokentokentokentoke'), accessor: hasher.hash('acc') },
          request: { ...request, client_token: hasher.hash('s.tokentokentokentokentoke'), data: copy(data) },
          response: { ...response, data: { a: shown ? answer : copy(answer), b: copy(answer) } },
        }
        const line = format(record('', { request, response }), { request: [], response: shown ? ['a'] : [] })
        expect(JSON.parse(line)).toEqual(JSON.parse(JSON.stringify(expected)))
        // Nothing but what JSON.stringify writes: no other escapes, no spaces.
        expect(JSON.stringify(JSON.parse(line))).toBe(line)
      }),
      { numRuns: 1_000 },
    )
  })

  test('no string of data, query, headers, tokens or bytes is ever in the clear (CVE-2025-62513, CVE-2025-62705)', () => {
    const mark = 'MARK'
    const leaf = fc.oneof(
      fc.string({ maxLength: 8 }).map((text) => mark + text),
      fc.constant(Buffer.from(mark)),
      fc.constant(new SecretBytes(Buffer.from(mark))),
      fc.constant({ toJSON: () => ({ inner: mark }) }),
      fc.integer(),
      fc.constant(null),
      fc.constant(undefined),
      fc.bigInt(),
    )
    const { value } = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        leaf,
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(fc.string({ maxLength: 4 }), tie('value'), { maxKeys: 3 }),
      ),
    }))
    fc.assert(
      fc.property(value, value, (a, b) => {
        const line = format(
          record('path', {
            auth: { client_token: mark, accessor: mark },
            request: { ...record('').request, client_token: mark, client_token_accessor: mark, data: a, query: b, headers: { h: [mark] } },
            response: {
              data: b,
              auth: { client_token: mark, accessor: mark },
              wrap_info: { token: mark, accessor: mark, wrapped_accessor: mark },
            },
          }),
        )
        JSON.parse(line)
        return !line.includes(mark) && !line.includes('77,65,82,75')
      }),
      { numRuns: 3_000 },
    )
    expect(format(record(mark))).toContain(mark) // A planted mark is found: paths are in the clear.
  })
})

test('devices and purposes have salts of their own; the same device has the same everywhere', () => {
  const key = randomBytes(32)
  const hash = (label: string): string => createValueHasher(deriveKey(key, label)).hash('x')
  expect(hash('a')).toBe(hash('a'))
  expect(hash('a')).not.toBe(hash('b'))
})

test('what looks like a time is remembered by its hash, and is the hash that it was', () => {
  const time = '2026-08-01T10:00:00.123456789Z'
  const expected = `hmac-sha256:${createHmac('sha256', deriveKeyBytes(Buffer.alloc(32, 7), 'test'))
    .update(time)
    .digest('hex')}`
  const fresh = createValueHasher(deriveKey(Buffer.alloc(32, 7), 'test'))
  expect([fresh.hash(time), fresh.hash(time)]).toEqual([expected, expected])
})
