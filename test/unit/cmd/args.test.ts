import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { findCommand, parseArgs } from '#cmd/cli/args.ts'
import { nearest } from '#base/suggest.ts'
import type { Command, FlagSpec } from '#cmd/cli/types.ts'
import { commands } from '#cmd/commands/index.ts'

const specs: Readonly<Record<string, FlagSpec>> = {
  format: { type: 'string', description: '', values: ['table', 'json'] },
  field: { type: 'string', description: '' },
  force: { type: 'bool', description: '' },
  cas: { type: 'int', description: '' },
  policy: { type: 'list', description: '' },
  metadata: { type: 'map', description: '' },
}

test.each([
  ['one dash, equals', ['-field=a', 'path']],
  ['two dashes, a space', ['--field', 'a', 'path']],
  ['after the argument', ['path', '-field', 'a']],
])('a flag with %s', (_, words) => {
  const { flags, args } = parseArgs(words, specs)
  expect(flags.string('field')).toBe('a')
  expect(args).toEqual(['path'])
})

test('types: last string wins, lists gather, maps split at the first equals sign, bools stand alone', () => {
  const { flags, args } = parseArgs(
    ['-force', 'p', '-cas=-1', '-policy', 'a', '-policy=b', '-metadata', 'k=v=w', '-field=x', '-field=y', 'a=b', '-'],
    specs,
  )
  expect([flags.bool('force'), flags.int('cas'), flags.string('field')]).toEqual([true, -1, 'y'])
  expect(flags.list('policy')).toEqual(['a', 'b'])
  expect(flags.map('metadata')).toEqual({ k: 'v=w' })
  expect(args).toEqual(['p', 'a=b', '-'])
  expect(parseArgs(['-force=false'], specs).flags.bool('force')).toBe(false)
  expect(parseArgs([], specs).flags.map('metadata')).toBeUndefined()
})

test('what follows -- is never a flag', () => {
  expect(parseArgs(['--', '-force', 'k=v'], specs).args).toEqual(['-force', 'k=v'])
})

test.each([
  [['-feild=x'], 'unknown flag -feild', 'did you mean -field?'],
  [['-zzzzzzzz'], 'unknown flag -zzzzzzzz', undefined],
  [['-field'], 'flag -field expected a value, got none', 'write -field=VALUE'],
  [['-cas=many'], 'flag -cas expected a whole number, got something else', undefined],
  [['-format=jsno'], 'flag -format expected one of table, json', 'did you mean json?'],
  [['-force=perhaps'], 'flag -force expected true or false, got something else', undefined],
  [['-metadata=x'], 'flag -metadata expected key=value, got something else', undefined],
])('%j is refused', (words, message, hint) => {
  expect(() => parseArgs(words, specs)).toThrow(expect.objectContaining({ message, hint }) as Error)
})

test('arguments survive in order whatever flags stand between them', () => {
  const argument = fc.stringMatching(/^[a-z0-9/=@.]{1,12}$/)
  const flag = fc.constantFrom(['-force'], ['-field', 'x'], ['--field=x'], ['-cas', '3'])
  fc.assert(
    fc.property(fc.array(fc.oneof(argument, flag)), (parts) => {
      const { args } = parseArgs(parts.flat(), specs)
      expect(args).toEqual(parts.filter((part) => typeof part === 'string'))
    }),
  )
})

const named = (...paths: string[]): Command[] =>
  paths.map((path) => ({ path: path.split(' '), synopsis: '', args: '', argsMin: 0, argsMax: 9, examples: [''], run: async () => {} }))

test('the command is found with flags before, between and after its words', () => {
  const all = named('list', 'kv get', 'kv metadata get', 'operator raft join', 'operator raft join-token')
  const found = (...argv: string[]) => {
    const result = findCommand(argv, all, specs)
    return 'command' in result ? [result.command.path.join(' '), result.rest] : result
  }
  expect(found('list', 'kv')).toEqual(['list', ['kv']])
  expect(found('-format', 'json', 'kv', '-force', 'get', 'a/b', '-field=x')).toEqual([
    'kv get',
    ['-format', 'json', '-force', 'a/b', '-field=x'],
  ])
  expect(found('kv', 'metadata', 'get', 'x')).toEqual(['kv metadata get', ['x']])
  expect(found('operator', 'raft', 'join', 'http://h')).toEqual(['operator raft join', ['http://h']])
  expect(found('kv', 'gte')).toEqual({ words: ['kv'], unknown: 'gte' })
  expect(found('kv')).toEqual({ words: ['kv'], unknown: null })
})

test('suggestions: a slip of the finger is understood, another word is not', () => {
  const names = ['status', 'secrets', 'server', 'login']
  expect(nearest('statsu', names)).toBe('status')
  expect(nearest('secret', names)).toBe('secrets')
  expect(nearest('Login', names)).toBe('login')
  expect(nearest('frobnicate', names)).toBeNull()
})

test('the table of commands: unique, each with an example that parses', async () => {
  const paths = commands.map((command) => command.path.join(' '))
  expect(new Set(paths).size).toBe(paths.length)
  const { allFlags } = await import('#cmd/cli/help.ts')
  for (const command of commands) {
    expect(command.examples.length, command.path.join(' ')).toBeGreaterThan(0)
    for (const example of command.examples) {
      const [, line = ''] = /holdfast (.*?)(?: (?:[<>|]|&&) .*|$)/.exec(example.replace('<(', '').replace(')', '')) ?? []
      const found = findCommand(line.split(' '), commands, allFlags(command))
      if (!('command' in found)) throw new Error(`example names no command: ${example}`)
      const { args } = parseArgs(found.rest, allFlags(found.command))
      expect(args.length, example).toBeGreaterThanOrEqual(found.command.argsMin)
      expect(args.length, example).toBeLessThanOrEqual(found.command.argsMax)
    }
  }
})
