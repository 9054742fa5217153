/**
 * `node scripts/record-fixtures.ts`: writes what this release writes into test/fixtures/formats/LEVEL/, once, when the release is made. Later releases read it
 * (test/unit/house/fixtures.test.ts). Refuses to replace a level that is there, but for `--again` before the release.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { releasedFormats } from '#base/formats.ts'
import { recordBarrier } from '#test/support/barrier-fixture.ts'
import { packFolder, serveFixture, write } from '#test/support/data-folder.ts'
import { fixtureFolder, formats, plain } from '#test/support/formats.ts'

const folder = fixtureFolder(releasedFormats.max)
if (existsSync(folder) && !process.argv.includes('--again')) {
  process.stderr.write(`expected no fixtures of level ${releasedFormats.max} yet, found some: released formats do not change\n`)
  process.exit(1)
}
mkdirSync(folder, { recursive: true })

const samples: Record<string, unknown> = {}
for (const format of formats) {
  if (format.unrecorded !== undefined) continue
  const bytes = await format.sample()
  samples[format.name] = { version: format.version, bytes: Buffer.from(bytes).toString('base64'), reads: plain(await format.read(bytes)) }
}
writeFileSync(join(folder, 'samples.json'), `${JSON.stringify(samples, null, 2)}\n`)
writeFileSync(join(folder, 'barrier.json'), `${JSON.stringify(await recordBarrier(), null, 2)}\n`)

const directory = mkdtempSync(join(tmpdir(), 'holdfast-fixture-'))
try {
  const first = await serveFixture(directory)
  for (let key = 0; key < 5; key += 1) await write(first, key, `written ${key}`)
  await first.addMember({ id: 'b', clusterAddress: 'b:8201', apiAddress: 'https://b:8200', fingerprint: 'cd34', voter: false })
  await first.stop()
  const second = await serveFixture(directory)
  for (let key = 3; key < 8; key += 1) await write(second, key, `again ${key}`)
  await second.stop({ handOver: false })
  writeFileSync(join(folder, 'data-folder.json'), `${JSON.stringify(packFolder(directory), null, 2)}\n`)
} finally {
  rmSync(directory, { recursive: true, force: true })
}
process.stdout.write(`level ${releasedFormats.max}: ${Object.keys(samples).length} samples, a state behind the barrier and a data folder\n`)
