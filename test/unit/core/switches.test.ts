/** Switches of the configuration that the core carries out: each is seen to do something, and to do nothing where it is off. */
import { afterEach, describe, expect, test } from 'vitest'
import { lifetimes, setLifetimes } from '#base/lifetimes.ts'
import { silentLogger } from '#base/logger.ts'
import { loadConfig } from '#config/load.ts'
import { listenerOptions } from '#http/from-config.ts'
import { openHouse } from '#test/support/core-house.ts'

describe('default_lease_ttl and max_lease_ttl', () => {
  const before = { ...lifetimes }
  afterEach(() => void setLifetimes(before))

  test('bound tokens, logins, wrapped answers and what is told of a mount; a mount may say otherwise', async () => {
    const { node } = await openHouse()
    await node.write('sys/auth/people', { type: 'userpass' })
    await node.write('auth/people/users/ada', { password: 'correct horse' })
    await node.write('sys/mounts/kv1', { type: 'kv' })
    await node.write('kv1/a', { v: 1 })
    const ttl = async (body: object = {}): Promise<unknown> =>
      (await node.write('auth/token/create', { policies: ['default'], ...body })).body.auth.lease_duration
    const login = async (): Promise<unknown> =>
      (await node.write('auth/people/login/ada', { password: 'correct horse' }, null)).body.auth.lease_duration
    expect([await ttl(), await login()]).toEqual([768 * 3_600, 768 * 3_600])
    setLifetimes({ defaultSeconds: 3_600, maxSeconds: 7_200 })
    expect([await ttl(), await ttl({ ttl: '90m' }), await ttl({ ttl: '24h' })]).toEqual([3_600, 5_400, 7_200])
    expect(await login()).toBe(3_600)
    expect((await node.read('kv1/a')).body.lease_duration).toBe(3_600)
    expect((await node.read('sys/mounts/kv1/tune')).body.data).toMatchObject({ default_lease_ttl: 3_600, max_lease_ttl: 7_200 })
    expect((await node.ask({ operation: 'read', path: 'kv1/a', wrapTtlSeconds: 7_201 })).status).toBe(400)
    await node.write('sys/auth/people/tune', { default_lease_ttl: '10m' })
    expect(await login()).toBe(600)
  })
})

describe('disable_standby_reads', () => {
  test.each([
    [false, 0],
    [true, 1],
  ])('%j: a read that a follower takes is forwarded %i times', async (forwardsReads, times) => {
    const { house } = await openHouse(2, [], silentLogger, { forwardsReads })
    const [leader, follower] = house as [(typeof house)[0], (typeof house)[0]]
    await leader.write('sys/mounts/kv1', { type: 'kv' })
    await leader.write('kv1/a', { v: 1 })
    const before = leader.audit.length
    expect((await follower.read('kv1/a')).body.data).toEqual({ v: 1 })
    // The leader records a request that was forwarded to it, and its answer.
    expect(leader.audit.length - before).toBe(2 * times)
    expect((await leader.read('kv1/a')).status).toBe(200)
  })
})

describe('metrics and requests in flight without a token', () => {
  const opened = (keys: string): readonly string[] => {
    const text = `storage "raft" { path = "/nowhere" }\nlistener "tcp" {\n tls_disable = true\n ${keys}\n}`
    const [listener] = loadConfig({ text: { name: 'test', text }, env: {} }).listeners
    return listenerOptions(listener!).openRoutes ?? []
  }

  test('are opened by the listener that says so, and by it alone', async () => {
    expect(opened('')).toEqual([])
    expect(opened('telemetry { unauthenticated_metrics_access = true }')).toEqual(['metrics'])
    expect(opened('inflight_requests_logging { unauthenticated_in_flight_requests_access = true }')).toEqual(['in-flight-req'])
    const { node } = await openHouse()
    for (const [path, route] of [
      ['sys/metrics', 'metrics'],
      ['sys/in-flight-req', 'in-flight-req'],
    ] as const) {
      expect((await node.ask({ operation: 'read', path, token: null })).status).toBe(403)
      expect((await node.ask({ operation: 'read', path, token: null, openRoutes: ['rekey'] })).status).toBe(403)
      expect((await node.ask({ operation: 'read', path, token: null, openRoutes: [route] })).status).toBe(200)
    }
    // Nothing else comes with it, and a token still decides by its policies.
    expect((await node.ask({ operation: 'read', path: 'sys/mounts', token: null, openRoutes: ['metrics'] })).status).toBe(403)
    const stranger = (await node.write('auth/token/create', { policies: ['default'] })).body.auth.client_token as string
    expect((await node.ask({ operation: 'read', path: 'sys/metrics', token: stranger, openRoutes: ['metrics'] })).status).toBe(403)
  })
})
