/** `sys/rotate/config`, `sys/key-status`, and the leader's job between them. */
import { describe, expect, test } from 'vitest'
import type { BarrierStatus } from '#barrier/types.ts'
import { keyRotationJobs } from '#engines/sys/key-rotation.ts'
import type { SystemServices } from '#engines/sys/types.ts'
import { openHouse } from '#test/support/core-house.ts'
import { MemoryMountStorage } from '#test/support/engine-bench.ts'

const dayMs = 24 * 3_600_000

describe('the configuration', () => {
  test('is read and written under both names, each field by itself', async () => {
    const { node, house } = await openHouse(2)
    const initial = { max_operations: 3_865_470_566, enabled: true, interval: 0 }
    for (const path of ['sys/rotate/config', 'sys/rotate/keyring/config']) expect((await node.read(path)).body.data).toEqual(initial)
    expect((await node.write('sys/rotate/config', { max_operations: 2_000_000 })).status).toBe(204)
    expect((await house[1]!.write('sys/rotate/keyring/config', { interval: '48h', enabled: false })).status).toBe(204)
    const changed = { max_operations: 2_000_000, enabled: false, interval: '48h0m0s' }
    for (const each of house) expect((await each.read('sys/rotate/config')).body.data).toEqual(changed)
    expect((await node.write('sys/rotate/config', { interval: 0, enabled: true })).status).toBe(204)
    expect((await node.read('sys/rotate/config')).body.data).toEqual({ ...changed, enabled: true, interval: 0 })
  })

  test.each([
    [{ max_operations: 999_999 }, 'max_operations expected 1000000 to 3865470566, got 999999'],
    [{ max_operations: 2 ** 32 }, 'max_operations expected 1000000 to 3865470566, got 4294967296'],
    [{ interval: '23h' }, 'interval expected 0, or 24h0m0s to 878400h0m0s, got 23h0m0s'],
    [{ interval: 4_000_000_000 }, 'interval expected 0, or 24h0m0s to 878400h0m0s, got 1111111h6m40s'],
    [{ enabled: 'perhaps' }, null],
  ])('%j is refused', async (body, message) => {
    const { node } = await openHouse()
    const { status, body: answer } = await node.write('sys/rotate/config', body)
    expect(status).toBe(400)
    if (message !== null) expect(answer.errors).toEqual([message])
    expect((await node.read('sys/rotate/config')).body.data.max_operations).toBe(3_865_470_566)
  })

  test('help tells of each field', async () => {
    const { node } = await openHouse()
    const { body } = await node.ask({ operation: 'help', path: 'sys/rotate/config' })
    for (const word of ['max_operations', 'interval', 'enabled']) expect(JSON.stringify(body)).toContain(word)
  })
})

test('key-status tells term, time and use, on every node', async () => {
  const { node, house, cluster, at } = await openHouse(2)
  for (let i = 0; i < 20; i++) await node.write(`cubbyhole/${i}`, { a: '1' })
  const { encryptions } = at(0).status()
  expect(encryptions).toBeGreaterThan(20)
  const onLeader = (await node.read('sys/key-status')).body.data
  expect(onLeader).toMatchObject({ term: 1, install_time: '2023-11-14T22:13:20Z' })
  expect(onLeader.encryptions).toBeGreaterThanOrEqual(encryptions)
  await cluster.node(1).appliedUpTo(cluster.log.length)
  expect((await house[1]!.read('sys/key-status')).body.data.encryptions).toBeGreaterThanOrEqual(encryptions)
  await node.write('sys/rotate')
  expect((await node.read('sys/key-status')).body.data.encryptions).toBeLessThan(encryptions)
})

test('inside a namespace, rotate and key-status are of its own keyring, on every node; nobody else gets a term, and who has no sudo there gets none', async () => {
  const { node, house, cluster } = await openHouse(2)
  const ask = (namespace: string, path: string, over: object = {}) => node.ask({ namespace, path, ...over })
  const post = (namespace: string, path: string, body: Record<string, unknown> = {}, over: object = {}) =>
    ask(namespace, path, { operation: 'update', method: 'POST', body, ...over })
  const own = 'seal "shamir" { shares = 1 threshold = 1 }'
  for (const [path, seal] of [
    ['plain', ''],
    ['own', own],
    ['own/inner', ''],
  ] as const)
    expect((await post('', `sys/namespaces/${path}`, { seal })).status).toBeLessThan(300)
  const terms = async (): Promise<number[]> => {
    const found: number[] = []
    for (const namespace of ['', 'plain', 'own', 'own/inner']) {
      const { body } = await ask(namespace, 'sys/key-status')
      expect(body.term).toBe(body.data.term)
      found.push(body.data.term)
    }
    return found
  }
  expect(await terms()).toEqual([1, 1, 1, 1])
  await post('own', 'sys/mounts/kv', { type: 'kv' })
  await post('own', 'kv/a', { a: '1' })
  expect((await post('own', 'sys/rotate')).status).toBe(204)
  expect((await post('own/inner', 'sys/rotate/keyring')).status).toBe(204)
  expect((await house[1]!.ask({ operation: 'update', method: 'POST', namespace: 'plain', path: 'sys/rotate' })).status).toBe(204)
  expect((await post('plain', 'sys/rotate')).status).toBe(204)
  expect(await terms()).toEqual([1, 3, 2, 2])
  await cluster.node(1).appliedUpTo(cluster.log.length)
  expect((await house[1]!.ask({ namespace: 'own', path: 'sys/key-status' })).status).toBe(503) // It was never given the key.
  expect((await ask('own', 'kv/a')).body.data).toEqual({ a: '1' })
  await post('plain', 'sys/policies/acl/some', { policy: 'path "sys/rotate" { capabilities = ["update"] }' })
  const { auth } = (await post('plain', 'auth/token/create', { policies: ['some'] })).body
  expect((await post('plain', 'sys/rotate', {}, { token: auth.client_token })).status).toBe(403)
  await post('', 'sys/namespaces/own/seal')
  expect((await post('own', 'sys/rotate')).status).toBe(503)
  expect((await ask('plain', 'sys/key-status')).body.data.term).toBe(3)
})

test('another name key, for the root and inside a namespace: begun once, carried out by the leader, told of while it lasts', async () => {
  const { node, house, at } = await openHouse(2)
  const ask = (namespace: string, path: string, over: object = {}) => node.ask({ namespace, path, ...over })
  const post = (namespace: string, path: string, body: Record<string, unknown> = {}, over: object = {}) =>
    ask(namespace, path, { operation: 'update', method: 'POST', body, ...over })
  await post('', 'sys/namespaces/team')
  for (const namespace of ['', 'team']) {
    await post(namespace, 'sys/mounts/kv', { type: 'kv' })
    for (let i = 0; i < 30; i++) await post(namespace, `kv/f/${i}`, { a: `${namespace}-${i}` })
    expect((await ask(namespace, 'sys/rotate/names')).body.data).toEqual({ in_progress: false, phase: '', keys: 0 })
    expect((await post(namespace, 'sys/rotate/names')).status).toBe(204)
    expect((await post(namespace, 'sys/rotate/names')).status).toBe(400)
    expect((await ask(namespace, 'sys/rotate/names')).body.data).toMatchObject({ in_progress: true, phase: 'copying' })
    await at(0).namespaces.renewNamesStep(5)
    expect((await house[1]!.ask({ namespace, path: 'sys/rotate/names' })).body.data).toEqual({
      in_progress: true,
      phase: 'copying',
      keys: 5,
    })
    await post(namespace, 'kv/f/31', { a: 'meanwhile' })
    while ((await at(0).namespaces.renewNamesStep(50)) !== null);
    expect((await ask(namespace, 'sys/rotate/names')).body.data.in_progress).toBe(false)
    expect((await ask(namespace, 'kv/f/7')).body.data).toEqual({ a: `${namespace}-7` })
    expect((await ask(namespace, 'kv/f/31')).body.data).toEqual({ a: 'meanwhile' })
    expect((await ask(namespace, 'kv/f/', { operation: 'list' })).body.data.keys).toHaveLength(31)
  }
  await post('', 'sys/policies/acl/some', { policy: 'path "sys/rotate/names" { capabilities = ["update"] }' })
  const { auth } = (await post('', 'auth/token/create', { policies: ['some'] })).body
  expect((await post('', 'sys/rotate/names', {}, { token: auth.client_token })).status).toBe(403)
})

describe('the job', () => {
  /** One turn of it over a status of our own. */
  const turn = async (status: Partial<BarrierStatus>, stored: object | null, nowMs: number): Promise<string[]> => {
    const reasons: string[] = []
    const barrier = {
      status: () => ({ sealed: false, keyringTerm: 1, keyringTermCreatedMs: 0, encryptions: 0, ...status }),
      rotate: async (reason?: string) => void reasons.push(reason ?? ''),
    }
    const storage = new MemoryMountStorage()
    if (stored !== null)
      storage.putJson('key-rotation', { version: 1, enabled: true, maxOperations: 3_865_470_566, intervalMs: 0, ...stored })
    for (const each of keyRotationJobs({ barrier } as unknown as SystemServices)) await each.run(storage, nowMs)
    return reasons
  }

  test('rotates by count and by age, and not where it is turned off', async () => {
    expect(await turn({ encryptions: 3_865_470_565 }, null, dayMs)).toEqual([])
    expect(await turn({ encryptions: 3_865_470_566 }, null, dayMs)).toEqual(['its term was used as often as configured'])
    expect(await turn({ encryptions: 1_000_000 }, { maxOperations: 1_000_000 }, dayMs)).toHaveLength(1)
    expect(await turn({}, { intervalMs: dayMs }, dayMs - 1)).toEqual([])
    expect(await turn({}, { intervalMs: dayMs }, dayMs)).toEqual(['its term is as old as configured'])
    expect(await turn({ encryptions: 4_000_000_000 }, { intervalMs: dayMs, enabled: false }, 9 * dayMs)).toEqual([])
    await expect(turn({}, { version: 2 }, 0)).rejects.toMatchObject({ code: 'ERR_UPGRADE_REQUIRED' })
  })

  test('runs on the leader, by its clock: a term a day, values of all terms stay readable', async () => {
    const { node, clock, at, cluster } = await openHouse(2)
    await node.write('sys/rotate/config', { interval: '24h' })
    await node.write('cubbyhole/old', { a: 'of term 1' })
    node.core.startJobs()
    const pass = async (ms: number): Promise<void> => {
      clock.advance(ms)
      for (let i = 0; i < 40; i++) await new Promise((resolve) => setImmediate(resolve))
    }
    for (let second = 0; second < 5; second++) await pass(1_000)
    for (let day = 0; day < 3; day++) {
      await pass(dayMs)
      await pass(1_000)
    }
    expect(at(0).status().keyringTerm).toBe(4)
    await pass(dayMs - 5_000)
    expect(at(0).status().keyringTerm).toBe(4)
    await node.write('cubbyhole/young', { a: 'of term 4' })
    await cluster.node(1).appliedUpTo(cluster.log.length)
    expect(at(1).status().keyringTerm).toBe(4)
    for (const [name, term] of [
      ['old', 1],
      ['young', 4],
    ] as const)
      expect((await node.read(`cubbyhole/${name}`)).body.data.a).toBe(`of term ${term}`)
    await node.core.stopJobs()
  })
})
