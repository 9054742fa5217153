import { beforeEach, describe, expect, test } from 'vitest'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
beforeEach(async () => {
  house = await openHouse()
  node = house.node
})

const makeToken = async (policies: string[]): Promise<string> =>
  (await node.write('auth/token/create', { policies })).body.auth.client_token

describe('a node tells', () => {
  test('its seal status, bare, to anyone, with both dates', async () => {
    const { status, body } = await node.read('sys/seal-status', null)
    expect(status).toBe(200)
    expect(body).toMatchObject({ type: 'shamir', initialized: true, sealed: false, t: 3, n: 5, storage_type: 'raft', cluster_name: 'test' })
    expect(body.version).toMatch(/^2\.6\.0\+holdfast\.\d+\.\d+\.\d+$/)
    expect(body.build_date).toBe(body.commit_date)
    expect(node.audit).toHaveLength(0)
  })

  test('its health by status, and a cause whatever the parameters', async () => {
    expect((await node.read('sys/health', null)).status).toBe(200)
    expect((await node.read('sys/health', null, { activecode: '299' })).status).toBe(299)
    node.unavailable = 'draining'
    expect(await node.read('sys/health', null, { activecode: '299', standbyok: '' })).toMatchObject({
      status: 503,
      body: { cause: 'draining' },
    })
    node.unavailable = null
    node.sealStatus.initialized = false
    expect((await node.read('sys/health', null)).status).toBe(501)
    expect((await node.read('sys/health', null, { uninitcode: '200' })).status).toBe(200)
  })

  test('who leads', async () => {
    expect((await node.read('sys/leader', null)).body).toMatchObject({ ha_enabled: true, is_self: true })
    const { body } = await node.read('sys/storage/raft/configuration')
    expect(body.data.config.servers).toHaveLength(1)
    expect(body.data.config.servers[0]).toMatchObject({ node_id: 'node-1', leader: true, voter: true, protocol_version: '3' })
  })

  test('the states of all members, compared: for those with sudo', async () => {
    const { body } = await node.read('sys/storage/raft/verify')
    expect(body.data).toMatchObject({ agree: true, nodes: [{ node_id: 'node-1', state: 'agrees', digest: 'd'.repeat(16), leader: true }] })
    house.cluster.nodes[0]!.repair = 'why'
    expect((await node.write('sys/storage/raft/verify')).body.data).toMatchObject({
      agree: false,
      nodes: [{ state: 'repairing', cause: 'why' }],
    })
    expect((await node.write('sys/storage/raft/scrub')).status).toBe(204)
    expect(node.calls).toEqual(['scrub'])
    const weak = await makeToken(['none'])
    expect((await node.read('sys/storage/raft/verify', weak)).status).toBe(403)
    expect((await node.write('sys/storage/raft/scrub', {}, weak)).status).toBe(403)
  })

  test('health says what is wrong with the disk, sealed or not', async () => {
    house.cluster.nodes[0]!.repair = 'a wrong digest'
    const cause = 'the state of this node is being fetched again: a wrong digest'
    expect(await node.read('sys/health', null, { standbyok: '' })).toMatchObject({ status: 503, body: { cause } })
    await node.write('sys/seal')
    expect(await node.read('sys/health', null)).toMatchObject({ status: 503, body: { sealed: true, cause } })
    house.cluster.nodes[0]!.failed = 'log: could not be written: EIO'
    expect((await node.read('sys/health', null)).body.cause).toContain('EIO')
  })

  test('health says, also to a load balancer without a token, how scheduled snapshots do and that the log has no vote', async () => {
    const schedule = { interval: '1h', path_prefix: 'nightly', storage_type: 'local' }
    expect((await node.write('sys/storage/raft/snapshot-auto/config/secret-name', schedule)).status).toBe(204)
    house.cluster.nodes[0]!.logRepair = 'entries 4 to 7 are missing'
    const { status, body } = await node.read('sys/health', null)
    expect([status, body.snapshots, body.log_repair]).toEqual([200, { last_success: null, failing: 0 }, 'entries 4 to 7 are missing'])
    expect(JSON.stringify(body)).not.toContain('secret-name')
    await node.write('sys/seal')
    const sealed = (await node.read('sys/health', null)).body
    expect([sealed.snapshots, sealed.log_repair]).toEqual([undefined, 'entries 4 to 7 are missing'])
  })

  test('health has no word of snapshots where none are scheduled', async () => {
    expect((await node.read('sys/health', null)).body).not.toHaveProperty('snapshots')
  })

  test('metrics as text, only to those with a right to them', async () => {
    expect((await node.read('sys/metrics')).text).toBe('holdfast_up 1\n')
    expect((await node.read('sys/metrics', await makeToken(['none']))).status).toBe(403)
  })
})

describe('a follower', () => {
  test('answers 429, or 200 with standbyok; reads itself; sends writes to the leader', async () => {
    const { house: nodes } = await openHouse(3)
    const follower = nodes[1]!
    expect((await follower.read('sys/health', null)).status).toBe(429)
    expect((await follower.read('sys/health', null, { standbyok: 'true' })).status).toBe(200)
    expect((await follower.write('sys/mounts/kv', { type: 'kv', options: { version: '2' } })).status).toBe(204)
    expect((await follower.write('kv/data/a', { data: { x: 1 } })).status).toBe(200)
    expect((await follower.read('kv/data/a')).body.data.data).toEqual({ x: 1 })
    expect(follower.audit.map(({ type }) => type)).toEqual(['forward', 'forward', 'request', 'response'])
    expect((await follower.read('sys/leader', null)).body.is_self).toBe(false)
  })
})

describe('sealing', () => {
  test('needs sudo, then every secret route answers 503 and the status goes on', async () => {
    const weak = await makeToken(['default'])
    expect((await node.write('sys/seal', {}, weak)).status).toBe(403)
    expect((await node.write('sys/seal')).status).toBe(204)
    expect((await node.read('sys/mounts')).body.errors).toEqual(['Vault is sealed'])
    expect((await node.read('sys/health', null)).status).toBe(503)
    expect((await node.read('sys/seal-status', null)).body.sealed).toBe(true)
    expect((await node.write('sys/unseal', { key: 'abc' }, null)).status).toBe(200)
    expect(node.calls).toEqual(['seal', 'unseal share'])
    const recorded = node.audit.filter(({ request }) => request.path === 'sys/unseal')
    expect(recorded.map(({ type, response }) => [type, response?.data])).toEqual([
      ['request', undefined],
      ['response', undefined],
    ])
  })

  test('is possible on a node that is cut off from its cluster', async () => {
    house.cluster.leader = null
    expect((await node.write('sys/seal')).status).toBe(204)
  })

  test('step-down runs once', async () => {
    expect((await node.write('sys/step-down')).status).toBe(204)
    expect(node.calls).toEqual(['step-down'])
  })
})

describe('mounts', () => {
  test('those of a new cluster are listed, their keys at the top level too', async () => {
    const { body } = await node.read('sys/mounts')
    expect(Object.keys(body.data)).toEqual(['cubbyhole/', 'identity/', 'sys/'])
    expect(body['sys/']).toEqual(body.data['sys/'])
    expect(body.data['sys/']).toMatchObject({ type: 'system', options: null, local: false, seal_wrap: false })
    expect(Object.keys((await node.read('sys/auth')).body.data)).toEqual(['token/'])
  })

  test('a new one works at once, is described, and takes a kv version by either spelling', async () => {
    expect((await node.write('sys/mounts/one', { type: 'kv-v2', description: 'd', config: { max_lease_ttl: '1h' } })).status).toBe(204)
    expect((await node.write('sys/mounts/two/deep', { type: 'kv', options: { version: '1' } })).status).toBe(204)
    expect((await node.read('sys/mounts/one')).body.data).toMatchObject({
      type: 'kv',
      options: { version: '2' },
      config: { max_lease_ttl: 3600 },
    })
    expect((await node.read('sys/mounts/one/tune')).body).toMatchObject({
      max_lease_ttl: 3600,
      default_lease_ttl: 2764800,
      options: { version: '2' },
    })
    expect((await node.write('two/deep/a', { x: 'y' })).status).toBe(204)
    expect((await node.read('two/deep/a')).body.data).toEqual({ x: 'y' })
  })

  test.each([
    ['one', { type: 'nope' }, 'plugin not found in the catalog: "nope"'],
    ['one', {}, 'backend type must be specified as a string'],
    ['sys/x', { type: 'kv' }, 'cannot mount under reserved path "sys/x/"'],
    ['kv/below', { type: 'kv' }, 'existing mount at kv/'],
    ['kv', { type: 'kv' }, 'path is already in use at kv/'],
    ['one', { type: 'kv', config: { default_lease_ttl: 'soon' } }, 'default_lease_ttl expected a duration, got "soon"'],
    [
      'one',
      { type: 'kv', config: { listing_visibility: 'all' } },
      'error converting input for field "listing_visibility": expected one of , hidden, unauth',
    ],
  ])('a wrong one is refused: %s %j', async (path, body, message) => {
    await node.write('sys/mounts/kv', { type: 'kv' })
    expect(await node.write(`sys/mounts/${path}`, body)).toMatchObject({ status: 400, body: { errors: [message] } })
  })

  test('tuning changes what is given and nothing else', async () => {
    await node.write('sys/mounts/kv', { type: 'kv', description: 'old', options: { version: '1' } })
    expect((await node.write('sys/mounts/kv/tune', { default_lease_ttl: '2h', options: { version: '2' } })).status).toBe(204)
    expect((await node.read('sys/mounts/kv')).body.data).toMatchObject({
      description: 'old',
      options: { version: '2' },
      config: { default_lease_ttl: 7200, max_lease_ttl: 0 },
    })
    expect((await node.write('sys/mounts/kv/tune', { options: { version: '1' } })).body.errors).toEqual([
      'cannot downgrade mount from version 2',
    ])
    expect((await node.write('sys/mounts/kv/tune', { default_lease_ttl: '9000h' })).status).toBe(400)
  })

  test('unmounting takes the routes away at once and deletes the data in time', async () => {
    await node.write('sys/mounts/kv', { type: 'kv' })
    for (let i = 0; i < 5; i += 1) await node.write(`kv/folder/${i}`, { x: i })
    const uuid = (await node.read('sys/mounts/kv')).body.data.uuid as string
    expect((await node.remove('sys/mounts/kv')).status).toBe(204)
    expect((await node.read('kv/folder/1')).status).toBe(404)
    const left = () => house.at(0).read({ kind: 'linearizable' }, (view) => view.list({ namespace: 'root', mount: uuid }, ''))
    expect(await left()).not.toHaveLength(0)
    node.core.startJobs()
    for (let second = 0; second < 12; second += 1) {
      house.clock.advance(1_000)
      await new Promise((resolve) => setImmediate(resolve))
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    await node.core.stopJobs()
    expect(await left()).toHaveLength(0)
    expect((await node.remove('sys/mounts/kv')).status).toBe(204)
    expect((await node.remove('sys/mounts/sys')).body.errors).toEqual(['cannot unmount "sys/"'])
  })

  test('moving keeps the data', async () => {
    await node.write('sys/mounts/kv', { type: 'kv' })
    await node.write('kv/a', { x: 1 })
    const { body } = await node.write('sys/remount', { from: 'kv', to: 'moved/here' })
    expect((await node.read(`sys/remount/status/${body.migration_id}`)).body.data.migration_info).toMatchObject({ status: 'success' })
    expect((await node.read('moved/here/a')).body.data).toEqual({ x: 1 })
    expect((await node.read('kv/a')).status).toBe(404)
  })

  test('an interface finds the mount of a path if the token reaches it, and nothing else', async () => {
    await node.write('sys/mounts/kv', { type: 'kv-v2' })
    await node.write('sys/policies/acl/reader', { policy: 'path "kv/data/team/*" { capabilities = ["read"] }' })
    const reader = await makeToken(['reader'])
    const found = await node.read('sys/internal/ui/mounts/kv/team/x', reader)
    expect(found.body.data).toMatchObject({ path: 'kv/', type: 'kv', options: { version: '2' } })
    expect((await node.read('sys/internal/ui/mounts/identity/x', reader)).status).toBe(200)
    expect((await node.read('sys/internal/ui/mounts/kv/x', await makeToken(['none']))).status).toBe(403)
    expect((await node.read('sys/internal/ui/mounts/none/x', reader)).status).toBe(403)
    expect((await node.read('sys/internal/ui/mounts/kv/x', null)).status).toBe(403)
    expect((await node.read('sys/internal/ui/mounts', null)).body.data).toEqual({ auth: {}, secret: {} })
    expect(Object.keys((await node.read('sys/internal/ui/mounts', reader)).body.data.secret)).toContain('kv/')
  })
})

describe('policies', () => {
  const text = 'path "kv/*" { capabilities = ["read", "list"] }'

  test('are written by either path, as text or base64, and read back', async () => {
    expect((await node.write('sys/policies/acl/Reader', { policy: text })).status).toBe(204)
    expect((await node.write('sys/policy/old', { rules: Buffer.from(text).toString('base64') })).status).toBe(204)
    expect((await node.read('sys/policies/acl/reader')).body.data).toMatchObject({ name: 'reader', policy: text })
    expect((await node.read('sys/policy/old')).body).toMatchObject({ rules: text, data: { name: 'old', rules: text } })
    expect((await node.list('sys/policies/acl')).body.data.keys).toEqual(['default', 'old', 'reader', 'root'])
    expect((await node.read('sys/policy')).body.policies).toEqual(['default', 'old', 'reader', 'root'])
    expect((await node.remove('sys/policies/acl/old')).status).toBe(204)
    expect((await node.read('sys/policies/acl/old')).status).toBe(404)
  })

  test('wrong ones are refused', async () => {
    expect((await node.write('sys/policies/acl/bad', { policy: 'path "x" { capabilities = ["fly"] }' })).status).toBe(400)
    expect((await node.write('sys/policies/acl/bad', {})).status).toBe(400)
    expect((await node.write('sys/policies/acl/root', { policy: text })).body.errors).toEqual(['cannot update "root" policy'])
    expect((await node.remove('sys/policies/acl/default')).body.errors).toEqual(['cannot delete default policy'])
  })

  test('decide at once, and capabilities tell what they say', async () => {
    await node.write('sys/mounts/kv', { type: 'kv' })
    await node.write('kv/a', { x: 1 })
    await node.write('sys/policies/acl/reader', { policy: text })
    const reader = await makeToken(['reader'])
    expect((await node.read('kv/a', reader)).status).toBe(200)
    expect((await node.write('kv/a', { x: 2 }, reader)).status).toBe(403)
    const one = await node.write('sys/capabilities-self', { path: 'kv/a' }, reader)
    expect(one.body).toMatchObject({ 'kv/a': ['list', 'read'], capabilities: ['list', 'read'], data: { 'kv/a': ['list', 'read'] } })
    const two = await node.write('sys/capabilities', { token: reader, paths: ['kv/a', 'sys/seal'] })
    expect(two.body.data).toEqual({ 'kv/a': ['list', 'read'], 'sys/seal': ['deny'] })
    expect((await node.write('sys/capabilities-self', { paths: ['x'] })).body.data.capabilities).toEqual(['root'])
    expect((await node.write('sys/capabilities-self', { paths: 'x,'.repeat(1_001) })).status).toBe(400)
    await node.write('sys/policies/acl/reader', { policy: 'path "other" { capabilities = ["read"] }' })
    expect((await node.read('kv/a', reader)).status).toBe(403)
  })
})

describe('the rest of sys', () => {
  test('audit devices are listed, enabled and disabled by the service; headers to record are kept', async () => {
    expect((await node.read('sys/audit')).body['file/']).toMatchObject({ type: 'file', path: 'file/' })
    expect((await node.write('sys/audit/x/', { type: 'file', options: { file_path: 'a', fsync: true } })).status).toBe(204)
    expect((await node.write('sys/audit/x', { type: 'file', options: { file_path: [1] } })).status).toBe(400)
    expect((await node.remove('sys/audit/x')).status).toBe(204)
    expect(node.calls.filter((call) => call.includes('audit'))).toEqual(['enable audit x file', 'disable audit x'])
    expect((await node.read('sys/audit-proof')).status).toBe(404)
    const headers = 'sys/config/auditing/request-headers'
    expect((await node.write(`${headers}/X-Forwarded-For`, { hmac: true })).status).toBe(204)
    expect((await node.write(`${headers}/x-plain`)).status).toBe(204)
    expect((await node.write(`${headers}/authorization`, { hmac: false })).status).toBe(400)
    expect((await node.write(`${headers}/no name`, { hmac: true })).status).toBe(400)
    expect((await node.read(headers)).body.data).toEqual({ headers: { 'x-forwarded-for': { hmac: true }, 'x-plain': { hmac: false } } })
    expect((await node.read(`${headers}/x-plain`)).body.data).toEqual({ 'x-plain': { hmac: false } })
    expect((await node.remove(`${headers}/x-plain`)).status).toBe(204)
    expect((await node.read(`${headers}/x-plain`)).status).toBe(400)
    expect((await node.write('sys/audit-hash/file', { input: 'abc' })).body.data).toEqual({ hash: 'hmac-sha256:3' })
    expect((await node.write('sys/audit-hash/none', { input: 'abc' })).status).toBe(400)
  })

  test('keys rotate', async () => {
    expect((await node.read('sys/key-status')).body).toMatchObject({ term: 1, install_time: '2023-11-14T22:13:20Z' })
    house.clock.advance(1_000)
    expect((await node.write('sys/rotate')).status).toBe(204)
    expect((await node.read('sys/key-status')).body.data).toMatchObject({ term: 2, install_time: '2023-11-14T22:13:21Z' })
  })

  test('random bytes and hashes', async () => {
    expect(Buffer.from((await node.write('sys/tools/random/16')).body.data.random_bytes, 'base64')).toHaveLength(16)
    expect((await node.write('sys/tools/random', { bytes: 4, format: 'hex' })).body.data.random_bytes).toHaveLength(8)
    expect((await node.write('sys/tools/random/9999999')).status).toBe(400)
    const sum = await node.write('sys/tools/hash/sha2-256', { input: Buffer.from('abc').toString('base64') })
    expect(sum.body.data.sum).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  })

  test('members: only members can be removed', async () => {
    expect((await node.write('sys/storage/raft/remove-peer', { server_id: 'ghost' })).status).toBe(400)
    expect((await node.write('sys/storage/raft/remove-peer', { server_id: 'node-1' })).status).toBe(204)
    expect((await node.write('sys/storage/raft/join-token', { ttl: '1h' })).body.data).toMatchObject({ token: 'hfj.test', ttl: 3600 })
    expect(node.calls).toEqual(['remove node-1'])
    expect((await node.write('sys/storage/raft/join-token', {}, await makeToken(['none']))).status).toBe(403)
    expect((await node.write('sys/storage/raft/bootstrap/challenge', { server_id: 'x' }, null)).body).toEqual({ echo: { server_id: 'x' } })
  })

  test('the OpenAPI document describes every mount', async () => {
    const { body } = await node.read('sys/internal/specs/openapi')
    expect(body.paths['/sys/seal-status'].get).toBeDefined()
    expect(body.paths['/auth/token/create'].post.requestBody).toBeDefined()
    expect(body.paths['/sys/mounts/{path}/tune'].get).toBeDefined()
  })
})
