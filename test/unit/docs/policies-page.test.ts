/** The page on policies says what is so: its examples parse, its test file holds, its keys are those that there are. */
import { readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parsePolicy } from '#policies/parse.ts'
import { formatHcl } from '#cmd/cli/hcl-format.ts'
import { lintPolicies } from '#policies/lint.ts'
import { runCommand } from '#test/support/cli.ts'

const page = readFileSync(new URL('../../../docs/policies.md', import.meta.url), 'utf8')
const blocks = (language: string): string[] => [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\``, 'gm'))].map((match) => match[1]!)

test('the examples are canonical policies, and lint says of them what the page says', () => {
  const examples = blocks('hcl')
  expect(examples).toHaveLength(2)
  for (const text of examples) expect(formatHcl(text)).toBe(text)
  const found = examples.map((text) => lintPolicies([{ name: 'p', text }], 0).map(({ message }) => message))
  expect(found).toEqual([[expect.stringContaining('when its conditions fail, "secret/data/team/*" (line 2) decides and grants read')], []])
})

test('the test file of the page holds', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-page-'))
  try {
    writeFileSync(join(folder, 'team.hcl'), blocks('hcl')[0]!)
    writeFileSync(join(folder, 'access.test.hcl'), blocks('hcl-test')[0]!)
    expect(await runCommand(['policy', 'test', join(folder, 'access.test.hcl')])).toMatchObject({ code: 0, out: '5 check(s), 0 failed\n', err: '' })
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('every key of a rule and of its conditions is on the page', () => {
  const keysOf = (text: string): string[] => {
    try {
      parsePolicy('p', text)
    } catch (error) {
      return ((error as { hint?: string }).hint ?? '').split(', ')
    }
    return []
  }
  const keys = [...keysOf('path "a" { qqqqqqqqqqqqqqqqqqqqqqqqqqqqqq = 1 }'), ...keysOf('path "a" { conditions { qqqqqqqqqqqqqqqqqqqqqqqqqqqqqq = 1 } }')]
  expect(keys.length).toBeGreaterThan(15)
  for (const key of keys) expect(new RegExp("[` ]" + key + "[` ]").test(page), key).toBe(true)
})
