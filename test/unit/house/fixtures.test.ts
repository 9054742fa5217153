/** What releases wrote, read by this one: test/fixtures/formats/LEVEL/, recorded by scripts/record-fixtures.ts. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { releasedFormats } from '#base/formats.ts'
import {
  fixtureRootKey,
  fixtureSections,
  fixtureValues,
  openRecords,
  recordsOf,
  type BarrierFixture,
} from '#test/support/barrier-fixture.ts'
import { serveFixture, unpackFolder, write } from '#test/support/data-folder.ts'
import { fixtureFolder, formats, plain } from '#test/support/formats.ts'

interface Sample {
  readonly version: number
  readonly bytes: string
  readonly reads: object
}

const levels = Array.from({ length: releasedFormats.max - releasedFormats.min + 1 }, (_, at) => releasedFormats.min + at)
const scratch = mkdtempSync(join(tmpdir(), 'holdfast-fixtures-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const read = <T>(level: number, name: string): T => JSON.parse(readFileSync(join(fixtureFolder(level), name), 'utf8')) as T

describe.each(levels)('a release of level %i', (level) => {
  test('has left its fixtures, and they are small', () => {
    for (const name of ['samples.json', 'barrier.json', 'data-folder.json']) {
      const path = join(fixtureFolder(level), name)
      expect(existsSync(path), path).toBe(true)
      expect(readFileSync(path).length).toBeLessThan(100_000)
    }
  })

  const samples = existsSync(fixtureFolder(level)) ? read<Record<string, Sample>>(level, 'samples.json') : {}

  test.each(Object.entries(samples))('wrote a %s that reads as it did then', async (name, sample) => {
    const format = formats.find((each) => each.name === name)
    if (format === undefined) throw new Error(`expected a reader of ${name}, which a release wrote: got none`)
    expect(plain(await format.read(Buffer.from(sample.bytes, 'base64')))).toEqual(sample.reads)
  })

  test('left none out that it writes', () => {
    const expected = formats.filter(({ unrecorded }) => unrecorded === undefined).map(({ name }) => name)
    expect(Object.keys(samples)).toEqual(expected)
    if (level === releasedFormats.max)
      for (const { name, version } of formats) expect(samples[name]?.version ?? version, name).toBe(version)
  })

  test('wrote a state behind the barrier that opens, is listed and is rotated on', async () => {
    const barrier = await openRecords(recordsOf(read<BarrierFixture>(level, 'barrier.json')), fixtureRootKey())
    await barrier.rotate()
    await barrier.read({ kind: 'linearizable' }, async (view) => {
      for (const { namespace, mount, path, value } of fixtureValues)
        expect(Buffer.from((await view.get({ namespace, mount }, path)) ?? 'none')).toEqual(value)
      for (const section of fixtureSections)
        expect(await view.list(section, '')).toEqual(['a', 'a/', 'deep/', 'long'.repeat(30), 'n\u00e4me', '\u{1f600}/'])
    })
    barrier.close()
  })

  test('wrote a data folder that a node serves and goes on with', async () => {
    const directory = join(scratch, String(level))
    unpackFolder(read(level, 'data-folder.json'), directory)
    const replica = await serveFixture(directory)
    try {
      await write(replica, 9, 'by this release')
      const view = replica.view()
      const text = (key: number): string => Buffer.from(view.get(Buffer.from([0x10, key])) ?? []).toString()
      expect([0, 1, 2, 3, 7, 9].map(text)).toEqual(['written 0', 'written 1', 'written 2', 'again 3', 'again 7', 'by this release'])
      view.release()
      expect(replica.status()).toMatchObject({
        level,
        members: [
          { id: 'a', voter: true },
          { id: 'b', clusterAddress: 'b:8201', voter: false },
        ],
      })
    } finally {
      await replica.stop({ handOver: false })
    }
  })
})
