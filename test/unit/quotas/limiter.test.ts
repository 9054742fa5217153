import { expect, test } from 'vitest'
import { Limiter, limiterBounds, type Cluster, type Limit } from '#quotas/limiter.ts'
import { addressGroup, countedFor, flowOf } from '#quotas/limits.ts'
import type { RateQuota } from '#quotas/types.ts'

const limit = (over: Partial<Limit> = {}): Limit => ({ id: 'q', flow: { perMs: 0.01, tokensMax: 10 }, blockMs: 0, ...over })
const limiterOf = (cluster: Cluster, bucketsMax?: number): Limiter =>
  new Limiter({ cluster: () => cluster, epochBase: 0, ...(bucketsMax === undefined ? {} : { bucketsMax }) })
const passed = (limiter: Limiter, times: number, client = 'c', nowMs = 0, by = limit()): number =>
  Array.from({ length: times }).filter(() => limiter.take(by, client, 10, nowMs).allowed).length

test('a client of its own has a bucket of its own; memory is bounded, whoever asks', () => {
  const limiter = limiterOf({ nodes: 1, inContact: true }, 100)
  expect(passed(limiter, 20, 'a')).toBe(10)
  expect(passed(limiter, 20, 'b')).toBe(10)
  for (let i = 0; i < 10_000; i += 1) limiter.take(limit(), `client ${i}`, 10, 1)
  expect(limiter.size).toBe(100)
  expect(limiter.refused).toBe(20)
  limiter.clear()
  expect(limiter.size).toBe(0)
})

test('beside other nodes: a full bucket while a leader counts, its part without one', () => {
  expect(passed(limiterOf({ nodes: 3, inContact: true }), 20)).toBe(10)
  expect(passed(limiterOf({ nodes: 3, inContact: false }), 20)).toBe(3)
  // A part of less than one request is one.
  expect(passed(limiterOf({ nodes: 3, inContact: false }), 5, 'c', 0, limit({ flow: { perMs: 0.001, tokensMax: 1 } }))).toBe(1)
})

test('only what could exceed the limit is reported; what has stopped is said once; never more than its bound', () => {
  const limiter = limiterOf({ nodes: 3, inContact: true })
  limiter.report(0)
  passed(limiter, 1, 'light', 6_900)
  passed(limiter, 8, 'heavy', 6_900)
  expect(limiter.report(7_000).map(({ key, taken }) => [key, taken])).toEqual([['q\0heavy', 8]])
  expect(
    limiter.report(8_000).map(({ wantedPerMs }) => wantedPerMs),
    'has stopped',
  ).toEqual([0])
  expect(limiter.report(9_000)).toEqual([])
  for (let i = 0; i < limiterBounds.reportsMax + 50; i += 1) passed(limiter, i < 50 ? 9 : 6, `c${i}`, 9_000)
  const rows = limiter.report(9_250)
  expect(rows).toHaveLength(limiterBounds.reportsMax)
  expect(
    rows.slice(0, 50).every(({ taken }) => taken === 9),
    'those that ask most',
  ).toBe(true)
  expect(limiterOf({ nodes: 1, inContact: true }).report(10), 'alone there is nobody to tell').toEqual([])
})

test('a share takes the place of the bucket, less what was let through meanwhile; it lapses', () => {
  const limiter = limiterOf({ nodes: 3, inContact: true })
  passed(limiter, 8)
  const [report] = limiter.report(250)
  passed(limiter, 2, 'c', 250)
  limiter.adopt([{ ...report!, tokens: 5, perMs: 0.02, blockedMs: 0 }], 260)
  expect(passed(limiter, 9, 'c', 260), '5 less 2').toBe(3)
  expect(passed(limiter, 9, 'c', 460), 'by the share of the rate').toBe(4)
  // Another life of the bucket is not meant.
  limiter.adopt([{ ...report!, epoch: 99, tokens: 10, perMs: 1, blockedMs: 0 }], 460)
  expect(passed(limiter, 5, 'c', 460)).toBe(0)
  limiter.adopt([{ ...report!, taken: report!.taken + 9, tokens: -4, perMs: 0.02, blockedMs: 0 }], 470)
  expect(passed(limiter, 5, 'c', 670), 'a debt is paid first').toBe(0)
  expect(passed(limiter, 99, 'c', 100_000), 'no longer: its own part again').toBe(10)
})

test('who is blocked stays blocked, on a node that was told of it too; the wait is what is left', () => {
  const blocking = limit({ blockMs: 60_000 })
  const limiter = limiterOf({ nodes: 1, inContact: true })
  expect(passed(limiter, 11, 'c', 0, blocking)).toBe(10)
  expect(limiter.take(blocking, 'c', 10, 30_000)).toMatchObject({ allowed: false, remaining: 0, retryAfterSeconds: 30 })
  expect(limiter.take(blocking, 'c', 10, 60_001)).toMatchObject({ allowed: true, limit: 10, retryAfterSeconds: 0 })
  const told = limiterOf({ nodes: 3, inContact: true })
  passed(told, 8, 'c', 0, blocking)
  const [report] = told.report(250)
  told.adopt([{ ...report!, tokens: 5, perMs: 0.02, blockedMs: 10_000 }], 250)
  expect(passed(told, 1, 'c', 9_000, blocking)).toBe(0)
  expect(passed(told, 1, 'c', 10_300, blocking)).toBe(1)
})

const quota: RateQuota = {
  name: 'q',
  namespaceId: 'root',
  mountUuid: null,
  suffix: '',
  role: '',
  inheritable: true,
  rate: 6,
  intervalSeconds: 60,
  blockSeconds: 0,
  groupBy: 'ip',
  secondaryRate: 0,
  burst: 0,
}

test('by address, all together, by entity; a rate in parts and an interval make the flow', () => {
  const by = (over: Partial<RateQuota>, entityId = '') => countedFor({ ...quota, ...over }, { address: '192.0.2.1', entityId })
  expect(by({})).toMatchObject({ client: '192.0.2.1', shown: 6, limit: { id: 'q', flow: { perMs: 0.0001, tokensMax: 6 }, blockMs: 0 } })
  expect(by({ groupBy: 'none', burst: 2, blockSeconds: 3 })).toMatchObject({
    client: '',
    limit: { flow: { tokensMax: 2 }, blockMs: 3_000 },
  })
  expect(by({ rate: 0.5 }).limit.flow.tokensMax, 'one at least').toBe(1)
  const entities = { groupBy: 'entity_then_none', secondaryRate: 1 } as const
  expect(by(entities, 'e-1')).toMatchObject({ client: 'e-1', shown: 6, limit: { id: 'q' } })
  expect(by(entities)).toMatchObject({ client: '', shown: 1, limit: { id: 'q#' } })
  expect(by({ groupBy: 'entity_then_ip' })).toMatchObject({ client: '192.0.2.1', shown: 6, limit: { id: 'q#' } })
  const find = (name: string): RateQuota | null => (name === 'q' ? { ...quota, secondaryRate: 60 } : null)
  expect([flowOf('q', find)?.perMs, flowOf('q#', find)?.perMs, flowOf('p', find)]).toEqual([0.0001, 0.001, null])
})

test('an IPv6 client is its network', () => {
  expect(addressGroup('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::')
  expect(addressGroup('2001:db8:1:2::9')).toBe('2001:db8:1:2::')
  expect(addressGroup('2001:db8::9')).toBe('2001:db8:0:0::')
  expect(addressGroup('::1')).toBe('0:0:0:0::')
  expect(addressGroup('fe80::1%eth0')).toBe('fe80:0:0:0::')
  expect(addressGroup('2001:db8:1:2:3::10.0.0.1')).toBe('2001:db8:1:2::')
  expect(addressGroup('10.0.0.1')).toBe('10.0.0.1')
})
