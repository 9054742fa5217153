/** A node that waits to be filled after a recovery, and one that was left out of it and runs on: over real connections. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { releasedFormats } from '#base/formats.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { openConsensus } from '#node/consensus.ts'
import { noteLeftOut } from '#node/left-out.ts'
import { parseRecoveryPlan } from '#replica/recovery-plan.ts'
import type { Member } from '#replica/types.ts'
import { freePorts } from '#test/support/cluster.ts'
import { saveIdentity } from '#transport/identity.ts'
import type { Identity } from '#transport/types.ts'
import { closeAll, newCa, newIdentity, startNode, until } from '../transport/harness.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-left-out-'))

afterEach(async () => {
  await closeAll()
  rmSync(folder, { recursive: true, force: true })
})

const memberOf = ({ nodeId: id, fingerprint }: Identity, clusterAddress = `${id}:1`): Member => ({
  id,
  clusterAddress,
  apiAddress: `http://${id}:2`,
  fingerprint,
  voter: true,
})

test('a node that is to be filled refuses who was left out, and answers who joined since', async () => {
  const ca = await newCa()
  const [e, d, left, joined] = [
    await newIdentity(ca, 'e'),
    await newIdentity(ca, 'd'),
    await newIdentity(ca, 'left'),
    await newIdentity(ca, 'joined'),
  ]
  await saveIdentity(folder, e)
  noteLeftOut(
    folder,
    [e, d, left].map((each) => memberOf(each)),
    parseRecoveryPlan('[{"id":"d"},{"id":"e"}]'),
  )
  const address = `127.0.0.1:${await freePorts(1)}`
  const consensus = await openConsensus({
    dataDir: folder,
    identity: e,
    incarnation: 1,
    self: memberOf(e, address),
    founding: false,
    knownMembers: [memberOf(d), memberOf(e, address)],
    listenAddress: address,
    settings: {},
    formats: releasedFormats,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    onRequest: async () => Buffer.from('answered'),
  })
  try {
    const [stranger, friend] = [await startNode(left), await startNode(joined)]
    for (const node of [stranger, friend]) node.transport.setPeers([{ id: 'e', clusterAddress: address, fingerprint: e.fingerprint }])
    const ask = (node: typeof friend): Promise<Uint8Array> => node.transport.request('e', 'any', Buffer.alloc(0), 2_000)
    expect(Buffer.from(await ask(friend)).toString()).toBe('answered')
    await expect(ask(stranger)).rejects.toMatchObject({ code: 'ERR_UPSTREAM' })
    await until('the reason', () => stranger.lines.some((line) => String(line.fields['reason']).includes('a recovery has left out')))
    expect(stranger.transport.stats().peers[0]?.connected).toBe(false)
  } finally {
    await consensus.stop()
  }
})
