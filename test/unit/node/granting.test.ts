/** The authority of a cluster whose state came from another one. */
import { X509Certificate } from 'node:crypto'
import { expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import { Granter } from '#node/granting.ts'
import { encodeStored } from '#core/storage.ts'
import { openBarriers } from '#test/support/open-barrier.ts'
import { createClusterCa, createNodeKey } from '#transport/certificates.ts'

async function world() {
  const opened = await openBarriers(2)
  const { barriers, cluster, clock } = opened
  const granters = barriers.map(
    (barrier, at) => new Granter({ barrier, replica: cluster.node(at), clock, random: systemRandom, sealRecords: () => null }),
  )
  const { clusterId } = cluster.node(0).status()
  const keep = async (of: string): Promise<string> => {
    const ca = await createClusterCa({ clusterId: of, nowMs: clock.nowMs(), random: systemRandom })
    await opened.barrier.transact(async (transaction) =>
      transaction.put({ namespace: 'root', mount: 'sys/cluster' }, 'ca', encodeStored({ ...ca, clusterId: of })),
    )
    return ca.certificatePem
  }
  return { ...opened, granters, clusterId, keep }
}

test("each open node knows its cluster's authority, and a sealed one does not", async () => {
  const { barriers, granters, clusterId, keep } = await world()
  for (const granter of granters) expect(await granter.authority()).toBeNull()
  const pem = await keep(clusterId)
  for (const granter of granters) expect(await granter.authority()).toBe(pem)
  barriers[1]?.seal()
  await expect(granters[1]?.authority()).rejects.toMatchObject({ code: 'ERR_SEALED' })
})

test("another cluster's authority is none here; who is renewed by the one that takes its place finds that on every node", async () => {
  const { granters, keep } = await world()
  const theirs = await keep('another cluster')
  for (const granter of granters) expect(await granter.authority()).toBeNull()
  const { publicKeyPem } = await createNodeKey()
  const issued = new X509Certificate((await granters[0]?.renew('n', publicKeyPem)) ?? '')
  for (const granter of granters) {
    const own = await granter.authority()
    expect(own).not.toBe(theirs)
    expect(issued.verify(new X509Certificate(own ?? '').publicKey)).toBe(true)
  }
})
