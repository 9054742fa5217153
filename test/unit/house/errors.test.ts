import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { errorCodes } from '#base/errors.ts'

const documented = [...readFileSync('docs/errors.md', 'utf8').matchAll(/^## (ERR_\w+) \((\d+)\)$/gm)].map(
  (match) => [match[1] as string, Number(match[2])] as const,
)

test('docs/errors.md lists every error code with its status, and no other', () => {
  expect(documented.length).toBeGreaterThan(0)
  expect(Object.fromEntries(documented)).toEqual(errorCodes)
  expect(documented).toHaveLength(Object.keys(errorCodes).length)
})
