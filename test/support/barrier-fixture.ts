/** A small state behind the barrier, as a release leaves it: recorded once (scripts/record-fixtures.ts), opened by all later ones. */
import { createHash } from 'node:crypto'
import { createBarrier } from '#barrier/barrier.ts'
import type { BarrierControl, Section } from '#barrier/types.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { FakeCluster } from './fake-replica.ts'
import { openBarriers, standingClock } from './open-barrier.ts'

/** As it lies in barrier.json: keys and values in base64, in the order of their keys. */
export interface BarrierFixture {
  readonly records: readonly (readonly [string, string])[]
}

export const fixtureRootKey = (): SecretBytes =>
  new SecretBytes(new Uint8Array(createHash('sha256').update('the root key of the fixtures').digest()))

/** Of the namespace `own`, which has a seal of its own; `child` lies in it. */
export const fixtureOwnRootKey = (): SecretBytes =>
  new SecretBytes(new Uint8Array(createHash('sha256').update('the root key of a namespace of the fixtures').digest()))

export const fixtureSections: readonly Section[] = ['root', 'team', 'own', 'child'].flatMap((namespace) =>
  ['kv', 'sys/other'].map((mount) => ({ namespace, mount })),
)

/** What the fixture holds: all kinds of names, values of every length around a block. */
export const fixtureValues: readonly (Section & { readonly path: string; readonly value: Buffer })[] = fixtureSections.flatMap(
  (section, at) =>
    ['a', 'a/b', 'deep/er/still', 'n\u00e4me', '\u{1f600}/x', `${'long'.repeat(30)}`].map((path, i) => ({
      ...section,
      path,
      value: Buffer.alloc([0, 1, 15, 16, 17, 300][i] ?? 0, `${at}${path}`),
    })),
)

/** Records it: two leaders, three terms of the keyring, two of a namespace's. */
export async function recordBarrier(): Promise<BarrierFixture> {
  const { cluster, at } = await openBarriers(2, {}, fixtureRootKey)
  await at(0).transact(async ({ keyrings }) => {
    const bytes = Buffer.from('{}')
    keyrings?.create('own', 'root', { rootKey: fixtureOwnRootKey(), sealConfig: bytes, wrappedRootKey: bytes })
    keyrings?.create('child', 'own')
  })
  for (const [i, { namespace, mount, path, value }] of fixtureValues.entries()) {
    if (i === 8 || i === 16) await at(i === 8 ? 0 : 1).rotate()
    if (i === 12) {
      cluster.elect('node-2')
      await cluster.node(1).appliedUpTo(cluster.log.length)
      at(1).namespaces.open('own', fixtureOwnRootKey())
    }
    if (i === 18 || i === 30) await at(1).transact(async ({ keyrings }) => void keyrings?.rotate(i === 18 ? 'team' : 'own'))
    await at(i < 12 ? 0 : 1).transact(async (tx) => tx.put({ namespace, mount }, path, value))
  }
  await cluster.node(0).appliedUpTo(cluster.log.length)
  return {
    records: cluster
      .node(0)
      .dump()
      .map(([key, value]) => [Buffer.from(key).toString('base64'), Buffer.from(value).toString('base64')]),
  }
}

export function recordsOf({ records }: BarrierFixture): readonly (readonly [Uint8Array, Uint8Array])[] {
  return records.map(([key, value]) => [Buffer.from(key, 'base64'), Buffer.from(value, 'base64')])
}

/** An open barrier over `records`, as a node that got them in a snapshot. */
export async function openRecords(records: readonly (readonly [Uint8Array, Uint8Array])[], rootKey: SecretBytes): Promise<BarrierControl> {
  const clock = standingClock()
  const cluster = new FakeCluster({ ids: ['node-9'], nowMs: () => clock.nowMs() })
  cluster.append(
    records.map(([key, value]) => ({ key, value })),
    0,
  )
  await cluster.node(0).appliedUpTo(cluster.log.length)
  const barrier = createBarrier({ replica: cluster.node(0), clock, random: systemRandom, log: silentLogger })
  barrier.open(rootKey)
  barrier.namespaces.open('own', fixtureOwnRootKey())
  return barrier
}
