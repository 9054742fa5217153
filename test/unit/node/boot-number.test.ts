import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { nextBoot } from '#node/boot-number.ts'

let folder = ''
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'holdfast-boot-'))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

test('each run of a node has a greater number, whatever its clock says', () => {
  const first = nextBoot(folder, 1_000.7)
  expect(first).toBe(1_000)
  expect(nextBoot(folder, 1_000)).toBe(1_001)
  expect(nextBoot(folder, 5), 'the clock went back').toBe(1_002)
  expect(nextBoot(folder, 9_000)).toBe(9_000)
  rmSync(join(folder, 'boot'))
  expect(nextBoot(folder, 9_500), 'the file is lost').toBe(9_500)
  writeFileSync(join(folder, 'boot'), 'nonsense')
  expect(nextBoot(folder, 9_600)).toBe(9_600)
  expect(readFileSync(join(folder, 'boot'), 'latin1')).toBe('9600\n')
  expect(statSync(join(folder, 'boot')).mode & 0o777).toBe(0o600)
})

test('where it cannot be written the node does not start', () => {
  expect(() => nextBoot(join(folder, 'missing'), 1)).toThrow(/expected to be written, got ENOENT/)
})
