import { describe, expect, test } from 'vitest'
import fc from 'fast-check'
import { HoldfastError } from '#base/errors.ts'
import { readFields } from '#core/fields.ts'
import type { FieldSchema, FieldType, Operation, PathDef } from '#core/types.ts'

const defOf = (fields: Record<string, FieldSchema>, freeForm = false): PathDef => ({
  pattern: 'x/:name',
  fields,
  operations: {},
  help: { synopsis: '', description: '' },
  ...(freeForm ? { freeForm } : {}),
})

const readOne = (type: FieldType, value: unknown, operation: Operation = 'update'): unknown =>
  readFields(defOf({ f: { type, description: '' } }), {}, { body: { f: value }, query: {} }, operation).fields.f

function messages(run: () => unknown): readonly string[] {
  try {
    run()
  } catch (error) {
    if (error instanceof HoldfastError) return error.errors
    throw error
  }
  return []
}

test('a list is bounded, also one that is a single string of commas', () => {
  const refused = (value: unknown): string => messages(() => readOne('list', value))[0] ?? ''
  expect(readOne('list', ','.repeat(8_191))).toHaveLength(8_192)
  const began = performance.now()
  expect(refused(','.repeat(16 * 1024 * 1024))).toContain('at most 8192 items')
  expect(performance.now() - began).toBeLessThan(500)
  expect(refused(Array.from({ length: 8_193 }, () => 1))).toContain('at most 8192 items')
})

describe('a value is read as its type says', () => {
  test.each<[FieldType, unknown, unknown]>([
    ['string', 5, '5'],
    ['string', true, 'true'],
    ['lower-string', ' AbC ', 'abc'],
    ['int', '42', 42],
    ['int', -1, -1],
    ['bool', 'TRUE', true],
    ['bool', 0, false],
    ['bool', 'f', false],
    ['duration', '1h30m', 5400],
    ['duration', 90, 90],
    ['duration', '-1s', -1],
    ['duration', '7d', 604_800],
    ['list', 'a, b,c', ['a', 'b', 'c']],
    ['list', ['a', 1], ['a', '1']],
    ['list', '', []],
    ['string-map', { a: 1 }, { a: '1' }],
    ['string-map', ['a=b', 'c=d=e'], { a: 'b', c: 'd=e' }],
    ['map', { a: { b: 1 } }, { a: { b: 1 } }],
    ['any', [1], [1]],
    ['time', '2030-01-01T00:00:00Z', 1_893_456_000_000],
    ['time', 1_893_456_000, 1_893_456_000_000],
  ])('%s %j -> %j', (type, value, expected) => {
    expect(readOne(type, value)).toEqual(expected)
  })

  test.each<[FieldType, unknown]>([
    ['string', {}],
    ['string', ['a']],
    ['int', 1.5],
    ['int', '0x10'],
    ['int', Number.MAX_SAFE_INTEGER + 2],
    ['bool', 'maybe'],
    ['bool', {}],
    ['duration', 'soon-secret'],
    ['duration', {}],
    ['list', { a: 1 }],
    ['list', [['a']]],
    ['string-map', 'novalue'],
    ['string-map', { a: {} }],
    ['map', []],
    ['map', 'x'],
    ['time', 'tomorrow'],
    ['time', '2030-01-01'],
  ])('%s %j is refused by name, without its value', (type, value) => {
    const [message] = messages(() => readOne(type, value))
    expect(message).toMatch(/^error converting input for field "f": expected .+, got .+$/)
    expect(message).not.toContain('secret')
  })
})

describe('where a value comes from', () => {
  const fields: Record<string, FieldSchema> = {
    name: { type: 'string', in: 'path', description: '' },
    version: { type: 'int', in: 'query', description: '' },
    text: { type: 'string', description: '' },
  }

  test('path fields from the path only: a body cannot say another name', () => {
    const { fields: read } = readFields(defOf(fields), { name: 'right' }, { body: { name: 'wrong' }, query: { name: 'wrong' } }, 'update')
    expect(read.name).toBe('right')
  })

  test('query fields from query or body; body fields from the query only where there is no body', () => {
    const request = { body: {}, query: { version: '3', text: 'q' } }
    expect({ ...readFields(defOf(fields), {}, request, 'read').fields }).toEqual({ version: 3, text: 'q' })
    expect({ ...readFields(defOf(fields), {}, request, 'update').fields }).toEqual({ version: 3 })
  })

  test('defaults fill in, null counts as absent, all mistakes are told at once', () => {
    const strict = defOf({
      a: { type: 'int', description: '', default: 7 },
      b: { type: 'string', description: '', required: true },
      c: { type: 'string', description: '', enum: ['x', 'y'] },
    })
    expect(readFields(strict, {}, { body: { a: null, b: 'b' }, query: {} }, 'update').fields.a).toBe(7)
    expect(messages(() => readFields(strict, {}, { body: { a: 'z', c: 'q' }, query: {} }, 'update'))).toEqual([
      'error converting input for field "a": expected an integer, got a string of 1 characters',
      'missing required field "b"',
      'error converting input for field "c": expected one of x, y',
    ])
    expect(messages(() => readFields(strict, {}, { body: {}, query: {} }, 'read'))).toEqual([])
  })
})

describe('what of a write has no effect is told by its name alone', () => {
  const def = (freeForm = false) =>
    defOf(
      {
        name: { type: 'string', in: 'path', description: '' },
        ttl: { type: 'string', description: '' },
        cas: { type: 'int', in: 'query', description: '' },
      },
      freeForm,
    )
  const warnings = (body: Record<string, unknown>, operation: Operation = 'update', freeForm = false) =>
    readFields(def(freeForm), { name: 'n' }, { body, query: {} }, operation).warnings

  test('in the words of the peers, sorted', () => {
    expect(warnings({ ttl: '1h', cas: 1 })).toEqual([])
    expect(warnings({ b: 'hidden', ttl: '1h', a: null })).toEqual(['Endpoint ignored these unrecognized parameters: [a b]'])
    expect(warnings({ name: 'hidden', x: 1 }, 'create')).toEqual([
      'Endpoint ignored these unrecognized parameters: [x]',
      "Endpoint replaced the value of these parameters with the values captured from the endpoint's path: [name]",
    ])
    expect(warnings(JSON.parse('{"__proto__":1,"toString":2}') as Record<string, unknown>, 'patch')).toEqual([
      'Endpoint ignored these unrecognized parameters: [__proto__ toString]',
    ])
    for (const operation of ['read', 'list', 'delete', 'help'] as const) expect(warnings({ x: 1 }, operation), operation).toEqual([])
    expect(warnings({ x: 1, name: 'data' }, 'update', true), 'free form').toEqual([])
  })

  test('within bounds', () => {
    const many = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`f${String(i).padStart(2, '0')}`, i]))
    expect(warnings(many)[0]).toMatch(/: \[f00 (f\d\d ){15}and 24 more\]$/)
    expect(warnings({ ['k'.repeat(5_000)]: 1 })[0]!.length).toBeLessThan(140)
  })

  test('as a slow twin says', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom('name', 'ttl', 'cas', 'a', 'b', 'constructor'), fc.string()), (body) => {
        const keys = Object.keys(body).toSorted()
        const ignored = keys.filter((key) => !['name', 'ttl', 'cas'].includes(key))
        const twin = [
          ...(ignored.length > 0 ? [`Endpoint ignored these unrecognized parameters: [${ignored.join(' ')}]`] : []),
          ...(keys.includes('name') ? [expect.stringMatching(/^Endpoint replaced .*: \[name\]$/)] : []),
        ]
        expect(warnings({ ...body, cas: 1 })).toEqual(twin)
      }),
    )
  })
})

test('free-form data keeps what no body field declares, also under the names of path fields and of the prototype', () => {
  const def = defOf({ name: { type: 'string', in: 'path', description: '' }, ttl: { type: 'string', description: '' } }, true)
  const body = JSON.parse('{"name":"kept","ttl":"1h","__proto__":{"polluted":true},"x":1}') as Record<string, unknown>
  const { data, fields } = readFields(def, { name: 'n' }, { body, query: {} }, 'update')
  expect(Object.keys(data).toSorted()).toEqual(['__proto__', 'name', 'x'])
  expect(fields.name).toBe('n')
  expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  expect(JSON.parse(JSON.stringify(data))).toHaveProperty('x', 1)
})
