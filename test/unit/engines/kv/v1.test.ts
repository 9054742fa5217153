import { expect, test } from 'vitest'
import { kv } from '#engines/kv/index.ts'
import { EngineBench } from '#test/support/engine-bench.ts'

test('what is written is read, with the default lease of 768 h and not renewable', async () => {
  const bench = new EngineBench(kv)
  const secret = { user: 'app', nested: { a: [1, null] }, path: '/of/its/own', limit: 'none', after: {} }
  expect(await bench.call('update', 'a/b', { body: secret })).toBeNull()
  expect(await bench.call('read', 'a/b')).toEqual({ data: secret, renewable: false, leaseSeconds: 2_764_800 })
})

test.each([
  ['30m', 1_800],
  [90, 90],
  ['90', 90],
  ['not a duration', 2_764_800],
  [{}, 2_764_800],
])('a ttl of %j becomes a lease_duration of %d', async (ttl, seconds) => {
  const bench = new EngineBench(kv, { version: '1' })
  await bench.call('update', 'a', { body: { ttl } })
  expect((await bench.call('read', 'a'))?.leaseSeconds).toBe(seconds)
})

test('lists, pages, scans and deletes', async () => {
  const bench = new EngineBench(kv)
  for (const path of ['b', 'a/x', 'a', 'a/y/z']) await bench.call('update', path, { body: { k: 'v' } })
  expect(await bench.data('list', '')).toEqual({ keys: ['a', 'a/', 'b'] })
  expect(await bench.data('list', '', { query: { after: 'a', limit: '1' } })).toEqual({ keys: ['a/'] })
  expect(await bench.data('list', 'a/')).toEqual({ keys: ['x', 'y/'] })
  expect(await bench.call('list', 'none/')).toBeNull()
  expect(await bench.data('scan', '')).toEqual({ keys: ['a', 'a/x', 'a/y/z', 'b'] })
  expect(await bench.data('scan', 'a/', { query: { limit: '1' } })).toEqual({ keys: ['x'] })
  await bench.call('delete', 'a')
  expect(await bench.call('read', 'a')).toBeNull()
  expect(await bench.call('read', 'a/x')).not.toBeNull()
})

test('an empty body and an empty path are refused in the words that clients know', async () => {
  const bench = new EngineBench(kv)
  await expect(bench.call('update', 'a')).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST', message: 'missing data fields' })
  await expect(bench.call('update', '', { body: { a: 1 } })).rejects.toMatchObject({ message: 'missing path' })
})

test('a mount tuned from version 1 to 2 keeps its secrets, as keys with one version; the way back is refused', async () => {
  const one = new EngineBench(kv, { version: '1' })
  await one.call('update', 'a', { body: { k: 'old' } })
  const two = new EngineBench(kv, { version: '2' })
  for (const [path, value] of one.storage.values) two.storage.put(path, value)
  expect(await two.data('read', 'data/a')).toMatchObject({ data: { k: 'old' }, metadata: { version: 1 } })
  expect(await two.data('list', 'metadata/')).toEqual({ keys: ['a'] })
  await two.call('update', 'data/a', { body: { data: { k: 'new' }, options: { cas: 1 } } })
  expect(await two.data('read', 'data/a', { query: { version: '1' } })).toMatchObject({ data: { k: 'old' } })
  for (const [path, value] of two.storage.values) one.storage.put(path, value)
  await expect(one.call('read', 'a')).rejects.toMatchObject({ message: 'cannot downgrade mount from version "2"' })
})

test('the option version is 1 or 2', () => {
  expect(() => kv.checkOptions?.({ version: '3' })).toThrow('option version expected "1" or "2", got "3"')
  expect(() => kv.checkOptions?.({ version: '2' })).not.toThrow()
  expect(() => kv.checkOptions?.(null)).not.toThrow()
})
