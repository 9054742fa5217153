import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bulkFormats, formatOfName, formatSecrets, parseSecrets, variableName } from '#cmd/cli/bulk-formats.ts'
import { changesOf, eachOf, type Fields } from '#cmd/cli/kv-tree.ts'
import { allOf, handOver, oneOf, sameHandedOver } from '#cmd/commands/run/bindings.ts'

describe('files of secrets', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 40 })
  const field = fc.oneof(text, fc.integer(), fc.boolean(), fc.constant(null), fc.array(text, { maxLength: 3 }))
  const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,8}$/).filter((one) => one !== '__proto__')
  const secret = fc.dictionary(name, field, { minKeys: 1, maxKeys: 5, noNullPrototype: true })

  test.each(['json', 'yaml'] as const)('%s: what is written is read back, one secret or several', async (format) => {
    await fc.assert(
      fc.asyncProperty(fc.dictionary(name, secret, { minKeys: 1, maxKeys: 4, noNullPrototype: true }), async (all) => {
        const several = new Map(Object.entries(all))
        expect(await parseSecrets(await formatSecrets(several, format, false), format)).toEqual(several)
      }),
      { numRuns: 200 },
    )
    await fc.assert(
      fc.asyncProperty(secret, async (one) => {
        const written = await formatSecrets(new Map([['x', one]]), format, true)
        expect(await parseSecrets(written, format)).toEqual(new Map([['', one]]))
      }),
      { numRuns: 200 },
    )
  })

  test('env: each value comes back as it was, or is refused by its name', async () => {
    let refused = 0
    await fc.assert(
      fc.asyncProperty(fc.dictionary(name, text, { minKeys: 1, maxKeys: 5, noNullPrototype: true }), async (one) => {
        let written: string
        try {
          written = await formatSecrets(new Map([['x', one]]), 'env', true)
        } catch (error) {
          refused += 1
          expect((error as Error).message).toMatch(/^\.env can't hold the value of \w+$/)
          return
        }
        expect((await parseSecrets(written, 'env')).get('')).toEqual(one)
      }),
      { numRuns: 1_000 },
    )
    expect(refused).toBeLessThan(100)
  })

  test.each([
    ["it's", `K="it's"\n`.replaceAll('"', '`')],
    ['a b\nc', `K='a b\nc'\n`],
    ['plain/1.2', 'K=plain/1.2\n'],
    ['', `K=''\n`],
  ])('env: %j stands in quotes that it does not contain', async (value, line) => {
    expect(await formatSecrets(new Map([['x', { K: value }]]), 'env', true)).toBe(line)
  })

  test('two secrets with the same key are no .env, nor is a key that is no name', async () => {
    await expect(
      formatSecrets(
        new Map([
          ['a', { K: '1' }],
          ['b', { K: '2' }],
        ]),
        'env',
        false,
      ),
    ).rejects.toThrow('two secrets have the key K')
    await expect(formatSecrets(new Map([['a', { 'a-b': '1' }]]), 'env', false)).rejects.toThrow('"a-b"')
  })

  test('a file that does not parse is refused without a word of what is in it', async () => {
    for (const format of ['json', 'yaml'] as const) {
      const error = await parseSecrets('{"password": hunter2"', format).catch((caught: Error) => caught)
      expect(error).toBeInstanceOf(Error)
      expect((error as Error).message).not.toContain('hunter2')
    }
    await expect(parseSecrets('[1]', 'json')).rejects.toThrow('expected an object')
    await expect(parseSecrets('{}', 'json')).rejects.toThrow('at least one key')
    await expect(parseSecrets('{"/":{"a":1}}', 'json')).rejects.toThrow('expected a name')
  })

  test('a name says its format', () => {
    expect(['.env', 'prod/.env.local', 'a.env', 'x.json', 'x.yml', 'x.yaml', 'x.txt', '-', 'environment'].map(formatOfName)).toEqual([
      'env',
      'env',
      'env',
      'json',
      'yaml',
      'yaml',
      null,
      null,
      null,
    ])
    expect(bulkFormats).toEqual(['env', 'json', 'yaml'])
  })
})

test('changes lead from one secret to the other', () => {
  expect(changesOf({ a: 1, b: { x: 1, y: 2 }, c: 3 }, { b: { y: 2, x: 1 }, c: 4, d: 5 })).toEqual([
    { kind: 'removed', key: 'a', before: 1 },
    { kind: 'changed', key: 'c', before: 3, after: 4 },
    { kind: 'added', key: 'd', after: 5 },
  ])
  const one: Fields = { toString: 'x' }
  expect(changesOf({}, one).map(({ kind }) => kind)).toEqual(['added'])
  expect(changesOf(null, null)).toEqual([])
})

test('eachOf keeps the order, and the failure of one is thrown at its place, of no other', async () => {
  const inputs = async function* () {
    for (let at = 0; at < 30; at++) yield at
  }
  const seen: number[] = []
  const work = async (input: number): Promise<number> => {
    await new Promise((resolve) => setTimeout(resolve, (input * 7) % 5))
    if (input === 20) throw new Error('twenty')
    return input * 2
  }
  const reading = (async () => {
    for await (const [input, output] of eachOf(inputs(), work)) seen.push(output - input)
  })()
  await expect(reading).rejects.toThrow('twenty')
  expect(seen).toEqual(Array.from({ length: 20 }, (_, at) => at))
})

describe('what run hands over', () => {
  const secrets = new Map<string, Fields>([['secret/app', { 'db-password': 'p', port: 5432, '1st': 'x' }]])
  test('names that programs take; all but text as JSON', () => {
    expect(Object.fromEntries(handOver([allOf('/secret/app/', 'APP_')], secrets).variables)).toEqual({
      APP_DB_PASSWORD: 'p',
      APP_PORT: '5432',
      APP__1ST: 'x',
    })
    expect(variableName('ümlaut')).toBe('_MLAUT')
  })
  test.each(['X', 'X=secret/app', '=secret/app#f', 'a b=secret/app#f', 'X=#f', 'X=/#f'])('"%s" is refused', (given) => {
    expect(() => oneOf('variable', given)).toThrow(/expected|called/)
  })
  test('a zero byte ends a variable, so it is refused there and fine in a file', () => {
    const zero = new Map<string, Fields>([['s', { k: 'a\0b' }]])
    expect(() => handOver([oneOf('variable', 'X=s#k')], zero)).toThrow('zero byte')
    expect(handOver([oneOf('file', 'X=s#k')], zero).files.get('X')).toBe('a\0b')
  })
  test('changed or not is told by what the process gets', () => {
    const one = handOver([oneOf('variable', 'X=secret/app#port')], secrets)
    const other = (fields: Fields) => handOver([oneOf('variable', 'X=secret/app#port')], new Map([['secret/app', fields]]))
    expect(sameHandedOver(one, other({ port: 5432, more: 1 }))).toBe(true)
    expect(sameHandedOver(one, other({ port: 5433 }))).toBe(false)
  })
})
