/** Namespaces through a whole core: finding them, what is of each, deleting, locking. */
import { beforeEach, describe, expect, test } from 'vitest'
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
    for (const path of ['sys/audit', 'sys/storage/raft/configuration', 'sys/key-status', 'sys/rotate/config']) {
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
})
