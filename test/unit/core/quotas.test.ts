import { expect, test } from 'vitest'
import { openHouse } from '#test/support/core-house.ts'

/** A house whose nodes know at once what was written about quotas. */
async function open(nodes = 1, more: Parameters<typeof openHouse>[3] = {}) {
  const opened = await openHouse(nodes, [], undefined, more)
  const settle = async (): Promise<void> => {
    // What the leader has written is applied everywhere.
    for (const position of opened.quotas.keys()) await opened.at(position).read({ kind: 'linearizable' }, async () => null)
    opened.clock.advance(60)
    for (const { feed } of opened.quotas) {
      feed.look()
      await feed.settled()
    }
  }
  await settle()
  const { node } = opened
  return {
    ...opened,
    settle,
    quota: async (name: string, body: Record<string, unknown>, kind = 'rate-limit') => {
      const answer = await node.write(`sys/quotas/${kind}/${name}`, body)
      await settle()
      return answer
    },
  }
}

const statuses = async (times: number, ask: () => Promise<{ readonly status: number }>): Promise<number[]> => {
  const seen: number[] = []
  for (let i = 0; i < times; i += 1) seen.push((await ask()).status)
  return seen
}

test('quotas are written, read as they were written, listed, and deleted', async () => {
  const { node, quota } = await open()
  await node.write('sys/auth/userpass', { type: 'userpass' })
  expect((await node.list('sys/quotas/rate-limit')).status, 'none yet').toBe(404)
  expect(await quota('global', { rate: 897.3, interval: '2m', block_interval: '5m' })).toMatchObject({ status: 204 })
  expect((await node.read('sys/quotas/rate-limit/global')).body.data).toEqual({
    type: 'rate-limit',
    name: 'global',
    path: '',
    role: '',
    rate: 897.3,
    interval: 120,
    block_interval: 300,
    inheritable: true,
    group_by: 'ip',
    secondary_rate: 0,
    burst: 0,
  })
  await quota('logins', { path: '/auth/userpass/login/*', rate: '5' })
  expect((await node.read('sys/quotas/rate-limit/logins')).body.data).toMatchObject({
    path: 'auth/userpass/login/*',
    rate: 5,
    inheritable: false,
  })
  expect((await node.list('sys/quotas/rate-limit')).body.data).toEqual({ keys: ['global', 'logins'] })
  expect((await quota('count', { max_leases: 10 }, 'lease-count')).status).toBe(204)
  expect((await node.read('sys/quotas/lease-count/count')).body.data).toMatchObject({
    type: 'lease-count',
    path: '',
    max_leases: 10,
    role: '',
  })
  expect((await node.remove('sys/quotas/rate-limit/global')).status).toBe(204)
  expect((await node.read('sys/quotas/rate-limit/global')).status).toBe(404)
  // A mount's quotas move with it, and go with it.
  await node.write('sys/remount', { from: 'auth/userpass', to: 'auth/people' })
  expect((await node.read('sys/quotas/rate-limit/logins')).body.data.path).toBe('auth/people/login/*')
  await node.remove('sys/auth/people')
  expect((await node.list('sys/quotas/rate-limit')).status).toBe(404)
})

test('what a quota can not be is refused in the words of the field', async () => {
  const { node, quota } = await open()
  await node.write('sys/auth/userpass', { type: 'userpass' })
  await node.write('sys/auth/approle', { type: 'approle' })
  await node.write('sys/mounts/kv', { type: 'kv' })
  const error = async (body: Record<string, unknown>, kind = 'rate-limit'): Promise<string> => {
    const answer = await quota('x', body, kind)
    expect(answer.status, JSON.stringify(body)).toBe(400)
    return answer.body.errors[0]
  }
  expect(await error({})).toBe("'rate' is invalid")
  expect(await error({ rate: -1 })).toBe("'rate' is invalid")
  expect(await error({ rate: 'many' })).toBe("'rate' is invalid")
  expect(await error({ rate: 1, block_interval: '-1s' })).toBe("'block_interval' is invalid")
  expect(await error({ rate: 1, path: 'nowhere/at/all' })).toBe('invalid mount path "nowhere/at/all"')
  expect(await error({ rate: 1, path: 'kv', inheritable: true })).toMatch(/^inheritable expected with the path of a namespace/)
  expect(await error({ rate: 1, path: 'kv', role: 'web' })).toMatch(/^Mount path "kv\/" is not a valid auth method/)
  expect(await error({ rate: 1, path: 'auth/userpass', role: 'web' })).toBe(
    'Mount path "auth/userpass/" does not support use with role-based quotas',
  )
  expect(await error({ rate: 1, path: 'auth/approle/login', role: 'web' })).toMatch(/^Quotas cannot contain both a path suffix and a role/)
  expect(await error({ rate: 1, secondary_rate: 2 })).toMatch(/^secondary_rate expected/)
  expect(await error({ rate: 1, group_by: 'country' })).toMatch(/group_by/)
  expect(await error({ max_leases: 0 }, 'lease-count')).toBe("'max_leases' is invalid")
  expect(await error({ max_leases: 1, path: 'kv/app' }, 'lease-count')).toMatch(/got one below a mount$/)
  expect(await error({}, 'request-limits')).toMatch(/got none$/)
  await quota('first', { rate: 1, path: 'kv' })
  expect((await quota('second', { rate: 2, path: 'kv/' })).body.errors).toEqual([
    'quota rule with similar properties exists under the name "first"',
  ])
  expect((await quota('first', { rate: 3, path: 'kv' })).status, 'itself').toBe(204)
})

test('who comes too often is answered 429, with what to wait, before anything else of the request is looked at', async () => {
  const { node, quota, clock } = await open()
  await node.write('sys/mounts/kv', { type: 'kv' })
  await quota('kv', { path: 'kv', rate: 2, interval: '10s' })
  node.audit.length = 0
  expect(await statuses(2, () => node.read('kv/app'))).toEqual([404, 404])
  const records = node.audit.length
  const refused = await node.read('kv/app', 'no token at all')
  expect(refused).toMatchObject({
    status: 429,
    body: { errors: ['request path "kv/app": rate limit quota exceeded'] },
    headers: { 'retry-after': '5', 'x-ratelimit-limit': '2', 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '10' },
  })
  expect(node.audit.length, 'no records').toBe(records)
  expect((await node.read('sys/mounts')).status, 'another mount').toBe(200)
  expect((await node.ask({ path: 'kv/app', clientAddress: '192.0.2.7' })).status, 'another client').toBe(404)
  clock.advance(5_000)
  expect(await statuses(2, () => node.read('kv/app'))).toEqual([404, 429])
  // A change holds from the next look on, with a bucket of its own.
  await quota('kv', { path: 'kv', rate: 3, interval: '10s', block_interval: '60s' })
  expect(await statuses(4, () => node.read('kv/app'))).toEqual([404, 404, 404, 429])
  clock.advance(30_000)
  expect(await node.read('kv/app'), 'blocked').toMatchObject({ status: 429, headers: { 'retry-after': '30' } })
  clock.advance(30_000)
  expect((await node.read('kv/app')).status).toBe(404)
  await node.remove('sys/quotas/rate-limit/kv')
})

test('exempt paths, headers on every answer and records of refusals are the configuration’s', async () => {
  const { node, quota, settle } = await open()
  await node.write('sys/mounts/kv', { type: 'kv' })
  expect((await node.read('sys/quotas/config')).body.data).toMatchObject({
    enable_rate_limit_audit_logging: false,
    enable_rate_limit_response_headers: false,
    rate_limit_exempt_paths: expect.arrayContaining(['sys/health', 'sys/seal-status', 'sys/unseal', 'sys/generate-root/attempt']),
  })
  await node.write('sys/quotas/config', {
    rate_limit_exempt_paths: ['kv/open/*', 'sys/quotas/*'],
    enable_rate_limit_audit_logging: true,
    enable_rate_limit_response_headers: true,
  })
  await quota('all', { rate: 1, interval: '1h' })
  const answered = await node.read('kv/app')
  expect(answered).toMatchObject({ status: 404, headers: { 'x-ratelimit-limit': '1', 'x-ratelimit-remaining': '0' } })
  node.audit.length = 0
  expect((await node.read('kv/app')).status).toBe(429)
  expect(node.audit.map(({ type, error }) => [type, error])).toEqual([
    ['request', 'request path "kv/app": rate limit quota exceeded'],
    ['response', 'request path "kv/app": rate limit quota exceeded'],
  ])
  expect(await statuses(3, () => node.read('kv/open/x'))).toEqual([404, 404, 404])
  expect((await node.read('sys/health', null)).status, 'always').toBe(200)
  expect((await node.read('sys/seal-status', null)).status, 'always').toBe(200)
  expect((await node.read('sys/quotas/config')).body.data.rate_limit_exempt_paths).toEqual(['kv/open/*', 'sys/quotas/*'])
  await node.write('sys/quotas/config', {})
  await settle()
  expect((await node.read('sys/quotas/config')).status, 'no longer exempt').toBe(429)
  expect((await node.read('sys/health', null)).status).toBe(200)
})

test('what a load balancer asks is exempt whatever namespace its client library names; the same path of a namespace is not', async () => {
  const { node, quota } = await open()
  await node.write('sys/namespaces/team')
  await quota('all', { rate: 1, interval: '1h' })
  for (const namespace of ['', 'team', 'team/app', 'nowhere'])
    for (const path of ['sys/health', 'sys/seal-status'])
      expect(await statuses(2, () => node.ask({ path, namespace, token: null })), `${path} in ${namespace}`).toEqual([200, 200])
  expect(await statuses(2, () => node.read('team/sys/health'))).not.toContain(200)
  expect((await node.read('team/sys/health')).status).toBe(429)
})

test('a role’s logins are counted apart, by the role that the login asks for', async () => {
  const { node, quota } = await open()
  await node.write('sys/auth/approle', { type: 'approle' })
  const roleId = async (name: string): Promise<string> => {
    await node.write(`auth/approle/role/${name}`, {
      bind_secret_id: false,
      secret_id_bound_cidrs: ['0.0.0.0/0'],
      token_policies: ['default'],
    })
    return (await node.read(`auth/approle/role/${name}/role-id`)).body.data.role_id
  }
  const [web, batch] = [await roleId('web'), await roleId('batch')]
  await quota('web', { path: 'auth/approle', role: 'web', rate: 1, interval: '1h' })
  await quota('others', { path: 'auth/approle/login', rate: 2, interval: '1h' })
  const login = (role_id: string) => () => node.write('auth/approle/login', { role_id }, null)
  expect(await statuses(3, login(web))).toEqual([200, 429, 429])
  expect(await statuses(3, login(batch))).toEqual([200, 200, 429])
  expect((await login('nobody')()).status, 'unknown: as the path').toBe(429)
  expect((await node.read('auth/approle/role/web')).status, 'no login').toBe(200)
  const unreadable = () =>
    node.ask({ operation: 'update', path: 'auth/approle/login', token: null, body: { role_id: {} }, clientAddress: '10.9.9.9' })
  expect(await statuses(3, unreadable), 'fields that can not be read').toEqual([400, 400, 429])
})

test('by entity: who has one is counted wherever it comes from, who has none by address and its own rate', async () => {
  const { node, quota, rootToken } = await open()
  await node.write('sys/auth/userpass', { type: 'userpass' })
  await node.write('sys/mounts/kv', { type: 'kv' })
  await node.write('sys/policies/acl/kv', { policy: 'path "kv/*" { capabilities = ["read", "update", "create"] }' })
  const tokens: string[] = []
  for (const name of ['alice', 'bob']) {
    await node.write(`auth/userpass/users/${name}`, { password: 'a long password', token_policies: ['kv'] })
    tokens.push((await node.write(`auth/userpass/login/${name}`, { password: 'a long password' }, null)).body.auth.client_token)
  }
  const [alice, bob] = tokens
  await quota('kv', { path: 'kv', rate: 2, interval: '1h', group_by: 'entity_then_ip', secondary_rate: 1 })
  let address = 0
  const as = (token: string | undefined) => () =>
    node.ask({ path: 'kv/x', token: token ?? null, clientAddress: `10.0.0.${(address += 1)}` })
  expect(await statuses(3, as(alice))).toEqual([404, 404, 429])
  expect((await node.write('kv/x', { a: '1' }, alice)).status, 'writes too').toBe(429)
  expect(await statuses(3, as(bob))).toEqual([404, 404, 429])
  const from = (token: string | null) => () => node.ask({ path: 'kv/x', token, clientAddress: '192.0.2.1' })
  expect(await statuses(2, from(null)), 'no token').toEqual([403, 429])
  expect((await from('nonsense')()).status, 'one that is none').toBe(429)
  expect((await from(rootToken)()).status, 'a root token has no entity').toBe(429)
  await node.write('sys/quotas/config', { enable_rate_limit_response_headers: true })
  await quota('kv', { path: 'kv', rate: 5, interval: '1h', group_by: 'entity_then_ip' })
  expect(await as(bob)(), 'what was decided late is said too').toMatchObject({ status: 404, headers: { 'x-ratelimit-remaining': '4' } })
  await quota('all', { rate: 2, interval: '1h', group_by: 'entity_then_none' })
  expect(await statuses(3, () => node.ask({ path: 'sys/leader', token: 'nonsense' })), 'no token is looked at').toEqual([200, 200, 429])
})

test('in namespaces: its own, an inherited one, and nobody else’s', async () => {
  const { node, quota } = await open()
  await node.write('sys/namespaces/team')
  await node.write('sys/namespaces/team/app')
  await node.write('sys/namespaces/other')
  const read =
    (namespace: string, path = 'sys/mounts') =>
    () =>
      node.ask({ path, namespace })
  for (const namespace of ['team', 'team/app', 'other']) expect((await read(namespace)()).status).toBe(200)
  await quota('team', { path: 'team', rate: 1, interval: '1h' })
  await quota('all', { path: '', rate: 3, interval: '1h' })
  expect(await statuses(2, read('team'))).toEqual([200, 429])
  // It is evaluated there however it is written: judged as another it would have a bound of its own, or none.
  expect(await statuses(2, read('team/'))).toEqual([429, 429])
  expect((await node.read('team/sys/mounts')).status, 'by the path').toBe(429)
  expect(await statuses(1, read('team/app')), "not the parent's, but the root's").toEqual([200])
  expect((await node.read('sys/quotas/rate-limit/team', undefined)).body?.data?.path).toBe('team/')
  expect(await statuses(2, read('other')), 'the last of three').toEqual([200, 429])
  const inNamespace = await node.ask({ path: 'sys/quotas/rate-limit/team', namespace: 'other', clientAddress: '10.1.1.1' })
  expect(inNamespace.status, 'not one of its own').toBe(404)
})

test('what is asked of a namespace that is not there counts where it is evaluated, and a real one that was not seen yet does not', async () => {
  const { node, quota } = await open()
  await node.write('sys/namespaces/team')
  await quota('own', { path: '', rate: 2, interval: '1h', inheritable: false })
  const read = (namespace: string) => () => node.ask({ path: 'sys/mounts', namespace, token: null, clientAddress: '10.1.1.1' })
  expect(await statuses(3, read('nowhere'))).toEqual([403, 403, 429])
  expect((await read('')()).status, 'the same bucket').toBe(429)
  expect(await statuses(3, read('team'))).toEqual([403, 403, 403])
  expect((await quota('theirs', { path: 'team', rate: 1, interval: '1h' })).status).toBe(204)
  expect(await statuses(2, read('team/nowhere'))).toEqual([403, 429])
})

test('a node that forwards everything holds the quota of a namespace for those below it that it does not know', async () => {
  const { house, quota, quotas } = await open(2, { forwardsReads: true })
  const [leader, follower] = house
  for (const path of ['team', 'team/app', 'team/app/deep', 'own', 'own/app']) await leader!.write(`sys/namespaces/${path}`)
  await quota('team', { path: 'team', rate: 2, interval: '1h', inheritable: true })
  await quota('own', { path: 'own', rate: 1, interval: '1h' })
  const read = (namespace: string) => () => follower!.ask({ path: 'sys/mounts', namespace })
  expect(await statuses(3, read('team/app/deep')), 'by the header').toEqual([200, 200, 429])
  expect((await read('team/app')()).status, 'the same bucket').toBe(429)
  expect((await follower!.read('team/app/sys/mounts')).status, 'by the path').toBe(429)
  expect((await follower!.ask({ path: 'deep/sys/mounts', namespace: 'team/app' })).status, 'by both').toBe(429)
  expect(await statuses(2, read('own/app')), 'what is not handed down does not hold there').toEqual([200, 200])
  expect(await statuses(2, read('own'))).toEqual([200, 429])
  expect(quotas[0]!.limiter.size, 'nothing counted at the leader').toBe(0)
})

test('a request is counted where it came in, not once more by the leader; a change reaches every node', async () => {
  const { house, quota, quotas } = await open(2)
  const [leader, follower] = house
  await leader!.write('sys/mounts/kv', { type: 'kv' })
  await follower!.read('kv/x')
  await quota('kv', { path: 'kv', rate: 2, interval: '1h' })
  expect(quotas[1]!.store.current.rateLimits.size).toBe(1)
  expect(await statuses(3, () => follower!.write('kv/x', { a: '1' }))).toEqual([204, 204, 429])
  expect(quotas[0]!.limiter.size, 'nothing counted there').toBe(0)
  expect(await statuses(1, () => leader!.read('kv/x'))).toEqual([200])
})

test('a sealed node forgets its quotas', async () => {
  const { at, quota, quotas } = await open()
  await quota('all', { rate: 1 })
  expect(quotas[0]!.store.current.rateLimits.size).toBe(1)
  quotas[0]!.store.onSealed()
  expect(quotas[0]!.store.current.rateLimits.size).toBe(0)
  at(0).seal()
  quotas[0]!.feed.look()
  await quotas[0]!.feed.settled()
  expect(quotas[0]!.store.current.rateLimits.size).toBe(0)
})

test('lease counts: a login or a token too many is refused, and nothing of it stays; what is there can be renewed', async () => {
  const { node, quota, clock } = await open()
  await node.write('sys/auth/userpass', { type: 'userpass' })
  await node.write('auth/userpass/users/alice', { password: 'a long password', token_policies: ['default'] })
  node.core.startJobs()
  // The leader counts its leases, a step with each turn of its jobs.
  for (let turn = 0; turn < 40 && node.leasing.leaseCount('root', null) === null; turn += 1) {
    clock.advance(1_000)
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(node.leasing.leaseCount('root', null)).not.toBeNull()
  await quota('logins', { path: 'auth/userpass', max_leases: 2 }, 'lease-count')
  const login = () => node.write('auth/userpass/login/alice', { password: 'a long password' }, null)
  const first = await login()
  expect(first.status).toBe(200)
  expect((await login()).status).toBe(200)
  expect(await login()).toMatchObject({
    status: 429,
    body: { errors: ['1 error occurred:\n\t* request path "auth/userpass/login/alice": lease count quota exceeded\n\n'] },
  })
  const { client_token: token } = first.body.auth
  expect((await node.write('auth/token/renew-self', {}, token)).status, 'renewed').toBe(200)
  expect((await node.write('auth/token/create', { ttl: '1h' })).status, 'another mount').toBe(200)
  await node.write('auth/token/revoke-self', {}, token)
  expect((await login()).status, 'one is gone').toBe(200)
  await quota('all', { max_leases: 1 }, 'lease-count')
  expect((await node.write('auth/token/create', { ttl: '1h' })).status).toBe(429)
  expect((await node.write('auth/token/create')).body.auth, 'root without an end has no lease').toMatchObject({ policies: ['root'] })
  await node.core.stopJobs()
})

test('lease counts: wrapped answers are counted and refused like all other leases; opening and wrapping anew go on', async () => {
  const { node, quota, clock } = await open()
  node.core.startJobs()
  for (let turn = 0; turn < 40 && node.leasing.leaseCount('root', null) === null; turn += 1) {
    clock.advance(1_000)
    await new Promise((resolve) => setImmediate(resolve))
  }
  const wrap = (path: string, token?: string) =>
    node.ask({
      operation: 'update',
      method: 'POST',
      path,
      body: { ttl: '1h' },
      wrapTtlSeconds: 60,
      ...(token === undefined ? {} : { token }),
    })
  await quota('all', { max_leases: (node.leasing.leaseCount('root', null) ?? 0) + 2 }, 'lease-count')
  const [first, second] = [(await wrap('sys/wrapping/wrap')).body.wrap_info, (await wrap('sys/wrapping/wrap')).body.wrap_info]
  const before = node.leasing.leaseCount('root', null)
  for (const path of ['sys/wrapping/wrap', 'sys/tools/random/8', 'auth/token/create']) {
    expect(await wrap(path), path).toMatchObject({ status: 429, body: { errors: [expect.stringContaining('lease count quota exceeded')] } })
  }
  expect(node.leasing.leaseCount('root', null), 'nothing of them is kept').toBe(before)
  const laidAnew = await node.write('sys/wrapping/rewrap', { token: first.token })
  expect(laidAnew.status).toBe(200)
  expect((await node.write('sys/wrapping/unwrap', { token: second.token })).status).toBe(200)
  expect((await wrap('sys/wrapping/wrap')).status, 'one was opened').toBe(200)
  expect((await wrap('sys/wrapping/wrap')).status).toBe(429)
  await node.core.stopJobs()
})

test('quotas of a namespace go with it', async () => {
  const { node, quota, clock, quotas } = await open()
  await node.write('sys/namespaces/team')
  await quota('team', { path: 'team', rate: 1 })
  await quota('rest', { path: 'sys', rate: 100 })
  await node.remove('sys/namespaces/team')
  node.core.startJobs()
  for (let turn = 0; turn < 60 && quotas[0]!.store.current.rateLimits.size > 1; turn += 1) {
    clock.advance(1_000)
    for (let i = 0; i < 20; i += 1) await new Promise((resolve) => setImmediate(resolve))
  }
  await node.core.stopJobs()
  expect((await node.list('sys/quotas/rate-limit')).body.data.keys).toEqual(['rest'])
})

/** A namespace `team` with a kv, and what its administrator does there. */
async function openTeam() {
  const opened = await open()
  const { node, settle } = opened
  await node.write('sys/namespaces/team')
  const ask = async (operation: 'read' | 'update' | 'list' | 'delete', path: string, body: Record<string, unknown> = {}) => {
    const answer = await node.ask({ operation, method: 'TEST', namespace: 'team', path, body })
    await settle()
    return answer
  }
  await ask('update', 'sys/mounts/kv', { type: 'kv' })
  await ask('update', 'sys/namespaces/app')
  await ask('update', 'kv/x', { a: 1 })
  const reads = (times: number, path = 'team/kv/x') => statuses(times, () => node.read(path))
  return {
    ...opened,
    ask,
    reads,
    own: (name: string, body: object, kind = 'rate-limit') => ask('update', `sys/quotas/${kind}/${name}`, { ...body }),
  }
}

test('a namespace has quotas of its own, by paths within it; others neither see nor name them', async () => {
  const { node, ask, own } = await openTeam()
  expect((await own('kv', { path: 'kv/x', rate: 5 })).status).toBe(204)
  expect((await own('all', { rate: 7 })).status).toBe(204)
  expect((await own('below', { rate: 7, path: 'app' })).status).toBe(204)
  expect((await own('few', { max_leases: 7 }, 'lease-count')).status).toBe(204)
  expect((await ask('list', 'sys/quotas/rate-limit/')).body.data.keys).toEqual(['all', 'below', 'kv'])
  expect((await ask('read', 'sys/quotas/rate-limit/kv')).body.data).toMatchObject({ name: 'kv', path: 'kv/x', rate: 5 })
  expect((await ask('read', 'sys/quotas/rate-limit/all')).body.data).toMatchObject({ path: '', inheritable: true })
  expect((await ask('read', 'sys/quotas/rate-limit/below')).body.data).toMatchObject({ path: 'app/', inheritable: false })
  expect((await node.list('sys/quotas/rate-limit')).status, 'the root has none').toBe(404)
  expect((await node.read('sys/quotas/rate-limit/kv')).status).toBe(404)
  await node.write('sys/mounts/outside', { type: 'kv' })
  expect((await own('x', { path: 'outside', rate: 1 })).body.errors[0]).toBe('invalid mount path "outside"')
  expect((await own('x', { path: '../outside', rate: 1 })).status).toBe(400)
  await node.write('sys/quotas/rate-limit/kv', { rate: 9, path: 'team' })
  expect((await ask('read', 'sys/quotas/rate-limit/kv')).body.data.rate, 'of the same name, and another').toBe(5)
  await ask('delete', 'sys/quotas/rate-limit/kv')
  expect((await node.read('sys/quotas/rate-limit/kv')).body.data.rate).toBe(9)
  expect((await ask('update', 'sys/quotas/config', { rate_limit_exempt_paths: ['*'] })).status, 'the cluster\u2019s').toBe(400)
})

test('quotas of a namespace hold besides those from above, and take none of them away', async () => {
  const { node, ask, own, reads, clock } = await openTeam()
  await node.write('sys/quotas/rate-limit/team', { path: 'team', rate: 3 })
  await own('mine', { path: 'kv', rate: 1_000 })
  await own('all', { rate: 1_000 })
  clock.advance(10_000)
  expect(await reads(5), 'more specific, and still not more').toEqual([200, 200, 200, 429, 429])
  clock.advance(10_000)
  await own('mine', { path: 'kv', rate: 1 })
  expect(await reads(3), 'narrower').toEqual([200, 429, 429])
  expect((await node.read('sys/health')).status, 'the others are not meant').toBe(200)
  clock.advance(10_000)
  await ask('delete', 'sys/quotas/rate-limit/mine')
  clock.advance(10_000)
  expect(await reads(4)).toEqual([200, 200, 200, 429])
})

test('the one that can only be judged later does not keep the others from being judged at once', async () => {
  const { node, own, reads } = await openTeam()
  await node.write('sys/quotas/rate-limit/team', { path: 'team', rate: 2 })
  await own('people', { rate: 1_000, group_by: 'entity_then_ip' })
  expect(await reads(4)).toEqual([200, 200, 429, 429])
  const bad = () => node.read('team/kv/x', 'no token at all')
  expect((await bad()).status, 'refused before its token is looked at').toBe(429)
  expect(node.core.inFlight()).toEqual([])
})

test('lease counts and bounds of a namespace narrow what holds from above', async () => {
  const { node, own, clock } = await openTeam()
  node.core.startJobs()
  for (let turn = 0; turn < 40 && node.leasing.leaseCount('root', null) === null; turn += 1) {
    clock.advance(1_000)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await node.core.stopJobs()
  const make = () => node.write('team/auth/token/create', { ttl: '1h' })
  await node.write('sys/quotas/lease-count/team', { path: 'team', max_leases: 2 })
  await own('many', { max_leases: 1_000 }, 'lease-count')
  expect(await statuses(3, make)).toEqual([200, 200, 429])
  await node.write('sys/quotas/lease-count/team', { path: 'team', max_leases: 1_000 })
  await own('many', { max_leases: 3 }, 'lease-count')
  expect(await statuses(2, make)).toEqual([200, 429])
  const bounds = () => node.core.quotas?.bounds({ namespace: '', path: 'team/kv/x', operation: 'read' } as never)
  await node.write('sys/quotas/request-limits/team', { path: 'team', max_request_bytes: 100, max_duration: 5 })
  await own('wide', { max_request_bytes: 1_000_000, max_json_depth: 7, max_duration: 2 }, 'request-limits')
  expect(bounds()).toEqual({ bodyBytesMax: 100, jsonDepthMax: 7, durationMsMax: 2_000 })
})

test('quotas that a namespace has written go with it', async () => {
  const { node, own, clock, quotas, settle } = await openTeam()
  await own('all', { rate: 7 })
  await own('below', { rate: 7, path: 'app' })
  await node.write('sys/quotas/rate-limit/rest', { rate: 100, path: 'sys' })
  await settle()
  expect(quotas[0]!.store.current.rateLimits.size).toBe(3)
  await node.remove('sys/namespaces/team/app')
  await node.remove('team/sys/namespaces/app')
  node.core.startJobs()
  for (let turn = 0; turn < 120 && quotas[0]!.store.current.rateLimits.size > 1; turn += 1) {
    clock.advance(1_000)
    for (let i = 0; i < 20; i += 1) await new Promise((resolve) => setImmediate(resolve))
    if (turn === 30) await node.remove('sys/namespaces/team')
    await settle()
  }
  await node.core.stopJobs()
  expect(quotas[0]!.store.current.rateLimits.size).toBe(1)
})

test('so many of its own, and no more', async () => {
  const { node, ask } = await openTeam()
  for (let at = 0; at < 256; at += 1)
    expect((await node.write(`team/sys/quotas/rate-limit/n${at}`, { path: `kv/${at}`, rate: 1 })).status).toBe(204)
  expect((await ask('update', 'sys/quotas/rate-limit/n256', { path: 'kv/256', rate: 1 })).body.errors).toEqual([
    'expected at most 256 quotas of a kind, got more',
  ])
  expect((await ask('update', 'sys/quotas/rate-limit/n255', { path: 'kv/255', rate: 2 })).status, 'it is there').toBe(204)
  expect((await node.write('sys/quotas/rate-limit/mine', { rate: 100 })).status, 'the root has its own').toBe(204)
})
