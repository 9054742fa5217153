/** The search that shows what is not there must find what is, in every form and at every place. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { formsOf, Searcher, textMark } from '#test/support/search.ts'

const dir = mkdtempSync(join(tmpdir(), 'holdfast-search-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const mark = { kind: 'key', bytes: Buffer.from('fb00ef3e2a7c9910d6aa5b01fffefdfc8081828384858687a0a1a2a3a4a5a6a7', 'hex') }
const word = textMark('word', 'qxwordqx')
const ways: Record<string, (bytes: Buffer) => Buffer> = {
  'as it is': (bytes) => bytes,
  'UTF-16': (bytes) => Buffer.from(bytes.toString('latin1'), 'utf16le'),
  hex: (bytes) => Buffer.from(bytes.toString('hex').toUpperCase()),
  base64: (bytes) => Buffer.from(bytes.toString('base64')),
}

test('every mark is found in every form, whatever stands around it', () => {
  const searcher = new Searcher([mark, word])
  const around = fc.uint8Array({ maxLength: 40 })
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.entries(ways)),
      fc.constantFrom(mark, word),
      around,
      around,
      ([form, write], one, before, after) => {
        const inner = form === 'base64' ? [Buffer.from(before), one.bytes, Buffer.from(after)] : [one.bytes]
        const text = Buffer.concat([Buffer.from(before), write(Buffer.concat(inner)), Buffer.from(after)])
        return searcher.find(text).has(`${one.kind}, ${form}`)
      },
    ),
    { numRuns: 3_000 },
  )
})

test('in a file, across the border of chunks and behind pages of zeros; nothing is found where nothing is', () => {
  const chunk = 16 * 1024 * 1024
  const block = 64 * 1024
  const path = join(dir, 'file')
  const bytes = Buffer.alloc(chunk + 3 * block)
  const places = [0, block - 3, 2 * block, 5 * block - mark.bytes.length, chunk - 5, bytes.length - mark.bytes.length]
  for (const at of places) {
    mark.bytes.copy(bytes, at)
    writeFileSync(path, bytes)
    expect([...new Searcher([mark]).findInFile(path).keys()], `at ${at}`).toEqual(['key, as it is'])
    bytes.fill(0, at, at + mark.bytes.length)
  }
  writeFileSync(path, bytes)
  const searcher = new Searcher([mark, word])
  expect([searcher.findInFile(path).size, searcher.searchedBytes]).toEqual([0, bytes.length])
  // A key that begins with zeros, behind a block of them.
  const odd = { kind: 'odd', bytes: Buffer.concat([Buffer.alloc(4), mark.bytes]) }
  odd.bytes.copy(bytes, block - 2)
  writeFileSync(path, bytes)
  expect([...new Searcher([odd]).findInFile(path).keys()]).toEqual(['odd, as it is'])
})

test('a mark too short to be found but by chance is refused', () => {
  expect(() => new Searcher([textMark('short', 'abc')])).toThrow(/at least 8 bytes/)
  expect(formsOf(word).map(([form]) => form)).toEqual(expect.arrayContaining(['as it is', 'hex', 'base64', 'UTF-16']))
})
