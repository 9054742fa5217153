import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const number = /CVE-\d{4}-\d+|GHSA(?:-[0-9a-z]{4}){3}/g
const page = readFileSync('docs/internals/advisories.md', 'utf8')
const [tested = '', waiting = ''] = page.split('## Waiting')
const rows = (part: string): string[][] =>
  part
    .split('\n')
    .filter((line) => /^\| (CVE|GHSA)-/.test(line))
    .map((line) => line.split('|').map((cell) => cell.trim()).slice(1, -1))

/** Numbers that stand in names of tests, by file. */
function named(): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>()
  for (const file of globSync('test/{unit,e2e}/**/*.test.ts')) {
    const text = readFileSync(file, 'utf8')
    const names = text.matchAll(/\b(?:test|describe)(?:\.each(?:<[^(]*>)?\([\s\S]*?\))?\(\s*(?:'((?:[^'\\\n]|\\.)*)'|`([^`]*)`)/g)
    // Rows of a table begin with the name of their test.
    const rowNames = text.matchAll(/^\s*\['((?:[^'\\\n]|\\.)*)'/gm)
    const numbers = new Set([...names, ...rowNames].flatMap(([, plain, template]) => (plain ?? template ?? '').match(number) ?? []))
    if (numbers.size > 0) found.set(file, numbers)
  }
  return found
}

test('each advisory of the page is in the names of tests in the files that it names, and in no other', () => {
  const files = named()
  const onPage = new Map(rows(tested).map(([id, , where]) => [id, [...(where ?? '').matchAll(/`([^`]+)`/g)].map(([, file]) => file!).toSorted()]))
  expect(onPage.size).toBeGreaterThan(20)
  const inTests = new Map<string, string[]>()
  for (const [file, numbers] of files) for (const id of numbers) inTests.set(id, [...(inTests.get(id) ?? []), file].toSorted())
  expect(Object.fromEntries(inTests)).toEqual(Object.fromEntries(onPage))
})

test('what waits says for what, and has no test yet', () => {
  const found = new Set([...named().values()].flatMap((numbers) => [...numbers]))
  const list = rows(waiting)
  expect(list.length).toBeGreaterThan(0)
  for (const [id, , what] of list) {
    expect(what).not.toBe('')
    expect(found.has(id!)).toBe(false)
  }
})
