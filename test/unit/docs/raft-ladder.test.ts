/** docs/internals/raft-ladder.md: each rung has its test, and each test that is named stands where it is said to. */
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ladder, type Rung } from './ladder.ts'
import { problem, shownCell } from './shown.ts'

const page = 'docs/internals/raft-ladder.md'
const rungs = ladder()

function row({ number, name, shown, figure }: Rung): string {
  return `| ${number} | ${name} | ${shownCell(shown)} | ${figure} |`
}

function text(): string {
  return `# The ladder

What this Raft must show, rung by rung, the tests that show it, and what they count. Made by \`UPDATE_DOCS=1 vitest run test/unit/docs\` from
\`test/unit/docs/ladder.ts\` and the committed figures in \`bench/results\`; a test fails where one that is named is gone, or where the page lags behind.

| rung | name | shown by | figure |
| --- | --- | --- | --- |
${rungs.map(row).join('\n')}
`
}

test('there are forty rungs, each with a test and a figure', () => {
  expect(rungs.map(({ number }) => number)).toEqual(Array.from({ length: 40 }, (_, at) => at + 1))
  expect(new Set(rungs.map(({ name }) => name)).size).toBe(40)
  expect(rungs.filter(({ shown, figure }) => shown.length === 0 || figure === '')).toEqual([])
})

test.each(rungs)('rung $number, $name: its tests are there', ({ shown }) => {
  expect(shown.map(problem).filter((found) => found !== null)).toEqual([])
})

test('a test that is not there is noticed', () => {
  expect(problem('unit/docs/none.test.ts')).toBe('no file unit/docs/none.test.ts')
  expect(problem('unit/docs/simulator.test.ts::no such title')).toBe("no test 'no such title' in unit/docs/simulator.test.ts")
  expect(problem('unit/docs/ladder.ts')).toBe('no test in unit/docs/ladder.ts')
})

test('the page is this table', () => {
  if (process.env['UPDATE_DOCS'] === '1') writeFileSync(page, text())
  expect(readFileSync(page, 'utf8'), 'run `UPDATE_DOCS=1 npx vitest run test/unit/docs`').toBe(text())
})
