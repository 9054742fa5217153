/** The README's figures are those of the files that it names. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const rows = [...readFileSync('README.md', 'utf8').matchAll(/^\| .* \| (.*) \| \[[\w -]+\]\((bench\/results\/[\w-]+\.json)\) \|$/gm)]

/** All numbers that stand in a file, as they are written. */
const numbersIn = (text: string): string[] => text.match(/\d+(?:\.\d+)?/g) ?? []

test('each figure of the README stands in the file that it names', () => {
  expect(rows.length).toBeGreaterThan(4)
  for (const [row, said = '', file = ''] of rows) {
    const measured = new Set(numbersIn(JSON.stringify(JSON.parse(readFileSync(file, 'utf8')))))
    expect(numbersIn(said).length, row).toBeGreaterThan(1)
    expect(
      numbersIn(said).filter((number) => !measured.has(number)),
      row,
    ).toEqual([])
  }
})
