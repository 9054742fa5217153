import { beforeEach, describe, expect, test } from 'vitest'
import { openHouse, type Answer, type HouseNode } from '#test/support/core-house.ts'

let node: HouseNode
let rootToken: string

beforeEach(async () => {
  const opened = await openHouse()
  node = opened.node
  rootToken = opened.rootToken
})

const ok = async (answer: Promise<Answer>): Promise<Answer['body']> => {
  const { status, body, text } = await answer
  expect(status, text).toBeLessThan(300)
  return body?.data
}

const errorOf = async (answer: Promise<Answer>): Promise<string> => {
  const { status, body } = await answer
  expect(status).toBe(400)
  return body.errors[0]
}

const accessorOf = async (mount: string): Promise<string> => (await ok(node.read('sys/auth')))[mount].accessor

/** A userpass mount at `path`; gives its accessor. */
async function userpass(path = 'userpass'): Promise<string> {
  await ok(node.write(`sys/auth/${path}`, { type: 'userpass' }))
  return accessorOf(`${path}/`)
}

describe('entities', () => {
  test('are made, read, changed and deleted, by id and by name', async () => {
    const made = await ok(node.write('identity/entity', { name: 'Alice', metadata: { team: 'red' }, policies: ['B', 'a', 'a'] }))
    expect(made).toEqual({ id: expect.stringMatching(/^[0-9a-f-]{36}$/), name: 'Alice', aliases: null })
    const byId = await ok(node.read(`identity/entity/id/${made.id}`))
    expect(byId).toMatchObject({
      id: made.id,
      name: 'Alice',
      metadata: { team: 'red' },
      policies: ['a', 'b'],
      disabled: false,
      aliases: [],
      merged_entity_ids: null,
      direct_group_ids: [],
      inherited_group_ids: [],
      group_ids: [],
      namespace_id: 'root',
    })
    expect(await ok(node.read('identity/entity/name/aLICE'))).toEqual(byId)
    expect((await node.write(`identity/entity/id/${made.id}`, { disabled: true })).status).toBe(204)
    expect((await node.write('identity/entity/name/ALICE', { metadata: { team: 'blue' } })).status).toBe(204)
    expect((await node.write('identity/entity', { id: made.id, policies: [] })).status).toBe(204)
    expect(await ok(node.read('identity/entity/name/alice'))).toMatchObject({ disabled: true, metadata: { team: 'blue' }, policies: [] })
    expect((await node.remove('identity/entity/name/alice')).status).toBe(204)
    expect((await node.read(`identity/entity/id/${made.id}`)).status).toBe(404)
    expect((await node.list('identity/entity/name')).status).toBe(404)
  })

  test('a name is free again after a rename or a deletion, and never given twice', async () => {
    const one = await ok(node.write('identity/entity', { name: 'one' }))
    const two = await ok(node.write('identity/entity', { name: 'two' }))
    expect(await errorOf(node.write(`identity/entity/id/${two.id}`, { name: 'ONE' }))).toBe('entity name is already in use')
    await ok(node.write(`identity/entity/id/${one.id}`, { name: 'uno' }))
    await ok(node.write(`identity/entity/id/${two.id}`, { name: 'ONE' }))
    expect((await ok(node.list('identity/entity/name'))).keys).toEqual(['ONE', 'uno'])
    expect((await ok(node.read('identity/entity/name/one'))).id).toBe(two.id)
  })

  test('names with slashes and dots are names, not paths', async () => {
    for (const name of ['team/one', '..', '.', 'a%2Fb', 'team']) {
      const { id } = await ok(node.write('identity/entity', { name }))
      expect(await ok(node.write('identity/lookup/entity', { name }))).toMatchObject({ id, name })
    }
    expect((await ok(node.list('identity/entity/name'))).keys.toSorted()).toEqual(['.', '..', 'a%2Fb', 'team', 'team/one'])
    expect((await ok(node.read('identity/entity/name/team/one'))).name).toBe('team/one')
  })

  test('get a name of their own where none is given', async () => {
    const { id, name } = await ok(node.write('identity/entity'))
    expect(name).toMatch(/^entity_[0-9a-f]{8}$/)
    const { keys, key_info: info } = await ok(node.list('identity/entity/id'))
    expect(keys).toEqual([id])
    expect(info).toEqual({ [id]: { name } })
  })

  test('lists are paged', async () => {
    for (const name of ['c', 'a', 'b', 'D']) await ok(node.write('identity/entity', { name }))
    const page = await ok(node.ask({ operation: 'list', method: 'LIST', path: 'identity/entity/name/', query: { after: 'D', limit: '2' } }))
    expect(page.keys).toEqual(['a', 'b'])
    expect((await node.ask({ operation: 'list', path: 'identity/entity/id/', query: { limit: 'x' } })).status).toBe(400)
  })

  test('lists describe a thousand entries, and say that there are more', async () => {
    for (let at = 0; at < 1_001; at += 1) await ok(node.write('identity/entity', { name: `e${at}` }))
    const { status, body } = await node.list('identity/entity/id')
    expect([status, body.data.keys.length, Object.keys(body.data.key_info).length]).toEqual([200, 1_001, 1_000])
    expect(body.warnings).toEqual([expect.stringMatching(/first 1000 of 1001/)])
  }, 120_000)

  test('several are deleted at once; ids that nobody has do not matter', async () => {
    const ids = []
    for (const name of ['a', 'b', 'c']) ids.push((await ok(node.write('identity/entity', { name }))).id)
    expect((await node.write('identity/entity/batch-delete', { entity_ids: [ids[0], 'none', ids[2]] })).status).toBe(204)
    expect((await ok(node.list('identity/entity/name'))).keys).toEqual(['b'])
    expect(await errorOf(node.write('identity/entity/batch-delete'))).toBe('missing entity ids to delete')
    const many = Array.from({ length: 1_025 }, (_, at) => `id-${at}`)
    expect(await errorOf(node.write('identity/entity/batch-delete', { entity_ids: many }))).toMatch(/at most 1024, got 1025/)
  })

  test('an id that nobody has is refused, not made', async () => {
    expect(await errorOf(node.write('identity/entity', { id: 'nobody' }))).toBe('entity not found from id')
    expect(await errorOf(node.write('identity/entity/id/nobody', { name: 'x' }))).toBe('entity not found from id')
    expect((await node.read('identity/entity/id/../x')).status).toBeGreaterThanOrEqual(400)
    expect((await node.remove('identity/entity/id/nobody')).status).toBe(204)
  })

  test.each(['root', 'ROOT', ' Root ', 'rOoT'])('CVE-2024-9180, CVE-2025-5999: %j is no policy of an entity or group', async (policy) => {
    for (const path of ['identity/entity', 'identity/group'])
      expect(await errorOf(node.write(path, { policies: ['a', policy] }))).toBe('policies cannot contain root')
    expect(await errorOf(node.write('identity/entity', { policies: ['Response-Wrapping'] }))).toMatch(/response-wrapping/)
  })

  test('metadata is bounded: 64 pairs, keys of 128 bytes, values of 512', async () => {
    const pairs = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, 'v']))
    await ok(node.write('identity/entity', { metadata: pairs(64) }))
    await ok(node.write('identity/entity', { metadata: { ['k'.repeat(128)]: 'v'.repeat(512) } }))
    expect(await errorOf(node.write('identity/entity', { metadata: pairs(65) }))).toMatch(/pairs expected at most 64, got 65/)
    expect(await errorOf(node.write('identity/entity', { metadata: { ['k'.repeat(129)]: '' } }))).toMatch(/at most 128, got 129/)
    const value = await node.write('identity/entity', { metadata: { k: 'secret-value'.repeat(50) } })
    expect(value.body.errors[0]).toMatch(/at most 512, got 600/)
    expect(value.text).not.toContain('secret-value')
    expect(await errorOf(node.write('identity/entity', { metadata: { '': 'v' } }))).toMatch(/key expected a name/)
    await ok(node.write('identity/entity', { name: 'odd', metadata: JSON.parse('{"__proto__":"x"}') }))
    expect(Object.entries((await ok(node.read('identity/entity/name/odd'))).metadata)).toEqual([['__proto__', 'x']])
  })
})

describe('aliases of entities', () => {
  test('are made with an entity or without, read, changed, moved and deleted', async () => {
    const accessor = await userpass()
    const other = await userpass('staff')
    const { id: alice } = await ok(node.write('identity/entity', { name: 'alice' }))
    const alias = await ok(
      node.write('identity/entity-alias', {
        name: 'al',
        mount_accessor: accessor,
        canonical_id: alice,
        custom_metadata: { shift: 'night' },
      }),
    )
    expect(alias).toEqual({ id: expect.any(String), canonical_id: alice })
    expect(await ok(node.read(`identity/entity-alias/id/${alias.id}`))).toMatchObject({
      id: alias.id,
      canonical_id: alice,
      name: 'al',
      mount_accessor: accessor,
      mount_path: 'auth/userpass/',
      mount_type: 'userpass',
      metadata: null,
      custom_metadata: { shift: 'night' },
      merged_from_canonical_ids: null,
      local: false,
      namespace_id: 'root',
    })
    const made = await ok(node.write('identity/entity-alias', { name: 'bob', mount_accessor: accessor }))
    expect((await ok(node.read(`identity/entity/id/${made.canonical_id}`))).aliases).toHaveLength(1)
    // The same again changes nothing; by its factors it is an update.
    expect((await node.write('identity/entity-alias', { name: 'AL', mount_accessor: accessor })).status).toBe(200)
    expect((await node.write('identity/entity-alias', { name: 'AL', mount_accessor: accessor })).status).toBe(204)
    expect((await node.write(`identity/entity-alias/id/${alias.id}`)).status).toBe(204)
    expect(await ok(node.write(`identity/entity-alias/id/${alias.id}`, { name: 'ally' }))).toEqual(alias)
    expect(await errorOf(node.write(`identity/entity-alias/id/${alias.id}`, { name: 'bob' }))).toBe(
      'alias with combination of mount accessor and name already exists',
    )
    expect(await errorOf(node.write(`identity/entity-alias/id/${alias.id}`, { canonical_id: made.canonical_id }))).toMatch(
      /already has an alias for this mount/,
    )
    await ok(node.write(`identity/entity-alias/id/${alias.id}`, { mount_accessor: other }))
    await ok(node.write(`identity/entity-alias/id/${alias.id}`, { canonical_id: made.canonical_id }))
    expect((await ok(node.read(`identity/entity/id/${alice}`))).aliases).toEqual([])
    expect((await ok(node.read(`identity/entity/id/${made.canonical_id}`))).aliases.map((one: { name: string }) => one.name)).toEqual([
      'bob',
      'ally',
    ])
    const { keys, key_info: info } = await ok(node.list('identity/entity-alias/id'))
    expect(new Set(keys)).toEqual(new Set([alias.id, made.id]))
    expect(info[alias.id]).toEqual({
      canonical_id: made.canonical_id,
      name: 'ally',
      mount_accessor: other,
      mount_path: 'auth/staff/',
      mount_type: 'userpass',
    })
    expect((await node.remove(`identity/entity-alias/id/${alias.id}`)).status).toBe(204)
    expect((await node.read(`identity/entity-alias/id/${alias.id}`)).status).toBe(404)
    expect((await node.write('identity/lookup/entity', { alias_name: 'ally', alias_mount_accessor: other })).status).toBe(204)
  })

  test('what is in the way is said', async () => {
    const accessor = await userpass()
    const put = (body: Record<string, unknown>) => errorOf(node.write('identity/entity-alias', body))
    expect(await put({ name: 'x' })).toBe("'id' or 'mount_accessor' and 'name' must be provided")
    expect(await put({ name: 'x', mount_accessor: 'nobody' })).toBe('invalid mount accessor "nobody"')
    expect(await put({ name: 'x', mount_accessor: accessor, canonical_id: 'nobody' })).toBe('invalid canonical ID')
    expect(await put({ id: 'nobody', name: 'x' })).toBe('invalid alias ID provided')
    const { canonical_id: entity } = await ok(node.write('identity/entity-alias', { name: 'x', mount_accessor: accessor }))
    expect(await put({ name: 'y', mount_accessor: accessor, canonical_id: entity })).toBe(
      'Alias already exists for requested entity and mount accessor',
    )
  })
})

describe('groups', () => {
  const entity = async (name: string): Promise<string> => (await ok(node.write('identity/entity', { name }))).id
  const group = async (name: string, body: Record<string, unknown> = {}): Promise<string> =>
    (await ok(node.write('identity/group', { name, ...body }))).id
  const read = (name: string) => ok(node.read(`identity/group/name/${name}`))

  test('are made, read, changed and deleted, by id and by name', async () => {
    const [a, b] = [await entity('a'), await entity('b')]
    const id = await group('Devs', { policies: ['dev'], metadata: { floor: '2' }, member_entity_ids: [a] })
    expect(await read('devs')).toMatchObject({
      id,
      name: 'Devs',
      type: 'internal',
      policies: ['dev'],
      metadata: { floor: '2' },
      member_entity_ids: [a],
      member_group_ids: [],
      parent_group_ids: [],
      alias: {},
      modify_index: 1,
      namespace_id: 'root',
    })
    expect((await node.write('identity/group', { name: 'DEVS', member_entity_ids: [b] })).status).toBe(204)
    expect((await node.write(`identity/group/id/${id}`, { name: 'developers' })).status).toBe(204)
    expect(await ok(node.read(`identity/group/id/${id}`))).toMatchObject({ name: 'developers', member_entity_ids: [b], modify_index: 3 })
    expect((await ok(node.read(`identity/entity/id/${a}`))).group_ids).toEqual([])
    expect((await ok(node.read(`identity/entity/id/${b}`))).direct_group_ids).toEqual([id])
    const { keys, key_info: info } = await ok(node.list('identity/group/id'))
    expect(keys).toEqual([id])
    expect(info).toEqual({ [id]: { name: 'developers', num_member_groups: 0 } })
    expect((await ok(node.list('identity/group/name'))).keys).toEqual(['developers'])
    expect((await node.remove('identity/group/name/DEVELOPERS')).status).toBe(204)
    expect((await node.read(`identity/group/id/${id}`)).status).toBe(404)
    expect((await ok(node.read(`identity/entity/id/${b}`))).group_ids).toEqual([])
  })

  test('in groups give their members on, whatever the order in which they were put together', async () => {
    const alice = await entity('alice')
    const top = await group('top')
    const middle = await group('middle')
    const low = await group('low', { member_entity_ids: [alice] })
    await ok(node.write(`identity/group/id/${top}`, { member_group_ids: [middle] }))
    await ok(node.write(`identity/group/id/${middle}`, { member_group_ids: [low] }))
    expect(await ok(node.read('identity/entity/name/alice'))).toMatchObject({
      direct_group_ids: [low],
      inherited_group_ids: [middle, top].toSorted(),
    })
    expect(await read('middle')).toMatchObject({ parent_group_ids: [top], member_group_ids: [low] })
    await ok(node.remove(`identity/group/id/${middle}`))
    expect(await ok(node.read('identity/entity/name/alice'))).toMatchObject({ direct_group_ids: [low], inherited_group_ids: [] })
    expect(await read('top')).toMatchObject({ member_group_ids: [] })
    expect(await read('low')).toMatchObject({ parent_group_ids: [] })
  })

  test('never go round in a circle', async () => {
    const [a, b, c] = [await group('a'), await group('b'), await group('c')]
    await ok(node.write(`identity/group/id/${a}`, { member_group_ids: [b] }))
    await ok(node.write(`identity/group/id/${b}`, { member_group_ids: [c] }))
    for (const wanted of [a, c])
      expect(await errorOf(node.write(`identity/group/id/${c}`, { member_group_ids: [wanted] }))).toBe(
        `cyclic relationship detected for member group ID "${wanted}"`,
      )
    // Nothing of a refused change stays.
    expect(await read('c')).toMatchObject({ member_group_ids: [], modify_index: 1 })
    // Within one request: first out, then in.
    await ok(node.write(`identity/group/id/${a}`, { member_group_ids: [] }))
    await ok(node.write(`identity/group/id/${c}`, { member_group_ids: [a] }))
    expect(await read('a')).toMatchObject({ parent_group_ids: [c] })
  })

  test('stand 16 deep at most', async () => {
    let below = await group('g1')
    for (let depth = 2; depth <= 16; depth += 1) below = await group(`g${depth}`, { member_group_ids: [below] })
    expect(await errorOf(node.write('identity/group', { name: 'g17', member_group_ids: [below] }))).toMatch(/at most 16 in one line/)
  })

  test('what is in the way is said', async () => {
    const put = (body: Record<string, unknown>) => errorOf(node.write('identity/group', body))
    const id = await group('g')
    await group('h')
    expect(await put({ id: 'nobody' })).toBe('invalid group ID')
    expect(await put({ id, name: 'H' })).toBe('group name is already in use')
    expect(await put({ id, type: 'external' })).toBe('group type cannot be changed')
    expect(await put({ type: 'odd' })).toBe('invalid group type "odd"')
    expect(await put({ type: 'external', member_entity_ids: [] })).toBe("member entities can't be set manually for external groups")
    expect(await put({ type: 'external', member_group_ids: [id] })).toBe("member groups can't be set for external groups")
    expect(await put({ member_entity_ids: ['nobody'] })).toBe('invalid entity ID "nobody"')
    expect(await put({ member_group_ids: ['nobody'] })).toBe('invalid group ID "nobody"')
  })

  test('external ones have an alias, which can move, and is not for internal ones', async () => {
    const accessor = await userpass()
    const staff = await group('staff', { type: 'external' })
    const internal = await group('internal')
    const put = (body: Record<string, unknown>) =>
      node.write('identity/group-alias', { name: 'cn=staff', mount_accessor: accessor, ...body })
    expect(await errorOf(put({ name: '' }))).toBe('missing alias name')
    expect(await errorOf(put({ mount_accessor: '' }))).toBe('missing mount_accessor')
    expect(await errorOf(put({ mount_accessor: 'nobody' }))).toBe('invalid mount accessor "nobody"')
    expect(await errorOf(put({ canonical_id: internal }))).toBe("alias can't be set on an internal group")
    expect(await errorOf(put({ canonical_id: 'nobody' }))).toBe("invalid group ID given in 'canonical_id'")
    const alias = await ok(put({ canonical_id: staff }))
    expect(alias).toEqual({ id: expect.any(String), canonical_id: staff })
    expect(await errorOf(put({ canonical_id: staff }))).toBe('combination of mount and group alias name is already in use')
    expect((await put({ id: alias.id })).status).toBe(204)
    expect(await errorOf(put({ id: 'nobody' }))).toBe('invalid group alias ID')
    expect((await read('staff')).alias).toMatchObject({
      id: alias.id,
      name: 'cn=staff',
      mount_type: 'userpass',
      mount_path: 'auth/userpass/',
    })
    expect(await ok(node.read(`identity/group-alias/id/${alias.id}`))).toMatchObject({ canonical_id: staff, name: 'cn=staff' })
    expect((await ok(node.list('identity/group-alias/id'))).keys).toEqual([alias.id])
    const made = await ok(put({ name: 'cn=other' }))
    expect(await ok(node.read(`identity/group/id/${made.canonical_id}`))).toMatchObject({ type: 'external' })
    expect(await ok(put({ id: alias.id, canonical_id: made.canonical_id }))).toEqual({ id: alias.id, canonical_id: made.canonical_id })
    expect((await read('staff')).alias).toEqual({})
    // The alias that stood there is gone: a group goes by one name.
    expect((await ok(node.list('identity/group-alias/id'))).keys).toEqual([alias.id])
    expect((await node.remove(`identity/group-alias/id/${alias.id}`)).status).toBe(204)
    expect((await node.list('identity/group-alias/id')).status).toBe(404)
  })
})

describe('lookups', () => {
  test('find by each way, and refuse what is ambiguous', async () => {
    const accessor = await userpass()
    const { id: aliasId, canonical_id: entityId } = await ok(node.write('identity/entity-alias', { name: 'al', mount_accessor: accessor }))
    const { name } = await ok(node.read(`identity/entity/id/${entityId}`))
    const { canonical_id: groupId, id: groupAliasId } = await ok(
      node.write('identity/group-alias', { name: 'devs', mount_accessor: accessor }),
    )
    const { name: groupName } = await ok(node.read(`identity/group/id/${groupId}`))
    const ways = (id: string, called: string, alias: string, aliasName: string) => [
      { id },
      { name: called },
      { alias_id: alias },
      { alias_name: aliasName, alias_mount_accessor: accessor },
    ]
    for (const way of ways(entityId, name, aliasId, 'AL')) expect((await ok(node.write('identity/lookup/entity', way))).id).toBe(entityId)
    for (const way of ways(groupId, groupName, groupAliasId, 'devs'))
      expect((await ok(node.write('identity/lookup/group', way))).id).toBe(groupId)
    for (const what of ['entity', 'group']) {
      const lookup = (body: Record<string, unknown>) => node.write(`identity/lookup/${what}`, body)
      for (const way of ways('nobody', 'nobody', 'nobody', 'nobody')) expect((await lookup(way)).status).toBe(204)
      expect((await lookup({ name: '' })).status).toBe(204)
      expect(await errorOf(lookup({}))).toBe('query parameter not supplied')
      expect(await errorOf(lookup({ id: 'a', name: 'b' }))).toBe('query parameter conflict; please supply distinct set of query parameters')
      expect(await errorOf(lookup({ alias_name: 'a' }))).toBe("both 'alias_name' and 'alias_mount_accessor' needs to be set")
    }
  })
})

describe('merging', () => {
  const entityWith = async (name: string, accessor: string): Promise<{ id: string; alias: string }> => {
    const { id } = await ok(node.write('identity/entity', { name, policies: [name] }))
    const alias = await ok(node.write('identity/entity-alias', { name, mount_accessor: accessor, canonical_id: id }))
    return { id, alias: alias.id }
  }

  test('moves aliases, groups and tokens; name, metadata and policies of the one that stays are its own', async () => {
    const [one, two] = [await userpass('one'), await userpass('two')]
    const [a, b] = [await entityWith('a', one), await entityWith('b', two)]
    const { id: group } = await ok(node.write('identity/group', { name: 'g', member_entity_ids: [b.id] }))
    expect((await node.write('identity/entity/merge', { to_entity_id: a.id, from_entity_ids: [b.id] })).status).toBe(204)
    expect((await node.read(`identity/entity/id/${b.id}`)).status).toBe(404)
    expect((await node.read('identity/entity/name/b')).status).toBe(404)
    const merged = await ok(node.read(`identity/entity/id/${a.id}`))
    expect(merged).toMatchObject({ name: 'a', policies: ['a'], merged_entity_ids: [b.id], direct_group_ids: [group] })
    expect(merged.aliases.map((alias: { id: string }) => alias.id).toSorted()).toEqual([a.alias, b.alias].toSorted())
    expect(merged.aliases.find((alias: { id: string }) => alias.id === b.alias).merged_from_canonical_ids).toEqual([b.id])
    expect((await ok(node.read('identity/group/name/g'))).member_entity_ids).toEqual([a.id])
    // And once more: what was merged into it goes along.
    const c = await entityWith('c', await userpass('three'))
    await ok(node.write('identity/entity/merge', { to_entity_id: c.id, from_entity_ids: [a.id] }))
    expect((await ok(node.read('identity/entity/name/c'))).merged_entity_ids).toEqual([b.id, a.id])
  })

  test('with an alias at the same mount on both sides it must be said which one stays', async () => {
    const accessor = await userpass()
    const [a, b] = [await entityWith('a', accessor), await entityWith('b', accessor)]
    const merge = (keep: string[]) =>
      node.write('identity/entity/merge', { to_entity_id: a.id, from_entity_ids: [b.id], conflicting_alias_ids_to_keep: keep })
    const refused = await merge([])
    expect(refused.status).toBe(400)
    expect(refused.body.errors[0]).toBe(
      '2 errors occurred:\n\t* toEntity and at least one fromEntity have aliases with the same mount accessor, repeat the merge request specifying exactly one fromEntity, clashes: \n' +
        `\t* mountAccessor: ${accessor}, toEntity ID: ${a.id}, fromEntity ID: ${b.id}, conflicting toEntity alias ID: ${a.alias}, conflicting fromEntity alias ID: ${b.alias}\n\n`,
    )
    expect(refused.body.data).toEqual([
      { alias: 'a', entity: 'a', entity_id: a.id, mount: 'userpass', mount_path: 'auth/userpass/' },
      { alias: 'b', entity: 'b', entity_id: b.id, mount: 'userpass', mount_path: 'auth/userpass/' },
    ])
    expect(await errorOf(merge(['other']))).toBe(
      `conflicting mount accessors in following alias IDs and neither were present in conflicting_alias_ids_to_keep: ${b.alias}, ${a.alias}`,
    )
    expect((await merge([b.alias])).status).toBe(204)
    expect((await ok(node.read('identity/entity/name/a'))).aliases.map((alias: { name: string }) => alias.name)).toEqual(['b'])
    expect((await node.read(`identity/entity-alias/id/${a.alias}`)).status).toBe(404)
    expect((await node.write('identity/lookup/entity', { alias_name: 'a', alias_mount_accessor: accessor })).status).toBe(204)
    const c = await entityWith('c', accessor)
    await ok(node.write('identity/entity/merge', { to_entity_id: a.id, from_entity_ids: [c.id], conflicting_alias_ids_to_keep: [b.alias] }))
    expect((await ok(node.read('identity/entity/name/a'))).aliases.map((alias: { name: string }) => alias.name)).toEqual(['b'])
    expect((await node.read(`identity/entity-alias/id/${c.alias}`)).status).toBe(404)
  })

  test('what is in the way is said', async () => {
    const accessor = await userpass()
    const [a, b, c] = [await entityWith('a', accessor), await entityWith('b', accessor), await entityWith('c', accessor)]
    const merge = (body: Record<string, unknown>) => errorOf(node.write('identity/entity/merge', body))
    const { id: plain } = await ok(node.write('identity/entity', { name: 'plain' }))
    expect(await merge({ from_entity_ids: [a.id] })).toBe('missing entity id to merge to')
    expect(await merge({ to_entity_id: a.id })).toBe('missing entity ids to merge from')
    expect(await merge({ to_entity_id: 'nobody', from_entity_ids: [a.id] })).toBe('entity id to merge to is invalid')
    expect(await merge({ to_entity_id: a.id, from_entity_ids: ['nobody'] })).toBe('entity id to merge from is invalid')
    expect(await merge({ to_entity_id: a.id, from_entity_ids: [a.id] })).toBe('to_entity_id should not be present in from_entity_ids')
    expect(await merge({ to_entity_id: plain, from_entity_ids: [b.id, c.id] })).toBe(
      `mount accessor ${accessor} found in multiple fromEntities, merge should be done with one fromEntity at a time`,
    )
    expect(await merge({ to_entity_id: a.id, from_entity_ids: [b.id, c.id], conflicting_alias_ids_to_keep: [a.alias, b.alias] })).toBe(
      'aliases conflicts cannot be resolved with multiple from entity ids - merge one entity at a time',
    )
  })
})

describe('every route', () => {
  test('says with ?help=1 what it does, and needs a right to it', async () => {
    for (const path of [
      'entity',
      'entity/id/x',
      'entity/merge',
      'entity-alias',
      'group',
      'group/name/x',
      'group-alias/id/x',
      'lookup/group',
    ]) {
      const help = await node.ask({ operation: 'help', path: `identity/${path}` })
      expect(help.body.help, path).toMatch(/## DESCRIPTION\n\n\S/)
    }
    const { body } = await node.write('auth/token/create', { policies: ['default'] }, rootToken)
    const token = body.auth.client_token
    for (const path of ['identity/entity/id/x', 'identity/group/id/x', 'identity/entity-alias/id/x']) {
      expect((await node.read(path, token)).status).toBe(403)
      expect((await node.write(path, {}, token)).status).toBe(403)
    }
    expect((await node.read('identity/persona')).status).toBe(404)
  })
})
