import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { releasedFormats } from '#base/formats.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { openConsensus } from '#node/consensus.ts'
import { positionOf, recover } from '#node/recovery.ts'
import { emptyMembership } from '#raft/index.ts'
import { Keepsake, openKeepsake } from '#replica/keepsake.ts'
import { nodeDisk } from '#store/disk.ts'
import { openLogStore } from '#store/log.ts'
import { freePorts } from '#test/support/cluster.ts'
import { createClusterCa } from '#transport/certificates.ts'
import { createIdentity, saveIdentity } from '#transport/identity.ts'
import type { Identity } from '#transport/types.ts'

const clock = systemClock
const random = systemRandom
const gone = {
  code: 'ERR_STORE_CORRUPT',
  message: expect.stringContaining('its data is gone'),
  hint: expect.stringContaining('new node_id'),
}
let dataDir: string
let identity: Identity
let address: string

beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'holdfast-stores-'))
  const clusterId = '11111111-2222-4333-8444-555555555555'
  const ca = await createClusterCa({ clusterId, nowMs: clock.nowMs(), random })
  identity = await createIdentity(ca, { nodeId: 'n1', clusterId, nowMs: clock.nowMs(), days: 1, random })
  await saveIdentity(dataDir, identity)
  address = `127.0.0.1:${await freePorts(2)}`
})
afterEach(() => rmSync(dataDir, { recursive: true, force: true }))

/** A start and an orderly end. */
async function run(founding = false): Promise<void> {
  const self = { id: 'n1', clusterAddress: address, apiAddress: `https://${address}`, fingerprint: identity.fingerprint, voter: true }
  const consensus = await openConsensus({
    dataDir,
    identity,
    incarnation: 1,
    self,
    founding,
    knownMembers: [],
    listenAddress: address,
    settings: {},
    formats: releasedFormats,
    clock,
    random,
    log: silentLogger,
    onRequest: () => Promise.reject(new Error('expected no request')),
  })
  await consensus.stop()
}

function lose(...kept: string[]): void {
  for (const name of readdirSync(dataDir)) if (!kept.includes(name)) rmSync(join(dataDir, name), { recursive: true })
}

const marked = (): boolean => existsSync(join(dataDir, 'identity', 'stores-made'))

describe('a node with an identity', () => {
  test.each([
    ['all of its stores', ['identity']],
    ['log and hard state', ['identity', 'state', 'members.0', 'members.1']],
  ])('that has lost %s does not start, however often, nor with the help of recovery', async (_, kept) => {
    await run(true)
    lose(...kept)
    const options = { dataDir, identity, formats: releasedFormats, log: silentLogger }
    const as = (first: string): Promise<unknown> =>
      recover(options, { members: [first, first === 'n1' ? 'n2' : 'n1'].map((id) => ({ id, clusterAddress: null, voter: true })) })
    for (let times = 0; times < 2; times += 1) {
      await expect(run()).rejects.toMatchObject(gone)
      await expect(positionOf(options)).rejects.toMatchObject(gone)
      await expect(as('n1')).rejects.toMatchObject(gone)
      await expect(as('n2')).rejects.toMatchObject(gone)
    }
    expect(readdirSync(dataDir).toSorted()).toEqual([...kept].toSorted())
  })

  test('that has no stores yet starts: its first start was cut short, or it has received nothing', async () => {
    await run()
    expect(marked()).toBe(true)
    await run()
  })

  test('whose first start was cut short between its stores and the note starts, and is marked then; so is the folder of an older release', async () => {
    await run(true)
    rmSync(join(dataDir, 'identity', 'stores-made'))
    await run()
    expect(marked()).toBe(true)
  })

  test('that runs already is not judged by files that change while they are read: a second one does not start, and leaves them', async () => {
    await run(true)
    const member = (id: string) => ({ id, clusterAddress: `${id}:1`, apiAddress: `http://${id}:2`, fingerprint: id, voter: true })
    // With others to mend it from.
    const keepsake = new Keepsake(await openKeepsake(nodeDisk, dataDir))
    await keepsake.keep({ index: 1, membership: { ...emptyMembership, voters: ['n1', 'n2'] }, members: ['n1', 'n2'].map(member) })
    const running = await openLogStore({ directory: dataDir, clusterId: identity.clusterId })
    try {
      const names = readdirSync(dataDir).toSorted()
      writeFileSync(join(dataDir, 'log', 'CURRENT'), 'MANIFEST-999999\n')
      await expect(run()).rejects.toMatchObject({ code: 'ERR_STORE_FAILED', hint: expect.stringContaining('another process') })
      expect(readdirSync(dataDir).toSorted()).toEqual(names)
    } finally {
      await running.close()
    }
  })

  test('that has the log alone, or the hard state alone, is judged by the log itself', async () => {
    await run(true)
    const aside = join(dataDir, 'aside')
    renameSync(join(dataDir, 'log'), aside)
    await expect(run()).rejects.toMatchObject({ message: 'log: expected it beside the hard state, got none' })
    renameSync(aside, join(dataDir, 'log'))
    for (const slot of [0, 1]) rmSync(join(dataDir, `hardstate.${slot}`))
    await expect(run()).rejects.toMatchObject({ message: 'hardstate: expected it beside the log, got none' })
  })

  const stores = ['log', 'state', 'acknowledged', 'hardstate.0', 'hardstate.1', 'members.0', 'members.1']
  test.each([0, 1, 2, 5, stores.length])(
    'whose recovery was cut short with %i stores laid aside does not start, makes no others, and says what to do',
    async (count) => {
      await run(true)
      rmSync(join(dataDir, 'identity', 'stores-made'))
      const aside = join(dataDir, 'before-recovery')
      mkdirSync(aside)
      writeFileSync(join(aside, 'unfinished'), '[]')
      const moved = stores.filter((name) => existsSync(join(dataDir, name))).slice(0, count)
      for (const name of moved) renameSync(join(dataDir, name), join(aside, name))
      const before = readdirSync(dataDir).toSorted()
      const options = { dataDir, identity, formats: releasedFormats, log: silentLogger }
      const cutShort = {
        code: 'ERR_MEMBERSHIP',
        message: expect.stringContaining('cut short'),
        hint: expect.stringContaining('the same list again'),
      }
      await expect(run()).rejects.toMatchObject(cutShort)
      await expect(positionOf(options)).rejects.toMatchObject(cutShort)
      await expect(recover(options, { members: [{ id: 'n1', clusterAddress: null, voter: true }] })).rejects.toMatchObject(cutShort)
      expect(readdirSync(dataDir).toSorted()).toEqual(before)
      // Taken back as the hint says.
      for (const name of moved) renameSync(join(aside, name), join(dataDir, name))
      rmSync(join(aside, 'unfinished'))
      await run()
      expect(marked()).toBe(true)
    },
  )
})
