import { blocksOf, parseHcl, toPlain } from '#base/hcl.ts'
import { isHoldfastError } from '#base/errors.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const plain = (text: string): unknown => JSON.parse(JSON.stringify(toPlain(parseHcl(text))))

function errorOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (isHoldfastError(error)) return error.message
    throw error
  }
  return 'no error'
}

describe('parseHcl', () => {
  test('reads a server configuration with every form of comment, block and value', () => {
    const text = `# c
ui = true
listener "tcp" { address = "127.0.0.1:8200" tls_disable=1 }
/* x
 */ storage "raft" {
  path = "/a\\"b\\u00e9\\n" // y
  retry_join { a = -1.5 }
  x = [1, "b", {c = 2, "d": 3},]
  h = <<-EOF
      hi
       there
    EOF
  z = null
}
`
    expect(plain(text)).toEqual({
      ui: true,
      listener: { tcp: { address: '127.0.0.1:8200', tls_disable: 1 } },
      storage: {
        raft: { path: '/a"bé\n', retry_join: { a: -1.5 }, x: [1, 'b', { c: 2, d: 3 }], h: 'hi\n there\n', z: null },
      },
    })
    const root = parseHcl(text)
    expect(root.items.map((item) => [item.key, item.line])).toEqual([
      ['ui', 2],
      ['listener', 3],
      ['storage', 5],
    ])
    const storage = root.items[2]?.value
    expect(storage?.kind === 'object' ? storage.items.map((item) => item.line) : []).toEqual([6, 7, 8, 9, 13])
  })

  test.each([
    ['a', `line 1, column 2: expected '=' or '{' after "a", got the end of the text`],
    ['a = 1\nb c', `line 2, column 4: expected '{' after the labels of "b", got the end of the text`],
    ['a\nb = 1', `line 2, column 1: expected '=' or '{' after "a", got a name`],
    ['a =', 'line 1, column 4: expected a value (string, number, true, false, list or object), got the end of the text'],
    ['a = b', 'line 1, column 5: expected a value (string, number, true, false, list or object), got a name'],
    ['a = [1 2]', "line 1, column 8: expected ',' or ']', got a number"],
    ['a = 30s', 'line 1, column 5: expected a number, got one with other characters in it'],
    ['x = "abc', `line 1, column 5: expected '"' to close the string, got the end of the text`],
    ['x = "abc\n"', `line 1, column 5: expected '"' to close the string, got the end of the line`],
    ['a {\n b = 1\n', "line 3, column 1: expected '}', got the end of the text"],
    ['}', "line 1, column 1: expected a key, got '}'"],
    ['a = <<E\nx', 'line 1, column 5: expected a line with E alone, got the end of the text'],
    ['a = "\\q"', 'line 1, column 7: expected an escape (\\n \\t \\r \\" \\\\ \\uXXXX), got another character after the backslash'],
    ['/* x\n\n', "line 1, column 1: expected '*/' to close the comment, got the end of the text"],
    ['{"a":1,}', "line 1, column 8: expected another entry after the comma, got '}'"],
    ['{a:1}', 'line 1, column 2: expected a key in double quotes, got a name'],
    ['{"a"=1}', "line 1, column 5: expected ':', got '='"],
    ['{"a":1}\n x', 'line 2, column 2: expected the end of the text, got a name'],
    ['{"a":[1,]}', "line 1, column 9: expected a value (string, number, true, false, list or object), got ']'"],
  ])('names the place of the mistake in %j', (text, message) => {
    expect(errorOf(() => parseHcl(text))).toBe(message)
  })

  test('never repeats the text of a value in an error', () => {
    for (const text of [
      'key = hunter2',
      'key = "hunter2',
      'key = "ok" "hunter2"',
      'key = ["hunter2" "hunter2"]',
      '{"key":hunter2}',
      'k = 7hunter2',
    ]) {
      const message = errorOf(() => parseHcl(text))
      expect(message).toMatch(/^line 1/)
      expect(message).not.toContain('hunter2')
    }
  })

  test('is bounded in length and depth', () => {
    expect(errorOf(() => parseHcl('a = 1', { charsMax: 4 }))).toBe('expected at most 4 characters, got 5')
    expect(errorOf(() => parseHcl(`a = ${'['.repeat(100_000)}`))).toContain('at most 64 levels')
    expect(errorOf(() => parseHcl('{"a":'.repeat(100_000)))).toContain('at most 64 levels')
    expect(plain(`a = ${'['.repeat(64)}${']'.repeat(64)}`)).toBeDefined()
  })

  test('keeps repeated keys, in order', () => {
    expect(parseHcl('a = 1\na = 2').items.map((item) => item.value.kind === 'number' && item.value.value)).toEqual([1, 2])
  })

  test('__proto__ is a key like any other', () => {
    const value = toPlain(parseHcl('{"__proto__": {"x": 1}}')) as object
    expect(Object.keys(value)).toEqual(['__proto__'])
    expect(({} as Record<string, unknown>)['x']).toBeUndefined()
  })

  test('agrees with JSON.parse on any JSON object', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), fc.constantFrom(0, 1, 2), (object, indent) => {
        const text = JSON.stringify(object, null, indent)
        return JSON.stringify(toPlain(parseHcl(text))) === JSON.stringify(JSON.parse(text))
      }),
      { numRuns: 2_000 },
    )
  })

  test('throws nothing but its own error, whatever the text', () => {
    const pieces = fc.array(
      fc.constantFrom('{', '}', '[', ']', '"', 'a', ' ', '\n', '=', ',', ':', '1', '<<E\n', '/*', '#', '\\', 'é', '-'),
      { maxLength: 14 },
    )
    fc.assert(
      fc.property(pieces, (parts) => {
        const message = errorOf(() => parseHcl(parts.join('')))
        return message === 'no error' || /^line \d+, column \d+: expected .*, got /.test(message)
      }),
      { numRuns: 20_000 },
    )
  })
})

describe('blocksOf', () => {
  test.each([
    'listener "tcp" { a = 1 }\nlistener "unix" {}',
    'listener { tcp = { a = 1 } }\nlistener = { unix {} }',
    'listener = [{ tcp = { a = 1 } }, { unix = {} }]',
    '{"listener": {"tcp": {"a": 1}, "unix": {}}}',
    '{"listener": [{"tcp": {"a": 1}}, {"unix": [{}]}]}',
  ])('folds every way to write labels into one: %s', (text) => {
    const blocks = blocksOf(parseHcl(text), 'listener', 1)
    expect(blocks.map((block) => [block.labels, JSON.stringify(toPlain(block.body))])).toEqual([
      [['tcp'], '{"a":1}'],
      [['unix'], '{}'],
    ])
  })

  test('names the line of what is not a block', () => {
    expect(errorOf(() => blocksOf(parseHcl('a = 1\nlistener = 3'), 'listener', 1))).toBe(
      'line 2, column 12: expected an object for "listener", got a number',
    )
    expect(errorOf(() => blocksOf(parseHcl('\nlistener "a" "b" {}'), 'listener', 1))).toBe(
      'line 2, column 1: expected 1 labels after "listener", got 2',
    )
  })
})
