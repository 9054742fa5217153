import { createPolicyStore } from '#policies/store.ts'
import type { RoleFields } from '#policies/roles.ts'
import type { CompiledAcl, IdentityRecord, PolicySubject } from '#policies/types.ts'
import { MemoryBarrier } from '#test/support/memory-barrier.ts'
import { describe, expect, test } from 'vitest'

const stale = { kind: 'stale' } as const
const nobody: IdentityRecord = { entity: { id: 'e-1', name: 'alice', metadata: {}, aliases: [] }, groups: [], policies: [] }

function setUp() {
  const barrier = new MemoryBarrier()
  const people = new Map<string, IdentityRecord>([['e-1', { ...nobody, groups: [{ id: 'g-1', name: 'ops', metadata: {} }] }]])
  const store = createPolicyStore({ identity: { resolve: async (_, id) => people.get(id) ?? null } })
  const subject = (policies: string[], entityId = 'e-1'): PolicySubject => ({ policies, entityId, namespaceId: 'root' })
  const compile = (policies: string[], entityId?: string) =>
    barrier.read(stale, (view) => store.compileFor(view, subject(policies, entityId)))
  return {
    barrier,
    people,
    store,
    compile,
    policy: (name: string, path: string) =>
      barrier.transact((transaction) => store.put(transaction, name, `path "${path}" { capabilities = ["read"] }`)),
    role: (name: string, fields: Partial<RoleFields>) =>
      barrier.transact((transaction) =>
        store.roles.put(transaction, name, { description: '', policies: [], entityIds: [], groupIds: [], ...fields }),
      ),
    remove: (name: string) => barrier.transact((transaction) => store.roles.delete(transaction, name)),
    get: (name: string) => barrier.read(stale, (view) => store.roles.get(view, name)),
    names: () => barrier.read(stale, (view) => store.roles.list(view)),
  }
}

const reads = (acl: CompiledAcl, path: string): boolean =>
  acl.decide({ path, operation: 'read', needsSudo: false, body: {}, query: {}, wrapTtlSeconds: 0, nowMs: 0 }).allowed

describe('roles', () => {
  test('give their policies to entities and to groups, from the next request on, and take them again', async () => {
    const { policy, role, remove, compile, get, names } = setUp()
    await policy('a', 'a')
    await policy('b', 'b')
    await role('Direct', { policies: ['A', 'a'], entityIds: ['e-1'] })
    await role('through', { policies: ['b'], groupIds: ['g-1'], description: 'why' })
    expect(await names()).toEqual(['direct', 'through'])
    expect(await get('DIRECT')).toMatchObject({ name: 'direct', policies: ['a'], entityIds: ['e-1'], groupIds: [] })
    let acl = await compile([])
    expect([reads(acl, 'a'), reads(acl, 'b')]).toEqual([true, true])
    expect(await compile([])).toBe(acl)
    await role('through', { policies: ['b'], groupIds: ['g-2'] })
    acl = await compile([])
    expect([reads(acl, 'a'), reads(acl, 'b')]).toEqual([true, false])
    await remove('direct')
    await remove('never')
    expect(reads(await compile([]), 'a')).toBe(false)
    expect(await names()).toEqual(['through'])
  })

  test('of an entity that was merged are those of the one that it has become', async () => {
    const { policy, role, compile, people } = setUp()
    await policy('a', 'a')
    people.set('merged', people.get('e-1')!)
    await role('r', { policies: ['a'], entityIds: ['e-1'] })
    expect(reads(await compile([], 'merged'), 'a')).toBe(true)
  })

  test('cost one read, however many groups there are', async () => {
    const { barrier, role, people, store } = setUp()
    const groups = Array.from({ length: 20 }, (_, at) => ({ id: `g-${at}`, name: `g${at}`, metadata: {} }))
    people.set('e-1', { ...nobody, groups })
    await role('r', { policies: ['a'], groupIds: ['g-7'] })
    const count = () =>
      barrier.read(stale, async (view) => {
        let reads = 0
        const counted = { ...view, get: (...asked: Parameters<typeof view.get>) => ((reads += 1), view.get(...asked)) }
        return [await store.identityPolicies(counted, { policies: [], entityId: 'e-1', namespaceId: 'root' }), reads]
      })
    expect(await count()).toEqual([['a'], 23])
    expect(await count()).toEqual([['a'], 1])
    await role('r', { policies: ['b'], groupIds: ['g-7'] })
    expect(await count()).toEqual([['b'], 23])
  })

  test('nobody else gets them', async () => {
    const { policy, role, compile, people } = setUp()
    await policy('a', 'a')
    people.set('e-2', { ...nobody, entity: { ...nobody.entity, id: 'e-2' } })
    await role('r', { policies: ['a'], entityIds: ['e-1'] })
    expect(reads(await compile([], 'e-2'), 'a')).toBe(false)
    expect(reads(await compile([], ''), 'a')).toBe(false)
  })

  test('never give root, in any spelling, nor response-wrapping (CVE-2024-9180, CVE-2025-5999)', async () => {
    const { role, people, compile, barrier, store } = setUp()
    for (const name of ['root', ' ROOT ', 'response-wrapping', '', 'a\nb']) {
      await expect(role('r', { policies: [name] }), JSON.stringify(name)).rejects.toThrow('policies expected names that a role may give')
    }
    people.set('e-1', { ...nobody, policies: ['Root', ' root', 'root'] })
    expect((await compile(['default'])).capabilities('sys/raw', { nowMs: 0 })).toEqual(['deny'])
    expect((await compile([])).capabilities('sys/raw', { nowMs: 0 })).toEqual(['deny'])
    const names = await barrier.read(stale, (view) => store.identityPolicies(view, { policies: [], entityId: 'e-1', namespaceId: 'root' }))
    expect(names).toEqual([])
  })

  test('a root token stays root whoever it belongs to', async () => {
    const { people, compile } = setUp()
    people.set('e-1', { ...nobody, policies: ['a'] })
    expect((await compile(['root'])).capabilities('x', { nowMs: 0 })).toEqual(['root'])
  })

  test('are bounded', async () => {
    const { role } = setUp()
    const many = (count: number, head: string): string[] => Array.from({ length: count }, (_, i) => `${head}${i}`)
    await expect(role('r', {})).rejects.toThrow('policies expected 1 to 64, got 0')
    await expect(role('r', { policies: many(65, 'p') })).rejects.toThrow('policies expected 1 to 64, got 65')
    await expect(role('r', { policies: ['a'], entityIds: many(600, 'e'), groupIds: many(401, 'g') })).rejects.toThrow('got 1001')
    await expect(role('r', { policies: ['a'], entityIds: [''] })).rejects.toThrow('entity_ids expected ids')
    await expect(role('', { policies: ['a'] })).rejects.toThrow('role name expected')
    for (let i = 0; i < 64; i += 1) await role(`r${i}`, { policies: ['a'], entityIds: ['e-1'] })
    await expect(role('r64', { policies: ['a'], entityIds: ['e-1'] })).rejects.toThrow('entity expected to have at most 64 roles')
  })

  test('forget a member that is gone, and leave nothing behind', async () => {
    const { barrier, store, role, get, remove } = setUp()
    await role('one', { policies: ['a'], entityIds: ['e-1', 'e-2'], groupIds: ['g-1'] })
    await role('two', { policies: ['a'], entityIds: ['e-1'] })
    await barrier.transact((transaction) => store.roles.forget(transaction, 'entity', 'e-1'))
    expect([(await get('one'))?.entityIds, (await get('two'))?.entityIds]).toEqual([['e-2'], []])
    await barrier.transact((transaction) => store.roles.forget(transaction, 'group', 'g-1'))
    await remove('one')
    await remove('two')
    // But for the mark, by which others tell that something has changed.
    expect([...barrier.state.keys()].map((key) => key.split('\0').at(-1))).toEqual(['mark'])
  })

  test('a record of another version is refused', async () => {
    const { barrier, role, get } = setUp()
    await role('one', { policies: ['a'] })
    const key = [...barrier.state.keys()].find((one) => one.endsWith('role/one'))!
    barrier.state.set(key, Buffer.from(JSON.stringify({ version: 2 })))
    await expect(get('one')).rejects.toThrow('role record: expected version 1, got 2')
  })
})

describe('identity', () => {
  test('templates are filled per entity; what does not depend on them is shared', async () => {
    const { policy, compile, people } = setUp()
    people.set('e-2', { ...nobody, entity: { ...nobody.entity, id: 'e-2', name: 'bob' } })
    await policy('home', 'home/{{identity.entity.name}}/*')
    await policy('plain', 'plain')
    const [first, second] = [await compile(['home']), await compile(['home'], 'e-2')]
    expect([reads(first, 'home/alice/x'), reads(first, 'home/bob/x')]).toEqual([true, false])
    expect([reads(second, 'home/alice/x'), reads(second, 'home/bob/x')]).toEqual([false, true])
    expect(await compile(['home'], '')).not.toBe(first)
    expect(reads(await compile(['home'], ''), 'home//x')).toBe(false)
    expect(await compile(['plain'])).toBe(await compile(['plain'], 'e-2'))
  })

  test('its policies add to those of the token', async () => {
    const { policy, compile, people } = setUp()
    await policy('a', 'a')
    people.set('e-1', { ...nobody, policies: ['A'] })
    expect(reads(await compile(['default']), 'a')).toBe(true)
  })

  test('the tokens of an entity that is gone or disabled are good for nothing', async () => {
    const { compile, people } = setUp()
    await expect(compile(['default'], 'e-9')).rejects.toThrow('permission denied')
    people.set('e-1', { ...nobody, entity: { ...nobody.entity, disabled: true } })
    await expect(compile(['root'])).rejects.toThrow('permission denied')
  })
})
