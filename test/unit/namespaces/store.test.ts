import { beforeEach, describe, expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import { checkNamespaceMetadata, checkNamespaceName, namespaceLimits, namespaceSegments } from '#namespaces/names.ts'
import { decodeNamespace, encodeNamespace, namespaceName, rootNamespace, type Namespace } from '#namespaces/record.ts'
import { createNamespaceStore, type NamespaceStore } from '#namespaces/store.ts'
import { MemoryBarrier } from '#test/support/memory-barrier.ts'

let barrier: MemoryBarrier
let store: NamespaceStore

beforeEach(() => {
  barrier = new MemoryBarrier()
  store = createNamespaceStore({ random: systemRandom })
})

const create = (parent: Namespace, name: string, metadata: Record<string, unknown> = {}): Promise<Namespace> =>
  barrier.transact((transaction) => store.create(transaction, parent, name, metadata))
const walk = (path: string) => barrier.read(null, (view) => store.walk(view, [rootNamespace], path))

describe('names', () => {
  test.each(['team', 'a', 'Team-1_x.y~z@2', 'größe', '東京', '...'])('%j may be one', (name) => {
    expect(checkNamespaceName(name)).toBe(name)
  })

  test.each([
    '',
    '.',
    '..',
    'root',
    'ROOT',
    'sys',
    'auth',
    'audit',
    'identity',
    'cubbyhole',
    'api-lock',
    'seal',
    'unseal',
    'seal-status',
    'delete-sealed',
    '+',
    '*',
    'a*',
    '+a',
    'a+b',
    '{{a}}',
    'a b',
    'a/b',
    '-a',
    'a\u0000',
    'a\u200b',
    'e\u0301',
    '%2e',
    'x'.repeat(129),
  ])('%j may not', (name) => {
    expect(() => checkNamespaceName(name)).toThrow(expect.objectContaining({ code: 'ERR_BAD_REQUEST' }))
  })

  test('slashes at the ends of a path do not count', () => {
    expect(['', '/', 'a', '/a/', 'a/b/'].map(namespaceSegments)).toEqual([[], [], ['a'], ['a'], ['a', 'b']])
  })

  test('metadata is pairs of text, within bounds', () => {
    expect(checkNamespaceMetadata({ a: 'b' })).toEqual({ a: 'b' })
    const many = Object.fromEntries(Array.from({ length: namespaceLimits.metadataPairsMax + 1 }, (_, at) => [`k${at}`, '']))
    for (const bad of [{ a: 1 }, { a: null }, { '': 'a' }, { a: 'x'.repeat(513) }, { ['k'.repeat(129)]: '' }, many]) {
      expect(() => checkNamespaceMetadata(bad)).toThrow(expect.objectContaining({ code: 'ERR_BAD_REQUEST' }))
    }
  })
})

describe('records', () => {
  test('carry a version', async () => {
    const made = await create(rootNamespace, 'team')
    const bytes = encodeNamespace(made)
    expect(bytes[0]).toBe(1)
    expect(decodeNamespace(bytes)).toEqual(made)
    expect(() => decodeNamespace(Uint8Array.of(2, ...bytes.subarray(1)))).toThrow(expect.objectContaining({ code: 'ERR_UPGRADE_REQUIRED' }))
    for (const broken of [new Uint8Array(), Uint8Array.of(0), Uint8Array.of(1, 0x7b)]) {
      expect(() => decodeNamespace(broken)).toThrow(expect.objectContaining({ code: 'ERR_STORE_CORRUPT' }))
    }
  })

  test('know their name', async () => {
    const team = await create(rootNamespace, 'team')
    expect([rootNamespace, team, await create(team, 'app')].map(namespaceName)).toEqual(['', 'team', 'app'])
  })
})

describe('a walk', () => {
  test('leads as far as there are namespaces', async () => {
    const team = await create(rootNamespace, 'team')
    const app = await create(team, 'app')
    expect(await walk('')).toEqual({ line: [rootNamespace], rest: '' })
    expect(await walk('team/app')).toEqual({ line: [rootNamespace, team, app], rest: '' })
    expect(await walk('team/nobody/app')).toEqual({ line: [rootNamespace, team], rest: 'nobody/app' })
    expect(await walk('app')).toEqual({ line: [rootNamespace], rest: 'app' })
    expect(await walk('team/../app')).toEqual({ line: [rootNamespace, team], rest: '../app' })
  })

  test('reads one record a level, and parses each once', async () => {
    let parent: Namespace = rootNamespace
    for (let depth = 0; depth < namespaceLimits.depthMax; depth += 1) parent = await create(parent, `n${depth}`)
    await barrier.read(null, async (view) => {
      let reads = 0
      const counted = { ...view, get: async (...args: Parameters<typeof view.get>) => ((reads += 1), await view.get(...args)) }
      const first = await store.walk(counted, [rootNamespace], parent.path)
      expect([first.rest, reads]).toEqual(['', namespaceLimits.depthMax])
      expect((await store.walk(view, [rootNamespace], parent.path)).line.at(-1)).toBe(first.line.at(-1))
    })
    await expect(create(parent, 'deeper')).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST' })
  })

  test('sees a change at once, and passes over what is being deleted', async () => {
    const team = await create(rootNamespace, 'team')
    await walk('team')
    await barrier.transact(async (transaction) => void store.setMetadata(transaction, team, { a: 'b' }))
    expect((await walk('team')).line.at(-1)!.customMetadata).toEqual({ a: 'b' })
    await barrier.transact((transaction) => store.beginDelete(transaction, team))
    expect((await walk('team')).rest).toBe('team')
    expect(await barrier.read(null, (view) => store.byPath(view, 'team'))).toMatchObject({ id: team.id, state: 'deleting' })
  })
})

describe('deleting', () => {
  test('is refused with children, and takes the record, its id and the count away in the end', async () => {
    const team = await create(rootNamespace, 'team')
    const app = await create(team, 'app')
    await expect(barrier.transact((transaction) => store.beginDelete(transaction, team))).rejects.toMatchObject({
      code: 'ERR_NAMESPACE_NOT_EMPTY',
    })
    for (const one of [app, team]) {
      await barrier.transact(async (transaction) => {
        await store.beginDelete(transaction, one)
        expect((await store.nextDeleting(transaction))?.id).toBe(one.id)
        await expect(store.create(transaction, { ...rootNamespace, id: one.parentId! }, namespaceName(one), {})).rejects.toMatchObject({
          code: 'ERR_NAMESPACE_DELETING',
        })
        await store.remove(transaction, one)
      })
    }
    await barrier.read(null, async (view) => {
      expect([await store.count(view), await store.ids(view), await store.byId(view, team.id)]).toEqual([0, [], null])
    })
    await expect(barrier.transact((transaction) => store.beginDelete(transaction, rootNamespace))).rejects.toMatchObject({
      code: 'ERR_BAD_REQUEST',
    })
  })
})

describe('a lock', () => {
  test('opens with its key, kept as a hash only', async () => {
    const team = await create(rootNamespace, 'team')
    const key = await barrier.transact((transaction) => store.lock(transaction, team))
    const locked = (await walk('team')).line.at(-1)!
    expect(locked.lock).toMatch(/^[0-9a-f]{64}$/)
    expect([...barrier.state.values()].some((value) => Buffer.from(value).includes(key))).toBe(false)
    const unlock = (with_: string | null) => barrier.transact(async (transaction) => store.unlock(transaction, locked, with_))
    await expect(unlock('another')).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST' })
    await unlock(key)
    expect((await walk('team')).line.at(-1)!.lock).toBe(null)
    await expect(barrier.transact((transaction) => store.lock(transaction, rootNamespace))).rejects.toMatchObject({
      code: 'ERR_BAD_REQUEST',
    })
  })
})
