/** The set of seeded bugs stays in step with the code: `npm run mutants` itself takes too long to run with every test. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { failuresCount, mutants, notHere } from '#test/mutants/mutants.ts'
import { testExists } from '#test/mutants/trial.ts'
import { mutate } from '#test/mutants/types.ts'

test.each(mutants)('$id is found exactly once, and changes the file', (mutant) => {
  const text = readFileSync(mutant.file, 'utf8')
  expect(mutate(text, mutant)).not.toBe(text)
})

test('a text that stands there twice, or not at all, is an error', () => {
  const mutant = { id: 'x', failures: [], file: 'f', find: 'a', replace: 'b', breaks: '', killedBy: { simulator: true } } as const
  expect(mutate('cat', mutant)).toBe('cbt')
  expect(() => mutate('catamaran', mutant)).toThrow('expected its text once')
  expect(() => mutate('dog', mutant)).toThrow('got it 0 times')
})

test('there are at least 40, each with its own id, and the tests that they name stand in their files', () => {
  expect(mutants.length).toBeGreaterThanOrEqual(40)
  expect(new Set(mutants.map(({ id }) => id)).size).toBe(mutants.length)
  const missing = mutants.filter(({ killedBy: { test: named } }) => named !== undefined && !testExists('.', named))
  expect(missing.map(({ id }) => id)).toEqual([])
})

test('a test is found by its name, with or without its group, and a case by its table; another name is not', () => {
  const found = (name: string): boolean => testExists('.', `test/unit/replica/unproven.test.ts::${name}`)
  expect(found('installs no snapshot without a proof, nor with that of another state')).toBe(true)
  expect(found('an unsealed node installs no snapshot without a proof, nor with that of another state')).toBe(true)
  expect(found('an unsealed node takes no command without a MAC into its log')).toBe(true)
  expect(found('an unsealed node takes no command without a MAC into its logs')).toBe(false)
  expect(found('an unknown node takes no command without a MAC into its log')).toBe(false)
})

test('each failure of the list has a mutant, or a reason for having none', () => {
  const all = Array.from({ length: failuresCount }, (_, at) => at + 1)
  const covered = new Set(mutants.flatMap(({ failures }) => failures))
  expect(all.filter((number) => !covered.has(number) && notHere[number] === undefined)).toEqual([])
  expect(Object.keys(notHere).filter((number) => covered.has(Number(number)))).toEqual([])
})
