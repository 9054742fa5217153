import { createPolicyStore } from '#policies/store.ts'
import { isAssignablePolicy, sanitizePolicyNames } from '#policies/names.ts'
import type { CompiledAcl } from '#policies/types.ts'
import { MemoryBarrier } from '#test/support/memory-barrier.ts'
import { describe, expect, test } from 'vitest'

const stale = { kind: 'stale' } as const

function setUp() {
  const barrier = new MemoryBarrier()
  const store = createPolicyStore()
  return {
    barrier,
    store,
    put: (name: string, text: string, options = {}) => barrier.transact((transaction) => store.put(transaction, name, text, options)),
    get: (name: string) => barrier.read(stale, (view) => store.get(view, name)),
    tidy: () => barrier.transact((transaction) => store.tidyStep(transaction)),
    stored: () => [...barrier.state.keys()].filter((key) => key.includes('sys/policy')).length,
    list: (options = {}) => barrier.read(stale, (view) => store.list(view, options)),
    remove: (name: string) => barrier.transact((transaction) => store.delete(transaction, name)),
    compile: (...names: string[]) => barrier.read(stale, (view) => store.compile(view, names)),
  }
}

const reads = (acl: CompiledAcl, path: string): boolean =>
  acl.decide({ path, operation: 'read', needsSudo: false, body: {}, query: {}, wrapTtlSeconds: 0, nowMs: 0 }).allowed

const readRule = (path: string): string => `path "${path}" { capabilities = ["read"] }`

describe('records', () => {
  test('names are lower-case, versions count, text comes back as written', async () => {
    const { put, get } = setUp()
    expect(await put('App', readRule('a'))).toMatchObject({ name: 'app', version: 1 })
    expect(await put('aPP', readRule('b'))).toMatchObject({ name: 'app', version: 2 })
    expect(await get('APP')).toMatchObject({ name: 'app', text: readRule('b'), version: 2, casRequired: false, expirationMs: null })
    expect(await get('none')).toBeNull()
  })

  test('a text that does not parse is not written', async () => {
    const { put, get } = setUp()
    await expect(put('a', 'path "a" { capabilities = ["reed"] }')).rejects.toThrow('failed to parse policy: line 1')
    expect(await get('a')).toBeNull()
  })

  test("root and response-wrapping are nobody's to change, in any spelling", async () => {
    const { put, remove } = setUp()
    for (const name of ['root', 'ROOT', 'response-wrapping']) {
      await expect(put(name, '')).rejects.toThrow(`cannot update "${name.toLowerCase()}" policy`)
      await expect(remove(name)).rejects.toThrow(`cannot delete "${name.toLowerCase()}" policy`)
    }
    await expect(remove('Default')).rejects.toThrow('cannot delete default policy')
  })

  test('default is there without being written, and can be written', async () => {
    const { put, get } = setUp()
    expect((await get('default'))?.text).toContain('lookup-self')
    await put('default', readRule('mine'))
    expect((await get('default'))?.text).toBe(readRule('mine'))
  })

  test('the list: in order, root last, without response-wrapping, by pages', async () => {
    const { put, list, remove } = setUp()
    for (const name of ['b', 'team/a', 'a', '..', '50%']) await put(name, '')
    const all = ['..', '50%', 'a', 'b', 'default', 'team/a', 'root']
    expect(await list()).toEqual(all)
    expect(await list({ limit: 2 })).toEqual(['..', '50%'])
    expect(await list({ after: 'a', limit: 2 })).toEqual(['b', 'default'])
    expect(await list({ after: 'default' })).toEqual(['team/a', 'root'])
    expect(await list({ after: 'team/a' })).toEqual(['root'])
    expect(await list({ after: 'root' })).toEqual([])
    await remove('..')
    await remove('never')
    expect(await list()).toEqual(all.slice(1))
  })

  test.each(['', 'a\nb', '\u0000', 'x'.repeat(1_025), '\ud800'])('the name %j is refused', async (name) => {
    const { put, get } = setUp()
    await expect(put(name, '')).rejects.toThrow('policy name expected')
    expect(await get(name)).toBeNull()
  })

  test('check-and-set', async () => {
    const { put } = setUp()
    await expect(put('a', '', { cas: 1 })).rejects.toThrow('check-and-set parameter did not match the current version')
    await put('a', '', { cas: -1, casRequired: true })
    await expect(put('a', '', { cas: -1 })).rejects.toThrow('check-and-set parameter set to -1 on existing entry')
    await expect(put('a', '')).rejects.toThrow('check-and-set parameter required for this call')
    expect(await put('a', '', { cas: 1 })).toMatchObject({ version: 2, casRequired: true })
  })

  test('an expired policy does not exist', async () => {
    const { barrier, put, get, compile } = setUp()
    await put('a', readRule('a'), { expirationMs: barrier.nowMs + 1_000 })
    expect(reads(await compile('a'), 'a')).toBe(true)
    barrier.nowMs += 1_000
    expect(await get('a')).toBeNull()
    expect(reads(await compile('a'), 'a')).toBe(false)
  })

  test('an expired policy is deleted within a minute, with its entry of what is due', async () => {
    const { barrier, put, list, tidy, stored } = setUp()
    const end = (minutes: number) => ({ expirationMs: barrier.nowMs + minutes * 60_000 })
    await put('soon/a', readRule('a'), end(1))
    await put('soon/b', readRule('b'), end(1))
    await put('late', readRule('c'), { expirationMs: Date.UTC(9_999, 11, 31) })
    await put('always', readRule('d'))
    expect([await tidy(), stored()]).toEqual([false, 7])
    barrier.nowMs += 120_000
    expect([await tidy(), stored()]).toEqual([true, 3])
    expect(await tidy()).toBe(false)
    expect(await list()).toEqual(['always', 'default', 'late', 'root'])
  })

  test('what was written anew, or deleted, does not fall due by its old end', async () => {
    const { barrier, put, get, remove, tidy, stored } = setUp()
    const soon = { expirationMs: barrier.nowMs + 1_000 }
    for (const name of ['longer', 'without end', 'deleted', 'again']) await put(name, readRule('a'), soon)
    await put('longer', readRule('b'), { expirationMs: barrier.nowMs + 600_000 })
    await put('without end', readRule('b'))
    await remove('deleted')
    barrier.nowMs += 2_000
    await put('again', readRule('b'))
    expect(await get('again')).toMatchObject({ version: 1 })
    expect(stored()).toBe(4)
    barrier.nowMs += 120_000
    expect(await tidy()).toBe(false)
    for (const name of ['longer', 'without end', 'again']) expect(await get(name), name).not.toBeNull()
    barrier.nowMs += 600_000
    expect([await tidy(), await get('longer'), stored()]).toEqual([true, null, 2])
  })
})

describe('compile', () => {
  test('sees every change at once, and compiles the unchanged once', async () => {
    const { put, remove, compile } = setUp()
    await put('a', readRule('x'))
    const first = await compile('a', 'missing')
    expect(reads(first, 'x')).toBe(true)
    expect(await compile('a', 'missing')).toBe(first)
    expect(await compile('A', 'a')).toBe(first)
    await put('a', readRule('y'))
    const second = await compile('a')
    expect([reads(second, 'x'), reads(second, 'y')]).toEqual([false, true])
    await remove('a')
    expect(reads(await compile('a'), 'y')).toBe(false)
  })

  test('a policy of the same text under another name is another policy', async () => {
    const { put, compile } = setUp()
    await put('a', readRule('x'))
    await put('b', readRule('x'))
    const decide = async (name: string) =>
      (await compile(name)).decide({ path: 'x', operation: 'read', needsSudo: false, body: {}, query: {}, wrapTtlSeconds: 0, nowMs: 0 })
        .rule
    expect([await decide('a'), await decide('b')]).toEqual([
      { pattern: 'x', policies: ['a'] },
      { pattern: 'x', policies: ['b'] },
    ])
  })

  test('root alone is root; beside others it is refused (CVE-2025-5999)', async () => {
    const { compile } = setUp()
    expect((await compile('root')).capabilities('x', { nowMs: 0 })).toEqual(['root'])
    await expect(compile('ROOT', 'default')).rejects.toThrow('permission denied')
  })

  test('a stored policy that no longer parses fails closed', async () => {
    const { barrier, put, compile } = setUp()
    await put('a', readRule('x'))
    const key = [...barrier.state.keys()].find((name) => name.endsWith('a'))!
    barrier.state.set(key, Buffer.from(JSON.stringify({ format: 1, text: 'path "*" { caps = [] }', expirationMs: null })))
    await expect(compile('a')).rejects.toThrow('failed to parse policy')
  })

  test('a record of another version is refused', async () => {
    const { barrier, put, get, compile } = setUp()
    await put('a', readRule('x'))
    const key = [...barrier.state.keys()].find((name) => name.endsWith('a'))!
    barrier.state.set(key, Buffer.from(JSON.stringify({ format: 2 })))
    await expect(get('a')).rejects.toThrow('policy record: expected version 1, got 2')
    await expect(compile('a')).rejects.toThrow('policy record: expected version 1, got 2')
  })

  test('paths of a namespace begin with its own', async () => {
    const { barrier, store } = setUp()
    await barrier.transact((transaction) => store.put(transaction, 'a', `${readRule('x')} ${readRule('y/*')}`, {}, 'ns-1'))
    const of = (namespacePath: string) =>
      barrier.read(stale, (view) => store.compileFor(view, { policies: ['a'], entityId: '', namespaceId: 'ns-1', namespacePath }))
    const acl = await of('team/')
    expect([reads(acl, 'team/x'), reads(acl, 'team/y/z'), reads(acl, 'x'), reads(acl, 'y/z')]).toEqual([true, true, false, false])
    expect(reads(await of('other/'), 'team/x')).toBe(false)
    expect(await of('team/')).toBe(acl)
  })

  test('nothing opened stays when the barrier seals', async () => {
    const { put, compile, store } = setUp()
    await put('a', readRule('x'))
    const first = await compile('a')
    store.onSealed()
    const second = await compile('a')
    expect([second === first, reads(second, 'x')]).toEqual([false, true])
  })

  test('is bounded in names', async () => {
    const { compile } = setUp()
    await expect(compile(...Array.from({ length: 257 }, (_, i) => `p${i}`))).rejects.toThrow('permission denied')
  })
})

test('names on tokens', () => {
  expect(sanitizePolicyNames([' B', 'a', 'b', ''], true)).toEqual(['a', 'b', 'default'])
  expect(sanitizePolicyNames(['a', 'Root '], true)).toEqual(['root'])
  expect(sanitizePolicyNames([], false)).toEqual([])
  expect([isAssignablePolicy('a'), isAssignablePolicy('Response-Wrapping')]).toEqual([true, false])
})
