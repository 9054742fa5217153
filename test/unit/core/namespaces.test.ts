/** Namespaces through a whole core: finding them, what is of each, deleting, locking. */
import { beforeEach, describe, expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import { removalStep } from '#core/namespace-removal.ts'
import { createNamespaceStore } from '#namespaces/store.ts'
import { createTokenStore } from '#tokens/store.ts'
import { lendingEngine } from '#test/support/lending-engine.ts'
import { openHouse, type Answer } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>

beforeEach(async () => {
  house = await openHouse()
})

type Ask = Parameters<(typeof house)['node']['ask']>[0]

const ask = (over: Ask): Promise<Answer> => house.node.ask(over)
const write = (namespace: string, path: string, body: Record<string, unknown> = {}, token?: string | null): Promise<Answer> =>
  ask({ operation: 'update', method: 'POST', namespace, path, body, ...(token === undefined ? {} : { token }) })
const read = (namespace: string, path: string, token?: string | null): Promise<Answer> =>
  ask({ namespace, path, ...(token === undefined ? {} : { token }) })
const make = async (path: string, body: Record<string, unknown> = {}): Promise<Answer> => {
  const answer = await write('', `sys/namespaces/${path}`, body)
  expect(answer.status, answer.text).toBe(200)
  return answer
}

describe('a namespace', () => {
  test('is made, read, listed, changed', async () => {
    const made = await make('team', { custom_metadata: { owner: 'a', room: 'b' } })
    expect(made.body.data).toMatchObject({ path: 'team/', tainted: false, locked: false, custom_metadata: { owner: 'a', room: 'b' } })
    expect(made.body.data.id).toMatch(/^[0-9A-Za-z]{6}$/)
    await make('team/app')
    expect((await read('', 'sys/namespaces/team')).body.data).toEqual(made.body.data)
    expect((await read('team', 'sys/namespaces/app')).body.data.path).toBe('team/app/')
    const listed = await ask({ operation: 'list', path: 'sys/namespaces/' })
    expect(listed.body.data.keys).toEqual(['team/'])
    expect(listed.body.data.key_info['team/'].id).toBe(made.body.data.id)
    expect((await ask({ operation: 'scan', path: 'sys/namespaces/' })).body.data.keys).toEqual(['team/', 'team/app/'])
    expect((await ask({ operation: 'scan', path: 'sys/namespaces/', namespace: 'team' })).body.data.keys).toEqual(['app/'])
    const patched = await ask({
      operation: 'patch',
      method: 'PATCH',
      path: 'sys/namespaces/team',
      body: { custom_metadata: { owner: null, floor: '3' } },
    })
    expect(patched.body.data.custom_metadata).toEqual({ room: 'b', floor: '3' })
    expect((await read('', 'sys/namespaces/nobody')).status).toBe(404)
  })

  test.each(['root', 'Root', 'sys', 'auth', 'audit', 'cubbyhole', 'identity', 'api-lock', '+', 'a*', 'a b', '{{x}}'])(
    'is not called %s',
    async (name) => {
      expect((await write('', `sys/namespaces/${name}`)).status).toBe(400)
    },
  )

  test('GHSA-mwr2-wmgp-crj6: none inside another is called root either, and the header root/... names nothing', async () => {
    await make('team')
    expect((await write('team', 'sys/namespaces/root')).status).toBe(400)
    expect((await read('root/team', 'sys/mounts')).status).toBe(404)
    expect((await read('team/root', 'sys/mounts')).status).toBe(404)
    expect((await read('root', 'sys/mounts')).status).toBe(200)
  })

  test('is found by header, by path, by both', async () => {
    await make('team')
    await make('team/app')
    await write('team/app', 'sys/mounts/kv', { type: 'kv' })
    expect((await write('team/app', 'kv/x', { value: 1 })).status).toBe(204)
    for (const [namespace, path] of [
      ['team/app', 'kv/x'],
      ['team', 'app/kv/x'],
      ['', 'team/app/kv/x'],
    ] as const) {
      expect((await read(namespace, path)).body.data).toEqual({ value: 1 })
    }
    expect((await read('', 'kv/x')).status).toBe(404)
    expect((await read('team', 'kv/x')).status).toBe(404)
  })

  test('does not share a path with a mount', async () => {
    await write('', 'sys/mounts/kv/deep', { type: 'kv' })
    expect((await write('', 'sys/namespaces/kv')).status).toBe(400)
    await make('team')
    expect((await write('', 'sys/mounts/team', { type: 'kv' })).status).toBe(400)
    expect((await write('', 'sys/mounts/team/kv', { type: 'kv' })).status).toBe(400)
    expect((await write('', 'sys/remount', { from: 'kv/deep', to: 'team/kv' })).status).toBe(400)
  })

  test('has no routes of the cluster', async () => {
    await make('team')
    for (const path of ['sys/audit', 'sys/storage/raft/configuration', 'sys/metrics', 'sys/rotate/config']) {
      const answer = await read('team', path)
      expect([path, answer.status, answer.body.errors]).toEqual([path, 400, ['operation unavailable in namespaces']])
    }
  })
})

describe('tokens', () => {
  const tokenIn = async (namespace: string, policies: string[], more: Record<string, unknown> = {}): Promise<string> =>
    (await write(namespace, 'auth/token/create', { policies, ...more })).body.auth.client_token

  beforeEach(async () => {
    await make('team')
    await make('team/app')
    await make('other')
    for (const namespace of ['team', 'team/app', 'other']) {
      await write(namespace, 'sys/mounts/kv', { type: 'kv' })
      await write(namespace, 'kv/x', { of: namespace })
      await write(namespace, 'sys/policies/acl/all', {
        policy: 'path "*" { capabilities = ["create","read","update","delete","list","sudo"] }',
      })
    }
  })

  test('end in the id of their namespace, and say where they are of', async () => {
    const id = (await read('', 'sys/namespaces/team')).body.data.id as string
    const token = await tokenIn('team', ['all'])
    expect(token).toMatch(new RegExp(`^s\\.[0-9A-Za-z]{24}\\.${id}$`))
    const own = await read('team', 'auth/token/lookup-self', token)
    expect(own.body.data).toMatchObject({ policies: ['all', 'default'], namespace_path: 'team/' })
  })

  test('are good in it and below as far as its policies say, and nowhere else', async () => {
    const token = await tokenIn('team', ['all'])
    expect((await read('team', 'kv/x', token)).body.data).toEqual({ of: 'team' })
    expect((await read('team/app', 'kv/x', token)).body.data).toEqual({ of: 'team/app' })
    expect((await read('', 'team/app/kv/x', token)).body.data).toEqual({ of: 'team/app' })
    for (const namespace of ['other', 'nobody', '', 'team/nobody/x']) {
      const answer = await read(namespace, namespace.startsWith('team') ? 'auth/token/lookup-self/x' : 'auth/token/lookup-self', token)
      expect([namespace, answer.status]).toEqual([namespace, namespace.startsWith('team') ? 404 : 403])
    }
    const narrow = await tokenIn('team', ['default'])
    expect((await read('team/app', 'kv/x', narrow)).status).toBe(403)
  })

  test('a policy of the parent reaches a child by the prefixed path', async () => {
    await write('', 'sys/policies/acl/reader', { policy: 'path "team/kv/*" { capabilities = ["read"] }' })
    const token = await tokenIn('', ['reader'])
    expect((await read('team', 'kv/x', token)).status).toBe(200)
    expect((await read('', 'team/kv/x', token)).status).toBe(200)
    expect((await read('team/app', 'kv/x', token)).status).toBe(403)
    expect((await read('other', 'kv/x', token)).status).toBe(403)
  })

  test('whether a namespace exists is not to be told from a refusal', async () => {
    const token = await tokenIn('team', ['all'])
    const [there, gone] = [await read('other', 'kv/x', token), await read('nobody', 'kv/x', token)]
    expect(there.status).toBe(403)
    expect(there.text).toBe(gone.text)
    expect(await read('other', 'kv/x', 's.unknown')).toMatchObject({ status: 403, text: there.text })
    expect(await read('nobody', 'kv/x', null)).toMatchObject({ status: 403, text: there.text })
  })

  test('CVE-2026-40264: no accessor of another namespace is looked up, renewed or revoked', async () => {
    const victim = (await write('other', 'auth/token/create', { policies: ['all'], ttl: '1h' })).body.auth
    const token = await tokenIn('team', ['all'])
    for (const verb of ['lookup', 'renew', 'revoke']) {
      expect((await write('team', `auth/token/${verb}-accessor`, { accessor: victim.accessor }, token)).status).toBe(403)
      expect((await write('', `auth/token/${verb}-accessor`, { accessor: victim.accessor })).status).toBe(403)
    }
    expect((await write('team', 'auth/token/lookup', { token: victim.client_token }, token)).status).toBe(403)
    expect((await write('team', 'auth/token/revoke', { token: victim.client_token }, token)).status).toBe(204)
    expect((await read('other', 'auth/token/lookup-self', victim.client_token as string)).status).toBe(200)
  })

  test('no root token is made in a namespace, and a token from above hands nothing on by name', async () => {
    expect((await write('team', 'auth/token/create', { policies: ['root'] })).status).toBe(400)
    expect((await write('team', 'sys/policies/acl/root', { policy: 'path "*" { capabilities = ["read"] }' })).status).toBe(400)
    expect((await ask({ operation: 'list', namespace: 'team', path: 'sys/policies/acl/' })).body.data.keys).toEqual(['all', 'default'])
    await write('', 'sys/policies/acl/all', { policy: 'path "team/auth/token/create" { capabilities = ["update"] }' })
    const above = await tokenIn('', ['all'])
    expect((await write('team', 'auth/token/create', { policies: ['all'] }, above)).status).toBe(400)
    const child = await write('team', 'auth/token/create', {}, above)
    expect(child.body.auth.policies).toEqual(['default'])
    await write('', 'auth/token/revoke', { token: above })
    expect((await read('team', 'auth/token/lookup-self', child.body.auth.client_token as string)).status).toBe(403)
  })

  test('a token from above without the default policy gives none inside, unless it has sudo there', async () => {
    const grant = (more: string) =>
      write('', 'sys/policies/acl/all', { policy: `path "team/auth/token/create" { capabilities = ["update"${more}] }` })
    await grant('')
    const bare = (await write('', 'auth/token/create', { policies: ['all'], no_default_policy: true })).body.auth.client_token as string
    const made = async (body: Record<string, unknown> = {}) => (await write('team', 'auth/token/create', body, bare)).body
    expect((await made()).auth.policies).toEqual([])
    for (const policies of [['default'], [' Default']])
      expect((await made({ policies })).errors).toEqual(['child policies must be subset of parent'])
    await grant(', "sudo"')
    expect((await made()).auth.policies).toEqual(['default'])
    expect((await made({ policies: ['default', 'all'], no_default_policy: true })).auth.policies).toEqual(['all'])
  })
})

describe('leases', () => {
  test('GHSA-c36x-h252-g9x2, CVE-2026-45808: none of another namespace is looked up, renewed or revoked, by old routes or new', async () => {
    const lending = lendingEngine()
    house = await openHouse(1, [lending.engine])
    const policy = 'path "*" { capabilities = ["create", "read", "update", "list", "sudo"] }'
    const tokens: Record<string, string> = {}
    for (const namespace of ['team', 'other']) {
      await make(namespace)
      await write(namespace, 'sys/mounts/lend', { type: 'lending' })
      await write(namespace, 'sys/policies/acl/all', { policy })
      tokens[namespace] = (await write(namespace, 'auth/token/create', { policies: ['all'] })).body.auth.client_token
    }
    const lease = (await read('other', 'lend/creds/x', tokens['other'])).body.lease_id as string
    const asks: [string, Record<string, unknown>][] = [
      ['sys/leases/lookup', { lease_id: lease }],
      ['sys/leases/renew', { lease_id: lease }],
      [`sys/renew/${lease}`, {}],
      ['sys/leases/revoke', { lease_id: lease }],
      [`sys/revoke/${lease}`, {}],
      ['sys/leases/revoke-prefix/lend', {}],
      ['sys/revoke-force/lend', {}],
    ]
    for (const [path, body] of asks) {
      await write('team', path, body, tokens['team'])
      expect((await write('other', path, body, tokens['team'])).status).toBe(403)
      await write('', path, body)
    }
    expect([...lending.drops]).toEqual([])
    expect((await write('other', 'sys/leases/lookup', { lease_id: lease }, tokens['other'])).body.data.id).toBe(lease)
    expect((await write('other', 'sys/leases/revoke', { lease_id: lease }, tokens['other'])).status).toBe(204)
    expect(lending.drops.size).toBe(1)
  })

  test('a namespace that is deleted gives back what it has lent', async () => {
    const lending = lendingEngine()
    house = await openHouse(1, [lending.engine])
    await make('team')
    await write('team', 'sys/mounts/lend', { type: 'lending' })
    await read('team', 'lend/creds/x')
    expect(lending.users.size).toBe(1)
    await ask({ operation: 'delete', method: 'DELETE', path: 'sys/namespaces/team' })
    house.node.core.startJobs()
    for (let second = 0; second < 60 && (await read('', 'sys/namespaces/team')).status === 200; second += 1) {
      house.clock.advance(1_000)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await house.node.core.stopJobs()
    expect(lending.users.size).toBe(0)
    expect((await read('', 'sys/namespaces/team')).status).toBe(404)
  })
})

describe('deleting', () => {
  const sections = (position = 0): Set<string> =>
    new Set(
      house.cluster
        .node(position)
        .dump()
        .map(([key]) => Buffer.from(key.subarray(0, 17)).toString('hex')),
    )

  /** As many kinds of things as there are, in namespace `path`. */
  async function fill(path: string): Promise<string> {
    await write(path, 'sys/mounts/kv', { type: 'kv' })
    await write(path, 'sys/auth/userpass', { type: 'userpass' })
    for (let at = 0; at < 40; at += 1) await write(path, `kv/deep/${at % 4}/${at}`, { at })
    await write(path, 'sys/policies/acl/all', { policy: 'path "*" { capabilities = ["create","read","update","delete","list"] }' })
    await write(path, 'sys/roles/r', { policies: ['all'] })
    await write(path, 'auth/userpass/users/alice', { password: 'a long one', token_policies: ['all'] })
    const login = await write(path, 'auth/userpass/login/alice', { password: 'a long one' }, null)
    const token = login.body.auth.client_token as string
    await write(path, 'identity/group', { name: 'g', member_entity_ids: [login.body.auth.entity_id] })
    await write(path, 'cubbyhole/mine', { value: 'x' }, token)
    await write(path, 'auth/token/create', { policies: ['all'] })
    for (let at = 0; at < 6; at += 1) await write(path, 'auth/userpass/login/mallory', { password: 'wrong' }, null)
    await ask({ operation: 'update', namespace: path, path: 'sys/wrapping/wrap', body: { a: 1 }, wrapTtlSeconds: 60 })
    return token
  }

  const services = (position: number) => {
    const tokens = createTokenStore({ random: systemRandom })
    tokens.setKey(new Uint8Array(32).fill(9))
    return { barrier: house.at(position), namespaces: createNamespaceStore({ random: systemRandom }), tokens }
  }

  test('refuses while others lie in it; then nothing reaches it, and nothing of it stays', async () => {
    const before = sections()
    await make('team')
    await make('team/app')
    const token = await fill('team')
    const refused = await ask({ operation: 'delete', method: 'DELETE', path: 'sys/namespaces/team' })
    expect([refused.status, refused.body.errors]).toEqual([409, ['unable to delete namespace containing child namespaces']])
    const remover = services(0)
    await ask({ operation: 'delete', method: 'DELETE', path: 'sys/namespaces/team/app' })
    while (await removalStep(remover));
    const begun = await ask({ operation: 'delete', method: 'DELETE', path: 'sys/namespaces/team' })
    expect(begun.body.data).toEqual({ status: 'in-progress' })
    expect((await read('', 'sys/namespaces/team')).body.data.tainted).toBe(true)
    expect((await read('team', 'kv/deep/0/0', token)).status).toBe(403)
    expect((await read('team', 'kv/deep/0/0')).status).toBe(404)
    expect((await write('', 'sys/namespaces/team')).status).toBe(409)
    expect((await write('', 'sys/namespaces/api-lock/lock/team')).status).toBe(409)
    while (await removalStep(remover));
    expect((await read('', 'sys/namespaces/team')).status).toBe(404)
    const left = [...sections()].filter((section) => !before.has(section))
    // The namespaces' own section, with the count of none; what lies in the clear has no section.
    expect(left.filter((section) => section.startsWith('01')).length).toBeLessThanOrEqual(1)
    const absent = await ask({ operation: 'delete', method: 'DELETE', path: 'sys/namespaces/team' })
    expect([absent.status, absent.body.warnings]).toEqual([200, ['requested namespace does not exist']])
  })

  test('goes on where it was when another node leads; the path begins anew', async () => {
    house = await openHouse(3)
    await make('team')
    const token = await fill('team')
    const old = (await read('', 'sys/namespaces/team')).body.data
    await ask({ operation: 'delete', method: 'DELETE', path: 'sys/namespaces/team' })
    const first = services(0)
    expect(await removalStep(first)).toBe(true)
    house.cluster.elect('node-2')
    await expect(removalStep(first)).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
    await house.cluster.node(1).appliedUpTo(house.cluster.log.length)
    const second = services(1)
    while (await removalStep(second));
    expect((await read('', 'sys/namespaces/team')).status).toBe(404)
    await make('team')
    const fresh = (await read('', 'sys/namespaces/team')).body.data
    expect(fresh.id).not.toBe(old.id)
    expect((await read('team', 'auth/token/lookup-self', token)).status).toBe(403)
    await write('team', 'sys/mounts/kv', { type: 'kv' })
    expect((await ask({ operation: 'list', namespace: 'team', path: 'kv/' })).status).toBe(404)
    expect((await ask({ operation: 'list', namespace: 'team', path: 'sys/policies/acl/' })).body.data.keys).toEqual(['default'])
    expect((await ask({ operation: 'list', namespace: 'team', path: 'identity/entity/id/' })).status).toBe(404)
    expect((await read('team', 'sys/locked-users')).body.data.total).toBe(0)
  })
})

describe('a locked API', () => {
  test('answers 503 in the namespace and below, to those who may be there, until it is unlocked', async () => {
    await make('team')
    await make('team/app')
    await make('other')
    const key = (await write('', 'sys/namespaces/api-lock/lock/team')).body.data.unlock_key as string
    expect((await write('', 'sys/namespaces/api-lock/lock/team')).status).toBe(400)
    for (const namespace of ['team', 'team/app']) {
      const answer = await read(namespace, 'sys/mounts')
      expect([answer.status, answer.body.errors]).toEqual([
        503,
        ['API access to this namespace has been locked by an administrator - "team/" must be unlocked to gain access.'],
      ])
    }
    expect((await read('', 'team/app/sys/mounts')).status).toBe(503)
    expect((await read('team', 'sys/mounts', 's.stranger')).status).toBe(403)
    expect((await read('other', 'sys/mounts')).status).toBe(200)
    expect((await read('', 'sys/namespaces/team')).body.data.locked).toBe(true)
    expect((await write('team', 'sys/namespaces/api-lock/unlock', { unlock_key: 'wrong' })).status).toBe(400)
    expect((await write('team', 'sys/namespaces/api-lock/unlock', { unlock_key: key })).status).toBe(204)
    expect((await read('team', 'sys/mounts')).status).toBe(200)
  })

  test('is unlocked without its key with sudo alone', async () => {
    await make('team')
    await write('', 'sys/namespaces/api-lock/lock/team')
    await write('', 'sys/policies/acl/weak', { policy: 'path "sys/namespaces/api-lock/*" { capabilities = ["update"] }' })
    const weak = (await write('', 'auth/token/create', { policies: ['weak'] })).body.auth.client_token as string
    expect((await write('', 'sys/namespaces/api-lock/unlock/team', {}, weak)).status).toBe(400)
    const done = await write('', 'sys/namespaces/api-lock/unlock/team')
    expect([done.status, done.body.warnings]).toEqual([200, ['Namespace unlocked using sudo capabilities']])
    expect((await write('', 'sys/namespaces/api-lock/lock')).status).toBe(400)
  })
})
