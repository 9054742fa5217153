import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import type { ReadView, Section, Transaction } from '#barrier/types.ts'
import { aliasesPerStepMax } from '#identity/gone.ts'
import { decodeRecord, encodeRecord, identitySection } from '#identity/records.ts'
import { createIdentityStore, type IdentityStore } from '#identity/store.ts'
import type { EntityRecord, GroupRecord, LoginAlias, ResolvedIdentity } from '#identity/types.ts'
import { openBarriers } from '#test/support/open-barrier.ts'

let house: Awaited<ReturnType<typeof openBarriers>>
let store: IdentityStore

beforeEach(async () => {
  house = await openBarriers()
  store = createIdentityStore({ random: systemRandom })
})

const write = <T>(work: (transaction: Transaction) => Promise<T>): Promise<T> => house.barrier.transact(work)
const read = <T>(work: (view: ReadView) => Promise<T>): Promise<T> => house.barrier.read({ kind: 'linearizable' }, work)
const alias = (name: string, over: Partial<LoginAlias> = {}): LoginAlias => ({ name, mountAccessor: 'acc', mountType: 'test', ...over })
const login = (name: string, over: Partial<LoginAlias> = {}) => write((tx) => store.login(tx, alias(name, over)))
const resolve = (id: string): Promise<ResolvedIdentity | null> => read((view) => store.resolve(view, id))
const entityOf = (id: string): Promise<EntityRecord | null> => read((view) => store.entity(view, { id }))
const groupNames = async (id: string): Promise<string[]> => ((await resolve(id))?.groups ?? []).map(({ name }) => name).toSorted()
const applied = (): number => house.replica.status().applied

/** An external group that goes by `name` at `accessor`, with a policy of its own name. */
async function external(name: string, accessor = 'acc'): Promise<GroupRecord> {
  const group = await write((tx) => store.putGroup(tx, null, { name: `g-${accessor}-${name}`, type: 'external', policies: [`p-${name}`] }))
  await write((tx) => store.putGroupAlias(tx, null, { name, mountAccessor: accessor, groupId: group.id }))
  return group
}

const groupById = async (id: string): Promise<GroupRecord> => (await read((view) => store.group(view, { id })))!

describe('a login', () => {
  test('makes an entity, and finds it the next time, in any letter case', async () => {
    const first = await login('alice', { metadata: { k: 'v' } })
    expect(await login('ALICE', { metadata: { k: 'v' } })).toEqual(first)
    expect(first).toEqual({ entityId: expect.any(String), policies: [], groupAliases: [] })
    expect(await entityOf(first.entityId)).toMatchObject({ name: expect.stringMatching(/^entity_/), aliases: [{ name: 'alice' }] })
    expect((await login('alice', { mountAccessor: 'other' })).entityId).not.toBe(first.entityId)
  })

  test('writes nothing where nothing has changed, and the metadata where that has', async () => {
    const { entityId } = await login('alice', { metadata: { a: '1', b: '2' } })
    const before = applied()
    await login('alice', { metadata: { b: '2', a: '1' } })
    expect(applied()).toBe(before)
    await login('alice', { metadata: { a: '2' } })
    expect((await entityOf(entityId))?.aliases[0]).toMatchObject({ metadata: { a: '2' }, customMetadata: {} })
  })

  test('of two at once that are the first both get the one entity', async () => {
    const both = await Promise.all(Array.from({ length: 8 }, () => login('new')))
    expect(new Set(both.map(({ entityId }) => entityId)).size).toBe(1)
    expect(await read((view) => store.list(view, 'entity', 'id'))).toEqual([both[0]!.entityId])
  })

  test('of a disabled entity is denied, whatever alias it comes by', async () => {
    const { entityId } = await login('alice')
    await write((tx) => store.createAlias(tx, { name: 'al', mountAccessor: 'second', local: false, entityId }))
    await write((tx) => store.putEntity(tx, entityId, { disabled: true }))
    for (const over of [{}, { name: 'al', mountAccessor: 'second' }])
      await expect(login('alice', over)).rejects.toMatchObject({ code: 'ERR_PERMISSION_DENIED', message: 'permission denied' })
    await write((tx) => store.putEntity(tx, entityId, { disabled: false }))
    expect((await login('al', { mountAccessor: 'second' })).entityId).toBe(entityId)
  })

  test('a name or metadata that cannot be kept is refused, without being quoted', async () => {
    for (const bad of [alias(''), alias('a\nb'), alias('x'.repeat(1_025)), alias('a', { metadata: { k: 'SECRET'.repeat(100) } })]) {
      const error: unknown = await write((tx) => store.login(tx, bad)).catch((failure: unknown) => failure)
      expect(error).toMatchObject({ code: 'ERR_BAD_REQUEST' })
      expect(String(error)).not.toContain('SECRET')
    }
    await expect(login('a', { groupAliases: Array.from({ length: 1_025 }, (_, at) => `g${at}`) })).rejects.toThrow(/at most 1024, got 1025/)
  })
})

describe('external groups', () => {
  test('are those that the login names, each time anew', async () => {
    await external('devs')
    await external('ops')
    const first = await login('alice', { groupAliases: ['devs', 'unknown', 'DEVS'] })
    expect(first.policies).toEqual(['p-devs'])
    expect(first.groupAliases).toEqual(['devs', 'DEVS'])
    expect(await groupNames(first.entityId)).toEqual(['g-acc-devs'])
    const before = applied()
    await login('alice', { groupAliases: ['devs'] })
    expect(applied()).toBe(before)
    expect((await login('alice', { groupAliases: ['ops'] })).policies).toEqual(['p-ops'])
    expect((await login('alice')).policies).toEqual([])
    expect(await groupNames(first.entityId)).toEqual([])
  })

  test('of another mount stay as that mount said', async () => {
    await external('devs', 'acc')
    await external('devs', 'ldap')
    const { entityId } = await login('alice', { groupAliases: ['devs'] })
    await write((tx) => store.createAlias(tx, { name: 'al', mountAccessor: 'ldap', local: false, entityId }))
    await login('al', { mountAccessor: 'ldap', groupAliases: ['devs'] })
    expect(await groupNames(entityId)).toEqual(['g-acc-devs', 'g-ldap-devs'])
    await login('alice')
    expect(await groupNames(entityId)).toEqual(['g-ldap-devs'])
  })

  test('at a renewal are refreshed too, also of an entity that was merged', async () => {
    await external('devs')
    const { entityId } = await login('alice')
    const into = (await login('bob', { mountAccessor: 'other' })).entityId
    const refresh = (id: string, names: string[]) => write((tx) => store.refreshGroups(tx, id, 'acc', names))
    expect(await refresh(entityId, ['devs'])).toEqual({ entityId, policies: ['p-devs'], groupAliases: ['devs'] })
    await write((tx) => store.merge(tx, { into, from: [entityId], keepAliasIds: [] }))
    expect(await refresh(entityId, ['devs'])).toMatchObject({ entityId: into, policies: ['p-devs'] })
    expect(await refresh(entityId, [])).toMatchObject({ policies: [] })
    expect(await refresh('nobody', ['devs'])).toBeNull()
  })

  test('lose their members with the name that these came by: renamed, moved to another mount, taken away, or with the mount', async () => {
    const { id } = await external('devs')
    const { entityId } = await login('alice', { groupAliases: ['devs'] })
    const listed = async (): Promise<string[]> => read(async (view) => store.members(view, (await store.group(view, { id }))!))
    const again = async (): Promise<void> => {
      const { alias: present } = await groupById(id)
      await login('alice', { groupAliases: [present!.name] })
      expect(await groupNames(entityId)).toEqual(['g-acc-devs'])
      expect(await listed()).toEqual([entityId])
    }
    const gone = async (): Promise<void> => {
      expect(await groupNames(entityId)).toEqual([])
      expect(await listed()).toEqual([])
    }
    await again()
    await write(async (tx) => store.putGroupAlias(tx, await groupById(id), { name: 'admins', mountAccessor: 'acc' }))
    await gone()
    await again()
    await write(async (tx) => store.deleteGroupAlias(tx, (await store.group(tx, { id }))!))
    await gone()
    // The same name once more: what the old one said is not said again by itself.
    await write((tx) => store.putGroupAlias(tx, null, { name: 'admins', mountAccessor: 'acc', groupId: id }))
    await gone()
    await again()
    await write((tx) => store.dropMount(tx, 'acc'))
    await gone()
    expect((await groupById(id)).alias).toBeNull()
    expect((await entityOf(entityId))?.aliases).toEqual([])
  })
})

describe('what a request needs', () => {
  /** A view that counts its reads. */
  const counting = (view: ReadView): { view: ReadView; reads: string[] } => {
    const reads: string[] = []
    return {
      reads,
      view: {
        index: view.index,
        nowMs: view.nowMs,
        get: (section: Section, path: string) => (reads.push(path.split('/')[0]!), view.get(section, path)),
        list: () => Promise.reject(new Error('expected no list')),
        holds: () => Promise.reject(new Error('expected no look at a folder')),
      },
    }
  }
  const resolveCounted = (id: string) =>
    read(async (view) => {
      const counted = counting(view)
      return { resolved: await store.resolve(counted.view, id), reads: counted.reads }
    })

  test('costs two reads, however many groups there are', async () => {
    const { entityId } = await login('alice')
    for (let at = 0; at < 20; at += 1)
      await write((tx) => store.putGroup(tx, null, { name: `g${at}`, policies: [`p${at}`], memberEntityIds: [entityId] }))
    const first = await resolveCounted(entityId)
    expect(first.reads.length).toBeGreaterThan(20)
    const second = await resolveCounted(entityId)
    expect(second.reads).toEqual(['entity', 'graph'])
    expect(second.resolved).toBe(first.resolved)
    expect(second.resolved?.policies).toHaveLength(20)
  })

  test('is what it is now: policies, names and metadata of groups, memberships, parents, deletions', async () => {
    const { entityId } = await login('alice')
    const top = await write((tx) => store.putGroup(tx, null, { name: 'top', policies: ['high'] }))
    const low = await write((tx) => store.putGroup(tx, null, { name: 'low', policies: ['a'], memberEntityIds: [entityId] }))
    const policies = async (): Promise<readonly string[] | undefined> => (await resolve(entityId))?.policies
    const change = async (id: string, over: object): Promise<void> =>
      void (await write(async (tx) => store.putGroup(tx, await store.group(tx, { id }), over)))
    expect(await policies()).toEqual(['a'])
    await change(low.id, { policies: ['b'] })
    expect(await policies()).toEqual(['b'])
    await change(top.id, { memberGroupIds: [low.id] })
    expect(await policies()).toEqual(['b', 'high'])
    await change(low.id, { metadata: { k: 'v' }, name: 'lower' })
    expect((await resolve(entityId))?.groups.find(({ id }) => id === low.id)).toEqual({ id: low.id, name: 'lower', metadata: { k: 'v' } })
    await write((tx) => store.putEntity(tx, entityId, { policies: ['own'] }))
    expect(await policies()).toEqual(['b', 'high', 'own'])
    await change(low.id, { memberEntityIds: [] })
    expect(await policies()).toEqual(['own'])
    await change(top.id, { memberEntityIds: [entityId] })
    expect(await policies()).toEqual(['high', 'own'])
    await write(async (tx) => store.deleteGroup(tx, (await store.group(tx, { id: top.id }))!))
    expect(await policies()).toEqual(['own'])
    await write(async (tx) => store.deleteEntity(tx, (await store.entity(tx, { id: entityId }))!))
    expect(await resolve(entityId)).toBeNull()
  })

  test('of a merged entity is that of the one it was merged into, over several merges; and none once that is deleted', async () => {
    const [a, b, c] = [
      await login('a', { mountAccessor: 'm1' }),
      await login('b', { mountAccessor: 'm2' }),
      await login('c', { mountAccessor: 'm3' }),
    ]
    await write((tx) => store.merge(tx, { into: b.entityId, from: [a.entityId], keepAliasIds: [] }))
    await write((tx) => store.merge(tx, { into: c.entityId, from: [b.entityId], keepAliasIds: [] }))
    for (const { entityId } of [a, b, c]) expect((await resolve(entityId))?.entity.id).toBe(c.entityId)
    expect((await login('a', { mountAccessor: 'm1' })).entityId).toBe(c.entityId)
    await write(async (tx) => store.deleteEntity(tx, (await store.entity(tx, { id: c.entityId }))!))
    for (const { entityId } of [a, b, c]) expect(await resolve(entityId)).toBeNull()
  })

  test('never has root, should it lie there all the same', async () => {
    const { entityId } = await login('alice')
    const entity = (await entityOf(entityId))!
    await write(async (tx) =>
      tx.put(identitySection('root'), `entity/${entityId}`, encodeRecord({ ...entity, policies: ['root', 'a'] }) as Uint8Array),
    )
    expect((await resolve(entityId))?.policies).toEqual(['a'])
  })

  test('a write whose rights rest on a group conflicts with a change of that group', async () => {
    const { entityId } = await login('alice')
    const group = await write((tx) => store.putGroup(tx, null, { name: 'g', policies: ['p'], memberEntityIds: [entityId] }))
    const seen: (readonly string[] | undefined)[] = []
    await write(async (tx) => {
      seen.push((await store.resolve(tx, entityId))?.policies)
      if (seen.length === 1)
        await write(async (inner) => store.putGroup(inner, await store.group(inner, { id: group.id }), { policies: ['q'] }))
      tx.put({ namespace: 'root', mount: 'other' }, 'x', Uint8Array.of(1))
    })
    expect(seen).toEqual([['p'], ['q']])
  })

  test('is forgotten when the barrier seals', async () => {
    const { entityId } = await login('alice')
    const { resolved } = await resolveCounted(entityId)
    store.onSealed()
    expect((await resolveCounted(entityId)).resolved).not.toBe(resolved)
  })
})

describe('a mount that is gone', () => {
  test('takes its aliases in bounded steps, and nobody logs in by them to their old entity meanwhile', async () => {
    const count = aliasesPerStepMax * 2 + 7
    for (let at = 0; at < count; at += 64)
      await write(async (tx) => {
        for (let one = at; one < Math.min(at + 64, count); one += 1) await store.login(tx, alias(`user-${one}`))
      })
    await write((tx) => store.dropMount(tx, 'acc'))
    const left = async (): Promise<number> => (await read((view) => store.list(view, 'entity', 'alias'))).length
    expect(await left()).toBe(count - aliasesPerStepMax)
    const steps = []
    for (let step = 0; step < 4; step += 1) steps.push(await write((tx) => store.tidyStep(tx)))
    expect(await left()).toBe(0)
    expect(steps).toEqual([true, true, false, false])
    expect(await read((view) => store.list(view, 'entity', 'id'))).toHaveLength(count)
    const names = await read((view) => view.list(identitySection('root'), ''))
    expect(names).not.toContain('alias-of/')
    expect(names).not.toContain('gone/')
  })
})

test('a record of a later format is refused, by its number', () => {
  const later = Buffer.from(JSON.stringify({ version: 2, id: 'x' }))
  expect(() => decodeRecord('entity', later)).toThrow(/entity record: expected version 1, got 2/)
  expect(() => decodeRecord('group', Buffer.from('{"id":"x"}'))).toThrow(/expected a version/)
  expect(() => decodeRecord('group', Buffer.from('not json'))).toThrow(/to be JSON/)
})

describe('against a slow model', () => {
  type Step =
    | { readonly kind: 'login'; readonly who: number; readonly mount: number; readonly groups: readonly number[] }
    | { readonly kind: 'entity'; readonly who: number; readonly name: number }
    | { readonly kind: 'delete entity' | 'delete group' | 'drop alias' | 'rename alias'; readonly who: number }
    | { readonly kind: 'merge'; readonly who: number; readonly into: number; readonly keepOwn: boolean }
    | { readonly kind: 'members'; readonly group: number; readonly who: readonly number[] }
    | { readonly kind: 'subgroups'; readonly group: number; readonly groups: readonly number[] }

  const few = fc.nat({ max: 4 })
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ kind: fc.constant('login' as const), who: few, mount: fc.nat({ max: 1 }), groups: fc.uniqueArray(fc.nat({ max: 1 })) }),
    fc.record({ kind: fc.constant('entity' as const), who: few, name: few }),
    fc.record({
      kind: fc.constantFrom('delete entity' as const, 'delete group' as const, 'drop alias' as const, 'rename alias' as const),
      who: few,
    }),
    fc.record({ kind: fc.constant('merge' as const), who: few, into: few, keepOwn: fc.boolean() }),
    fc.record({ kind: fc.constant('members' as const), group: few, who: fc.uniqueArray(few) }),
    fc.record({ kind: fc.constant('subgroups' as const), group: few, groups: fc.uniqueArray(few) }),
  )

  /** Everything in the section but the records themselves. */
  async function indexes(view: ReadView, folder = ''): Promise<string[]> {
    const found: string[] = []
    for (const name of await view.list(identitySection('root'), folder)) {
      const path = folder === '' ? name : `${folder}/${name}`
      if (name.endsWith('/')) found.push(...(await indexes(view, path.slice(0, -1))))
      else found.push(path)
    }
    return found
  }

  /** What must lie beside the records, worked out from the records alone. */
  function expectedIndexes(entities: readonly EntityRecord[], groups: readonly GroupRecord[]): Set<string> {
    const expected = new Set<string>()
    for (const { id, name, aliases, groupIds, vouched, mergedIds } of entities) {
      for (const path of [`entity/${id}`, `entity-name/${name.toLowerCase()}`, `entity-listed/${name}`]) expected.add(path)
      for (const one of aliases) for (const path of [`alias/${one.id}`, `alias-of/${one.mountAccessor}/${one.name}`]) expected.add(path)
      for (const group of groupIds) expected.add(`member/${group}/-/${id}`)
      for (const { groupId, stamp } of vouched) expected.add(`member/${groupId}/${stamp}/${id}`)
      for (const merged of mergedIds) expected.add(`merged/${merged}`)
    }
    for (const { id, name, alias: own } of groups) {
      for (const path of [`group/${id}`, `group-name/${name.toLowerCase()}`, `group-listed/${name}`]) expected.add(path)
      if (own) for (const path of [`group-alias/${own.id}`, `group-alias-of/${own.mountAccessor}/${own.name}`]) expected.add(path)
    }
    return expected
  }

  async function carryOut(todo: Step): Promise<void> {
    const entities = await read((view) => store.list(view, 'entity', 'id'))
    const groups = await read((view) => store.list(view, 'group', 'name'))
    const pick = (list: readonly string[], at: number): string => list[at % Math.max(1, list.length)] ?? 'nobody'
    await write(async (tx) => {
      const entity = (at: number) => store.entity(tx, { id: pick(entities, at) })
      const group = (at: number) => store.group(tx, { name: pick(groups, at) })
      switch (todo.kind) {
        case 'login':
          return void (await store.login(
            tx,
            alias(`u${todo.who}`, { mountAccessor: `m${todo.mount}`, groupAliases: todo.groups.map((at) => `x${at}`) }),
          ))
        case 'entity':
          return void (await store.putEntity(tx, (await entity(todo.who))?.id ?? null, { name: `Name${todo.name}` }))
        case 'delete entity': {
          const found = await entity(todo.who)
          return found ? await store.deleteEntity(tx, found) : undefined
        }
        case 'delete group': {
          const found = await group(todo.who)
          return found ? void (await store.deleteGroup(tx, found)) : undefined
        }
        case 'drop alias': {
          const found = await entity(todo.who)
          return found?.aliases[0] ? store.deleteAlias(tx, found, found.aliases[0].id) : undefined
        }
        case 'rename alias': {
          const found = await group(todo.who)
          if (found?.alias) await store.putGroupAlias(tx, found, { name: `x${todo.who % 3}`, mountAccessor: 'm0' })
          return
        }
        case 'merge': {
          const [from, into] = [await entity(todo.who), await entity(todo.into)]
          if (!from || !into) return
          const keepAliasIds = (todo.keepOwn ? into : from).aliases.map(({ id }) => id)
          return void (await store.merge(tx, { from: [from.id], into: into.id, keepAliasIds }))
        }
        case 'members': {
          const found = await group(todo.group)
          if (found) await store.putGroup(tx, found, { memberEntityIds: todo.who.map((at) => pick(entities, at)) })
          return
        }
        case 'subgroups': {
          const found = await group(todo.group)
          const ids = await Promise.all(todo.groups.map(async (at) => (await group(at))?.id ?? 'nobody'))
          if (found) await store.putGroup(tx, found, { memberGroupIds: ids })
        }
      }
    })
  }

  test('records and indexes never part, a refused change leaves nothing, and what is kept is what would be worked out anew', async () => {
    let done = 0
    let inherited = 0
    // What is drawn leads to an entity that has a group through another often, but not surely: 25 runs had 8 of them once. What is fixed has one in each.
    const nested: readonly Step[] = [
      { kind: 'login', who: 0, mount: 0, groups: [] },
      { kind: 'members', group: 1, who: [0] },
    ]
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 12, maxLength: 30 }), async (steps) => {
        house = await openBarriers()
        store = createIdentityStore({ random: systemRandom })
        for (const name of ['g0', 'g1', 'g2']) await write((tx) => store.putGroup(tx, null, { name, policies: [name] }))
        // From the start: drawn alone, a group inside another that has a member is rare.
        await write(async (tx) => {
          const inner = (await store.group(tx, { name: 'g1' }))!
          return store.putGroup(tx, (await store.group(tx, { name: 'g0' }))!, { memberGroupIds: [inner.id] })
        })
        await external('x0', 'm0')
        await external('x1', 'm1')
        for (const todo of [...nested, ...steps]) {
          const before = await read((view) => indexes(view))
          const failed = await carryOut(todo).then(
            () => false,
            (error: { code?: string }) => error.code === 'ERR_BAD_REQUEST' || Promise.reject(error as Error),
          )
          if (failed) expect(await read((view) => indexes(view))).toEqual(before)
          else done += 1
          await read(async (view) => {
            const entities = await Promise.all(
              (await store.list(view, 'entity', 'id')).map(async (id) => (await store.entity(view, { id }))!),
            )
            const groups = await Promise.all((await store.list(view, 'group', 'id')).map(async (id) => (await store.group(view, { id }))!))
            const present = (await indexes(view)).filter((path) => path !== 'graph')
            const standing = new Set(groups.map(({ id }) => id))
            // Members of groups that are gone are swept by the core, not here.
            const swept = (path: string): boolean => !path.startsWith('member/') || standing.has(path.split('/')[1]!)
            const expected = [...expectedIndexes(entities, groups)].filter(swept).toSorted()
            expect(present.filter(swept).toSorted()).toEqual(expected)
            for (const entity of entities) {
              const kept = (await store.resolve(view, entity.id))!
              const anew = await createIdentityStore({ random: systemRandom }).resolve(view, entity.id)
              expect(kept).toEqual(anew)
              expect(kept.groups.map(({ id }) => id)).toEqual(groupsSlow(entity, groups))
              inherited += kept.groups.length - kept.directGroupIds.length
              const accessors = entity.aliases.map(({ mountAccessor }) => mountAccessor)
              expect(new Set(accessors).size).toBe(accessors.length)
            }
          })
        }
      }),
      { numRuns: 25 },
    )
    expect(done).toBeGreaterThan(200)
    expect(inherited).toBeGreaterThanOrEqual(25)
  }, 120_000)

  /** Every group, asked by itself whether it has the entity, itself or by one of its member groups. */
  function groupsSlow(entity: EntityRecord, groups: readonly GroupRecord[]): string[] {
    const has = (group: GroupRecord): boolean =>
      entity.groupIds.includes(group.id) ||
      entity.vouched.some(({ groupId, stamp }) => groupId === group.id && stamp === group.alias?.stamp) ||
      group.memberGroupIds.some((id) => groups.some((other) => other.id === id && has(other)))
    return groups
      .filter(has)
      .map(({ id }) => id)
      .toSorted()
  }
})
