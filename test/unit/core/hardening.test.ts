/** Doors that an attacker tried, over the real services: each test is one that was found open. */
import { beforeEach, describe, expect, test } from 'vitest'
import { nonHmacKeys } from '#core/audit-records.ts'
import { mountTable, newMount } from '#core/mounts.ts'
import type { PathDef } from '#core/types.ts'
import { systemRandom } from '#base/random.ts'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
beforeEach(async () => {
  house = await openHouse()
  node = house.node
})

const tokenOf = async (path: string, body: Record<string, unknown>): Promise<string> =>
  (await node.write(path, body)).body.auth.client_token as string

describe('a token bound to an address', () => {
  test('is no token from another one, also where none is needed', async () => {
    await node.write('sys/policies/acl/reader', { policy: 'path "cubbyhole/*" { capabilities = ["read"] }' })
    await node.write('auth/token/roles/net', { allowed_policies: 'reader', token_bound_cidrs: '10.0.0.0/8' })
    const token = await tokenOf('auth/token/create/net', {})
    const mounts = async (clientAddress: string) =>
      (await node.ask({ path: 'sys/internal/ui/mounts', token, clientAddress })).body.data.secret
    expect(Object.keys(await mounts('10.1.1.1'))).toContain('cubbyhole/')
    expect(await mounts('192.168.1.1')).toEqual({})
    const one = await node.ask({ path: 'sys/internal/ui/mounts/cubbyhole/x', token, clientAddress: '192.168.1.1' })
    expect(one.status).toBe(403)
  })
})

describe('what would break or fool who comes later', () => {
  test('a time that no text can show is refused: the policy could never be read again', async () => {
    const policy = 'path "x" { capabilities = ["read"] }'
    for (const expiration of [1e15, 253_402_300_800, '999999999999', -1, 1e308])
      expect((await node.write('sys/policies/acl/late', { policy, expiration })).status, String(expiration)).toBe(400)
    expect((await node.write('sys/policies/acl/late', { policy, expiration: 253_402_300_799 })).status).toBe(204)
    expect((await node.read('sys/policies/acl/late')).body.data.expiration).toBe('9999-12-31T23:59:59Z')
    expect((await node.list('sys/policies/detailed/acl')).status).toBe(200)
  })

  test('a negative ttl is no policy for ever', async () => {
    expect((await node.write('sys/policies/acl/x', { policy: 'path "x" { capabilities = ["read"] }', ttl: -5 })).status).toBe(400)
  })

  test('a rule that has expired is no capability any more, for whoever asks', async () => {
    const expiration = new Date(house.clock.nowMs() + 60_000).toISOString()
    await node.write('sys/policies/acl/short', { policy: `path "x" { capabilities = ["read"] expiration = "${expiration}" }` })
    const token = await tokenOf('auth/token/create', { policies: ['short'] })
    const ask = async () => (await node.write('sys/capabilities', { token, paths: ['x'] })).body.data.x
    expect(await ask()).toEqual(['read'])
    house.clock.advance(61_000)
    await node.write('cubbyhole/a', { b: 1 }) // The leader's clock travels with its writes.
    expect(await ask()).toEqual(['deny'])
  })

  test('a mount of version 2 does not go back, in any spelling', async () => {
    await node.write('sys/mounts/kv', { type: 'kv-v2' })
    await node.write('kv/data/a', { data: { x: 1 } })
    for (const version of ['1', '']) expect((await node.write('sys/mounts/kv/tune', { options: { version } })).status).toBe(400)
    expect((await node.read('kv/data/a')).body.data.data).toEqual({ x: 1 })
  })
})

describe('the audit', () => {
  test('has every refusal, those from before anything was looked at too', async () => {
    const types = () => node.audit.splice(0).map(({ type, error }) => [type, error])
    types()
    const noRoute = 'no handler for route "other/cubbyhole/a". route entry not found.'
    expect((await node.ask({ path: 'cubbyhole/a', namespace: 'other' })).status).toBe(404)
    expect(types()).toEqual([
      ['request', noRoute],
      ['response', noRoute],
    ])
    const token = await tokenOf('auth/token/create', { num_uses: 3 })
    types()
    expect((await node.ask({ path: 'sys/host-info', token })).status).toBe(400)
    expect(types().map(([type]) => type)).toEqual(['request', 'response'])
    expect((await node.read('auth/token/lookup-self', token)).body.data.num_uses).toBe(2)
  })

  test('shows no sensitive field, whatever the tuning of the mount says', async () => {
    const keys = ['token', 'accessor', 'id']
    const mount = newMount(systemRandom, { path: 'token/', table: 'auth', type: 'token' })
    const tuned = { ...mount, config: { ...mount.config, audit_non_hmac_request_keys: keys, audit_non_hmac_response_keys: ['ttl'] } }
    const route = node.core.registry.paths(mountTable([tuned]).route('auth/token/lookup')!.mount)!.match('lookup')!
    expect(nonHmacKeys(tuned, route.def)).toEqual({ request: ['accessor', 'id'], response: ['ttl'] })
    const create: PathDef = node.core.registry.paths(tuned)!.match('create')!.def
    expect(nonHmacKeys(tuned, create).request).toEqual(['token', 'accessor'])
    expect(nonHmacKeys(null, null)).toEqual({ request: [], response: [] })
  })
})
