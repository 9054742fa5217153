import { expect, test } from 'vitest'
import { HoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { ForwardSeal } from '#node/forward-seal.ts'
import { QuotaSync } from '#node/quota-sync.ts'
import { Limiter, type Limit } from '#quotas/limiter.ts'
import { QuotaStore } from '#quotas/store.ts'
import type { RateQuota } from '#quotas/types.ts'
import { encode } from '#transport/msgpack.ts'
import { openBarriers } from '#test/support/open-barrier.ts'

const quota: RateQuota = {
  name: 'q',
  namespaceId: 'root',
  mountUuid: null,
  suffix: '',
  role: '',
  inheritable: true,
  rate: 100,
  intervalSeconds: 1,
  blockSeconds: 0,
  groupBy: 'ip',
  secondaryRate: 0,
  burst: 10,
}
const limit: Limit = { id: 'q', flow: { perMs: 0.1, tokensMax: 10 }, blockMs: 0 }

/** Three nodes, the first leading; `cut` are those that reach nobody. */
async function open() {
  const { cluster, at, clock } = await openBarriers(3)
  const cut = new Set<number>()
  const syncs: QuotaSync[] = []
  const limiters: Limiter[] = []
  for (const position of [0, 1, 2]) {
    const store = new QuotaStore()
    await at(0).transact((transaction) => store.put(transaction, 'rate-limit', quota))
    await at(position).read({ kind: 'linearizable' }, (view) => store.refresh(view))
    const sync = new QuotaSync({
      barrier: at(position),
      random: systemRandom,
      replica: cluster.node(position),
      transport: () => ({
        request: async (_to, _kind, body) => {
          if (cut.has(position)) throw new HoldfastError('ERR_UPSTREAM', 'cut off')
          return syncs[0]!.answer(cluster.node(position).nodeId, body)
        },
      }),
      sealed: () => at(position).sealed,
      store,
      clock,
      log: silentLogger,
    })
    const limiter = new Limiter({ cluster: () => sync.cluster(), epochBase: position * 1_000 })
    sync.start(limiter)
    syncs.push(sync)
    limiters.push(limiter)
  }
  /** Asks each node so often a second, and lets the nodes speak four times in it. */
  const second = async (asks: readonly number[]): Promise<number[]> => {
    const passed = [0, 0, 0]
    for (let quarter = 0; quarter < 4; quarter += 1) {
      for (let step = 0; step < 25; step += 1) {
        clock.advance(10)
        for (const [i, ask] of asks.entries()) {
          for (let n = 0; n < ask / 100; n += 1) if (limiters[i]!.take(limit, 'c', 100, clock.monotonicMs()).allowed) passed[i]! += 1
        }
      }
      for (const sync of syncs) await sync.round()
    }
    return passed
  }
  const sum = (of: readonly number[]): number => of.reduce((total, each) => total + each, 0)
  return { cluster, at, clock, syncs, limiters, cut, second, sum }
}

test('three nodes hold one limit together; one that is cut off goes on with its part', async () => {
  const { second, sum, cut, syncs } = await open()
  await second([100, 100, 100])
  await second([100, 100, 100])
  const steady = await second([100, 100, 100])
  expect(sum(steady)).toBeGreaterThanOrEqual(85)
  expect(sum(steady)).toBeLessThanOrEqual(115)
  await second([0, 200, 0])
  const alone = await second([0, 200, 0])
  expect(alone[1]).toBeGreaterThanOrEqual(90)
  expect(alone[1]).toBeLessThanOrEqual(110)
  expect(syncs[0]!.accounts).toBe(1)
  cut.add(1)
  for (let i = 0; i < 3; i += 1) await second([0, 200, 0])
  expect(syncs[1]!.cluster()).toEqual({ nodes: 3, inContact: false })
  const part = await second([0, 200, 0])
  expect(part[1]).toBeGreaterThanOrEqual(30)
  expect(part[1]).toBeLessThanOrEqual(37)
  cut.clear()
  for (let i = 0; i < 3; i += 1) await second([0, 200, 0])
  expect(syncs[1]!.cluster().inContact).toBe(true)
  expect((await second([0, 200, 0]))[1]).toBeGreaterThanOrEqual(90)
  for (const sync of syncs) sync.stop()
})

test('a quota that the leader does not know is not counted, nor what it is told by one who is sealed or malformed', async () => {
  const { at, cluster, syncs } = await open()
  const [one, two] = [cluster.node(0).nodeId, cluster.node(1).nodeId]
  const seal = new ForwardSeal({ barrier: at(1), random: systemRandom })
  const tell = (rows: unknown, place = `quota report ${JSON.stringify([two, one])}`, version = 1): Promise<unknown> =>
    syncs[0]!.answer(two, seal.seal(place, encode([version, rows])))
  const row = ['q\0c', 1, 5, 0.2, 3, false, 0]
  await expect(tell([row])).resolves.toBeInstanceOf(Uint8Array)
  expect(syncs[0]!.accounts).toBe(1)
  await tell([['other\0c', 1, 5, 0.2, 3, false, 0]])
  await tell([['no separator', 1, 5, 0.2, 3, false, 0]])
  expect(syncs[0]!.accounts).toBe(1)
  const frame = { code: 'ERR_FRAME' }
  await expect(tell([row], undefined, 2)).rejects.toMatchObject(frame)
  await expect(tell('rows')).rejects.toMatchObject(frame)
  await expect(tell([[...row.slice(0, 2), -5, ...row.slice(3)]])).rejects.toMatchObject(frame)
  await expect(tell([[...row.slice(0, 4), Number.NaN, false, 0]])).rejects.toMatchObject(frame)
  await expect(tell([['k'.repeat(2_000), 1, 5, 0.2, 3, false, 0]])).rejects.toMatchObject(frame)
  await expect(tell(Array.from({ length: 1_025 }, () => row))).rejects.toMatchObject(frame)
  await expect(tell([row], `quota report ${JSON.stringify(['node-3', one])}`), "another's").rejects.toMatchObject({
    code: 'ERR_PEER_REFUSED',
  })
  await expect(syncs[0]!.answer(two, new Uint8Array(64))).rejects.toMatchObject({ code: 'ERR_PEER_REFUSED' })
  await expect(syncs[1]!.answer(one, seal.seal(`quota report ${JSON.stringify([one, two])}`, encode([1, [row]])))).rejects.toMatchObject({
    code: 'ERR_NOT_LEADER',
  })
  at(0).seal()
  syncs[0]!.forget()
  await expect(tell([row])).rejects.toMatchObject({ code: 'ERR_SEALED' })
  for (const sync of syncs) sync.stop()
})
