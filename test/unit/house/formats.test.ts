/** Every format: read back, refused in another version, listed in the docs. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { isHoldfastError } from '#base/errors.ts'
import { checkLevel, laidOut, levelOf, rangeFrom } from '#base/formats.ts'
import { formats, plain } from '#test/support/formats.ts'

test.each(formats)('$name: what this release writes it reads, and another version yields $unknown', async (format) => {
  const sample = await format.sample()
  expect(plain(await format.read(sample))).not.toBeNull()
  const newer = format.newer(sample)
  expect(newer).not.toEqual(sample)
  const refused: unknown = await Promise.resolve()
    .then(() => format.read(newer))
    .then(
      (read) => ({ read }),
      (error: unknown) => error,
    )
  expect(refused).toMatchObject({ code: format.unknown })
  // Named, so that who reads it knows which release to start.
  if (isHoldfastError(refused, 'ERR_UPGRADE_REQUIRED')) {
    expect(refused.message).toMatch(new RegExp(`version ${format.version}.*got ${format.version + 1}$`))
    expect(refused.hint).toMatch(/release/)
  }
})

test('a slot of another version is no damaged one, in whose place its older twin is taken', async () => {
  const slot = formats.find(({ name }) => name === 'slot')
  const sample = (await slot?.sample()) ?? new Uint8Array()
  await expect(slot?.read(slot.newer(sample))).rejects.toMatchObject({ code: 'ERR_UPGRADE_REQUIRED' })
  const damaged = Buffer.from(sample)
  damaged[20] = (damaged[20] ?? 0) ^ 1
  expect(await slot?.read(damaged), 'the twin').toMatchObject({ sequence: 1 })
})

test('the table in docs/internals/formats.md has these formats and no others', () => {
  const docs = readFileSync(new URL('../../../docs/internals/formats.md', import.meta.url), 'utf8')
  const rows = docs.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| format |') && !line.startsWith('| ---'))
  const expected = formats.map(
    ({ name, version, where, kind, unknown }) => `| ${name} | ${version} | ${kind} | ${where} | \`${unknown}\` |`,
  )
  expect(rows).toEqual(expected)
})

test('a level is understood within a range, laid out, and told from what is none', () => {
  expect(levelOf('x', 2, 3, { min: 1, max: 2 })).toBe(2)
  expect(() => levelOf('x', 2, 4, { min: 1, max: 2 })).toThrow(/x: expected version 2 to 3, got 4/)
  expect(() => levelOf('x', 2, 2, { min: 2, max: 2 })).toThrow(expect.objectContaining({ hint: expect.stringContaining('older') }))
  for (const none of [null, undefined, '1', 0, -1, 1.5, 256, 2 ** 40]) expect(levelOf('x', 1, none, { min: 1, max: 1 })).toBeNull()
  expect(laidOut(laidOut([1, 2, 3], 2), 2)).toEqual([1, 2, 3])
  expect(laidOut([1, 2, 3], 2)).not.toEqual(laidOut([1, 2, 3], 1))
  expect(() => checkLevel(2, { min: 1, max: 1 })).toThrow(/at format level 1 or below, got one at 2/)
  expect(() => checkLevel(1, { min: 2, max: 3 })).toThrow(/at format level 2 or above, got one at 1/)
  expect(rangeFrom({ min: 1, max: 3 })).toEqual({ min: 1, max: 3 })
  for (const none of [null, {}, { min: 2, max: 1 }, { min: 0, max: 1 }, { min: 1, max: '2' }]) expect(rangeFrom(none)).toBeNull()
})
