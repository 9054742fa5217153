/** What a cluster says of the versions that it has run. */
import { expect, test } from 'vitest'
import { apiVersion, buildDate } from '#core/version.ts'
import { readVersions, versionJob } from '#core/version-history.ts'
import { openHouse } from '#test/support/core-house.ts'
import { openBarriers } from '#test/support/open-barrier.ts'

test('a leader notes its version once; an upgrade adds the next one, which names the one before', async () => {
  const { barrier } = await openBarriers()
  const at = Date.UTC(2026, 0, 1)
  await versionJob(barrier, '1.0', '2025-12-01').run(at)
  await versionJob(barrier, '1.0', '2025-12-01').run(at + 60_000)
  await versionJob(barrier, '0.9', '2025-06-01').run(at + 120_000)
  expect(await barrier.read({ kind: 'linearizable' }, readVersions)).toEqual([
    { version: '1.0', buildDate: '2025-12-01', sinceMs: at },
    { version: '0.9', buildDate: '2025-06-01', sinceMs: at + 120_000 },
  ])
})

test('sys/version-history lists what was noted, and this node that was not yet', async () => {
  const { node, clock, rootToken } = await openHouse()
  const own = (installed: unknown) => ({
    keys: [apiVersion],
    key_info: { [apiVersion]: { build_date: buildDate, previous_version: null, timestamp_installed: installed } },
  })
  expect((await node.list('sys/version-history', rootToken)).body.data).toEqual(own(null))
  node.core.startJobs()
  await expect
    .poll(async () => {
      clock.advance(3_000)
      return (await node.list('sys/version-history', rootToken)).body.data
    })
    .toEqual(own(expect.stringMatching(/^20\d\d-/)))
  await node.core.stopJobs()
})
