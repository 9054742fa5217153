import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { askedOf, encodeSeen } from '#core/consistency.ts'
import { openHouse, type Answer, type HouseNode } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let leader: HouseNode
let follower: HouseNode

beforeEach(async () => {
  house = await openHouse(2)
  ;[leader, follower] = house.house as [HouseNode, HouseNode]
  expect((await leader.write('sys/mounts/kv', { type: 'kv', options: { version: '1' } })).status).toBe(204)
  expect((await leader.write('kv/a', { n: 1 })).status).toBe(204)
})

const lag = (paused: boolean): void => {
  house.cluster.node(1).paused = paused
  if (!paused) house.cluster.node(1).resume()
}
const get = (headers: Record<string, string>, path = 'kv/a', token?: string): Promise<Answer> =>
  follower.ask({ path, headers, ...(token === undefined ? {} : { token }) })
const consistency = (value: string): Record<string, string> => ({ 'x-holdfast-consistency': value })
const allow = (age: string): Promise<Answer> => leader.write('sys/mounts/kv/tune', { max_read_age: age })

/** A read that would be fresh waits for what this node lacks. */
async function waits(answer: Promise<Answer>): Promise<Answer> {
  const first = await Promise.race([answer, new Promise((resolve) => setTimeout(() => resolve('waits'), 30))])
  expect(first).toBe('waits')
  lag(false)
  return answer
}

describe('a follower that lags', () => {
  async function behind(): Promise<void> {
    expect((await get({})).body.data).toEqual({ n: 1 })
    lag(true)
    expect((await leader.write('kv/a', { n: 2 })).status).toBe(204)
    house.clock.advance(700)
  }

  test.each(['stale', 'bounded;ms=5000'])('answers %s with what it has, where the mount allows that', async (asked) => {
    await allow('10s')
    await behind()
    const old = await get(consistency(asked))
    expect([old.status, old.body.data]).toEqual([200, { n: 1 }])
    expect(old.headers['x-holdfast-consistency']).toBe('stale;age_ms=700')
    expect((await waits(get({}))).body.data).toEqual({ n: 2 })
    expect(follower.core.oldReads()).toBe(1)
  })

  test.each([
    ['the mount does not allow it', 'stale', '0', {}],
    ['the client asks for younger', 'bounded;ms=500', '10s', {}],
    ['the mount asks for younger', 'stale', '1s', { aged: 400 }],
  ])('waits for what it lacks where %s', async (_, asked, allowed, { aged = 0 }: { aged?: number }) => {
    await allow(allowed)
    await behind()
    house.clock.advance(aged)
    const fresh = await waits(get(consistency(asked)))
    expect([fresh.body.data, fresh.headers['x-holdfast-consistency']]).toEqual([{ n: 2 }, 'linearizable'])
    expect(follower.core.oldReads()).toBe(0)
  })

  test('gives nothing old to a token with counted uses, on sudo paths, on open ones, and with wrapping', async () => {
    await allow('1h')
    expect((await leader.write('sys/mounts/sys/tune', { max_read_age: '1h' })).status).toBe(204)
    const made = await leader.write('auth/token/create', { policies: ['root'], num_uses: 5 })
    await behind()
    expect((await get(consistency('stale'), 'kv/a', made.body.auth.client_token)).body.data).toEqual({ n: 2 })
    expect((await get(consistency('stale'), 'sys/mounts')).headers['x-holdfast-consistency']).toBe('stale;age_ms=700')
    for (const path of ['sys/audit', 'sys/internal/ui/mounts']) {
      lag(true)
      expect((await leader.write('kv/a', { n: 3 })).status).toBe(204)
      expect((await waits(get(consistency('stale'), path))).headers['x-holdfast-consistency']).toBe('linearizable')
    }
    const wrapped = await follower.ask({ path: 'kv/a', headers: consistency('stale'), wrapTtlSeconds: 60 })
    expect(wrapped.body.wrap_info.token).toMatch(/\S/)
    expect(follower.core.oldReads()).toBe(1)
  })

  test('knows what a client has seen: it waits for that, or says so where it shall fail', async () => {
    await allow('10s')
    expect((await get({})).status).toBe(200)
    lag(true)
    const written = await leader.ask({
      operation: 'update',
      method: 'POST',
      path: 'kv/a',
      body: { n: 2 },
      headers: { 'x-vault-inconsistent': 'await-state' },
    })
    const seen = { 'x-vault-index': written.headers['x-vault-index']! }
    house.clock.advance(50)
    const failed = await get({ ...consistency('stale'), ...seen, 'x-vault-inconsistent': 'fail' })
    expect([failed.status, failed.body.errors, failed.body.code]).toEqual([412, ['required index state not present'], 'ERR_PRECONDITION'])
    const met = await waits(get({ ...consistency('stale'), ...seen }))
    expect([met.body.data, met.headers['x-holdfast-consistency']]).toEqual([{ n: 2 }, 'linearizable'])
    const again = await get({ ...consistency('stale'), ...seen, 'x-vault-inconsistent': 'fail' })
    expect([again.body.data, again.headers['x-vault-index']]).toEqual([{ n: 2 }, seen['x-vault-index']])
  })
})

test('without a majority only stale reads are served, and say so', async () => {
  await allow('1h')
  await get({})
  house.cluster.leader = null
  house.clock.advance(30_000)
  const old = await get(consistency('stale'))
  expect([old.body.data, old.headers['x-holdfast-consistency']]).toEqual([{ n: 1 }, 'stale;age_ms=30000'])
  for (const asked of ['bounded;ms=1000', 'linearizable']) expect((await get(consistency(asked))).status).toBe(503)
  house.clock.advance(3_600_000)
  expect((await get(consistency('stale'))).status).toBe(503)
})

test('the state of another cluster, or of a life before a restore, is refused with a word', async () => {
  for (const other of [
    { clusterId: 'another', incarnation: 1, index: 1 },
    { clusterId: 'fake-cluster', incarnation: 99, index: 1 },
  ]) {
    const answer = await get({ 'x-vault-index': encodeSeen(other) })
    expect([answer.status, answer.body.errors]).toEqual([412, ['required index state not present']])
    expect(answer.body.hint).toMatch(/another cluster/)
  }
})

test.each([
  [{ 'x-holdfast-consistency': 'eventual' }, /^X-Holdfast-Consistency expected linearizable, stale, or bounded;ms=N/],
  [{ 'x-holdfast-consistency': 'bounded;ms=0' }, /^X-Holdfast-Consistency expected/],
  [{ 'x-holdfast-consistency': 'bounded' }, /^X-Holdfast-Consistency expected/],
  [{ 'x-vault-inconsistent': 'perhaps' }, /^X-Vault-Inconsistent expected fail, forward-active-node or await-state/],
  [{ 'x-vault-index': 'nonsense' }, /^X-Vault-Index expected/],
])('a wrong header is a 400 that names it, and is audited: %j', async (headers, message) => {
  const before = follower.audit.length
  const answer = await get(headers)
  expect([answer.status, answer.body.errors]).toEqual([400, [expect.stringMatching(message)]])
  expect(follower.audit.slice(before).map(({ type }) => type)).toEqual(['request', 'response'])
})

test('what a client has seen comes back as it was told', () => {
  const seen = fc.record({
    clusterId: fc.stringMatching(/^[\w-]{1,64}$/),
    incarnation: fc.nat(1_000),
    index: fc.integer({ min: 0, max: 999_999_999_999_999 }),
  })
  fc.assert(
    fc.property(seen, (told) => {
      expect(askedOf({ 'x-vault-index': encodeSeen(told) })?.seen).toEqual(told)
    }),
  )
  expect(askedOf({})).toBe(null)
})
