/** docs/internals/stolen-identity.md: each row has its tests, and each test that is named stands where it is said to. */
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { problem, shownCell } from './shown.ts'
import { could, couldNot, type Deed } from './stolen-identity.ts'

const page = 'docs/internals/stolen-identity.md'

const table = (head: string, deeds: readonly Deed[]): string =>
  [`| ${head} | and gets | shown by |`, '| --- | --- | --- |', ...deeds.map(({ tries, gets, shown }) => `| ${tries} | ${gets} | ${shownCell(shown)} |`)].join('\n')

const text = (): string => `# A stolen identity

A node's transport identity (key and certificate) lies in its data folder, so that a sealed node can vote. Whoever copies it can speak in raft's name; what he says counts only
where it is signed under a key of the barrier (see [commands.md](commands.md)). Here a test plays him, for each thing that he may try. In the simulator he takes part in a
quarter of the seeds (\`test/sim/cluster/impostor.ts\`). The threat as a whole, and what operators do about it, is in the [threat model](../threat-model.md).

Made by \`UPDATE_DOCS=1 vitest run test/unit/docs\` from \`test/unit/docs/stolen-identity.ts\`; a test fails where one that is named is gone, or where the page lags behind.

## What he can do

${table('he', could)}

## What he can't

${table('he', couldNot)}
`

test.each([...could, ...couldNot])('$tries: its tests are there', ({ shown }) => {
  expect(shown.length).toBeGreaterThan(0)
  expect(shown.map(problem).filter((found) => found !== null)).toEqual([])
})

test('the page is this table, and commands.md leads to it', () => {
  if (process.env['UPDATE_DOCS'] === '1') writeFileSync(page, text())
  expect(readFileSync(page, 'utf8'), 'run `UPDATE_DOCS=1 npx vitest run test/unit/docs`').toBe(text())
  expect(readFileSync('docs/internals/commands.md', 'utf8')).toContain('(stolen-identity.md)')
})
