import { beforeEach, expect, test } from 'vitest'
import { kv } from '#engines/kv/index.ts'
import { EngineBench } from '#test/support/engine-bench.ts'

let bench: EngineBench
beforeEach(() => {
  bench = new EngineBench(kv, { version: '2' })
})

const put = (path: string, data: object, options?: object) =>
  bench.call('update', `data/${path}`, { body: options === undefined ? { data } : { data, options } })
const get = (path: string, version?: number) =>
  bench.call('read', `data/${path}`, version === undefined ? {} : { query: { version: String(version) } })
const big = { blob: 'x'.repeat(5_000) }

test('a write answers its version and a read answers data and metadata', async () => {
  const version = { version: 1, created_time: '2026-08-01T10:00:00Z', deletion_time: '', destroyed: false, custom_metadata: null }
  expect(await put('a/b', { k: 'v' })).toEqual({ data: version })
  expect(await get('a/b')).toEqual({ data: { data: { k: 'v' }, metadata: version } })
  expect(await get('a/b', 2)).toBeNull()
  expect(await get('none')).toBeNull()
  bench.nowMs += 120
  expect(await put('a/b', {})).toMatchObject({ data: { version: 2, created_time: '2026-08-01T10:00:00.12Z' } })
})

test('the newest small secret costs one get to read and one put to write first', async () => {
  await put('a', { k: 'v' })
  expect(bench.storage.puts).toBe(1)
  bench.storage.gets = 0
  await get('a')
  expect(bench.storage.gets).toBe(1)
  await put('a', big)
  bench.storage.gets = 0
  expect(await get('a')).toMatchObject({ data: { data: big } })
  expect(bench.storage.gets).toBe(2)
  expect(await get('a', 1)).toMatchObject({ data: { data: { k: 'v' } } })
})

test('check-and-set: the words and the cases', async () => {
  const mismatch = { code: 'ERR_CAS_MISMATCH', message: 'check-and-set parameter did not match the current version' }
  await expect(put('a', {}, { cas: 1 })).rejects.toMatchObject(mismatch)
  await put('a', { n: 1 }, { cas: 0 })
  await expect(put('a', {}, { cas: 0 })).rejects.toMatchObject(mismatch)
  await put('a', { n: 2 }, { cas: '1' })
  await bench.call('delete', 'data/a')
  await expect(put('a', {}, { cas: 0 })).rejects.toMatchObject(mismatch)
  await expect(put('a', {}, { cas: -1 })).rejects.toMatchObject(mismatch)
  await put('a', { n: 3 }, { cas: 2 })
  await expect(put('a', {}, { cas: 'x' })).rejects.toMatchObject({ message: 'error parsing check-and-set parameter' })
  const required = { code: 'ERR_CAS_REQUIRED', message: 'check-and-set parameter required for this call' }
  await bench.call('update', 'metadata/a', { body: { cas_required: true } })
  await expect(put('a', {})).rejects.toMatchObject(required)
  await bench.call('update', 'config', { body: { cas_required: true } })
  await expect(put('other', {})).rejects.toMatchObject(required)
  await expect(bench.call('patch', 'data/a', { body: { data: {} } })).rejects.toMatchObject(required)
})

test.each([[{}], [{ data: null }]])('a write of %j has no data', async (body) => {
  await expect(bench.call('update', 'data/a', { body })).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST', message: 'no data provided' })
})

test('a deleted version answers 404 with its metadata at once, and comes back', async () => {
  await put('a', { k: 'v' })
  expect(await bench.call('delete', 'data/a')).toBeNull()
  const gone = { status: 404, data: { data: null, metadata: { deletion_time: '2026-08-01T10:00:00Z', destroyed: false, version: 1 } } }
  expect(await get('a')).toMatchObject(gone)
  expect(await bench.call('delete', 'data/none')).toBeNull()
  await bench.call('update', 'undelete/a', { body: { versions: [1] } })
  expect(await get('a')).toMatchObject({ data: { data: { k: 'v' }, metadata: { deletion_time: '' } } })
})

test('destroy removes the data wherever it lies and keeps the entry', async () => {
  await put('a', { n: 1 })
  await put('a', big)
  await put('a', { mark: 'secret-mark' })
  await bench.call('update', 'destroy/a', { body: { versions: '2,3,9' } })
  expect(await get('a')).toMatchObject({ status: 404, data: { data: null, metadata: { destroyed: true, deletion_time: '' } } })
  await bench.call('update', 'undelete/a', { body: { versions: [3] } })
  expect(await get('a')).toMatchObject({ status: 404 })
  expect([...bench.storage.values.keys()]).toEqual(['m/a', 'v/a/1'])
  expect([...bench.storage.values.values()].some((value) => Buffer.from(value).includes('secret-mark'))).toBe(false)
})

test('the routes for versions want version numbers, each in its own words', async () => {
  await expect(bench.call('update', 'delete/a')).rejects.toMatchObject({ message: 'No version number provided' })
  await expect(bench.call('update', 'undelete/a', { body: { versions: [] } })).rejects.toMatchObject({
    message: 'No version number provided',
  })
  await expect(bench.call('update', 'destroy/a')).rejects.toMatchObject({ message: 'no version number provided' })
  await expect(bench.call('update', 'destroy/a', { body: { versions: ['x'] } })).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST' })
  expect(await bench.call('update', 'delete/none', { body: { versions: 1 } })).toBeNull()
})

test('patch merges, removes by null, makes a version; 404 for what is not there', async () => {
  await expect(bench.call('patch', 'data/a', { body: { data: {} } })).rejects.toMatchObject({ code: 'ERR_NOT_FOUND', errors: [] })
  await put('a', { keep: 1, gone: 2, deep: { x: 1, y: 2 } })
  const patch = { data: JSON.parse('{"gone":null,"deep":{"x":null,"z":3},"__proto__":{"polluted":true}}'), options: { cas: 1 } }
  expect(await bench.call('patch', 'data/a', { body: patch })).toMatchObject({ data: { version: 2 } })
  const read = await get('a')
  expect(JSON.stringify(read?.data?.['data'])).toBe('{"keep":1,"deep":{"y":2,"z":3},"__proto__":{"polluted":true}}')
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  await expect(bench.call('patch', 'data/a', { body: {} })).rejects.toMatchObject({ message: 'no data provided' })
  await bench.call('delete', 'data/a')
  expect(await bench.call('patch', 'data/a', { body: { data: {} } })).toMatchObject({ status: 404, data: { version: 2 } })
})

test('max_versions: ten by default, the larger of key and mount; old data leaves the store', async () => {
  for (let n = 1; n <= 12; n++) await put('a', { n })
  expect(await bench.data('read', 'metadata/a')).toMatchObject({ current_version: 12, oldest_version: 3 })
  expect(await get('a', 2)).toBeNull()
  expect(await get('a', 3)).toMatchObject({ data: { data: { n: 3 } } })
  await bench.call('update', 'metadata/a', { body: { max_versions: 2 } })
  await put('a', { n: 13 })
  expect(Object.keys((await bench.data('read', 'metadata/a'))['versions'] as object)).toEqual(['12', '13'])
  expect([...bench.storage.values.keys()].toSorted()).toEqual(['m/a', 'v/a/12'])
  await bench.call('update', 'config', { body: { max_versions: 3 } })
  await put('a', { n: 14 })
  expect(await get('a', 12)).not.toBeNull()
  await expect(bench.call('update', 'config', { body: { max_versions: 8_193 } })).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST' })
})

test('delete_version_after: the smaller of key and mount, by the clock; negative on the mount switches it off', async () => {
  await bench.call('update', 'config', { body: { delete_version_after: '1h' } })
  await bench.call('update', 'metadata/a', { body: { delete_version_after: '10s' } })
  expect(await put('a', { k: 1 })).toMatchObject({ data: { deletion_time: '2026-08-01T10:00:10Z' } })
  expect(await put('b', { k: 1 })).toMatchObject({ data: { deletion_time: '2026-08-01T11:00:00Z' } })
  bench.nowMs += 9_999
  expect((await get('a'))?.status).toBeUndefined()
  bench.nowMs += 1
  expect((await get('a'))?.status).toBe(404)
  await bench.call('update', 'undelete/a', { body: { versions: [1] } })
  expect(await get('a')).toMatchObject({ data: { metadata: { deletion_time: '2026-08-01T10:00:20Z' } } })
  await bench.call('update', 'config', { body: { delete_version_after: '-5s' } })
  expect(await bench.data('read', 'config')).toMatchObject({ delete_version_after: '-1s' })
  expect(await put('a', {})).toMatchObject({ data: { deletion_time: '' } })
  await expect(bench.call('update', 'metadata/a', { body: { delete_version_after: '-1s' } })).rejects.toMatchObject({
    code: 'ERR_BAD_REQUEST',
  })
})

test('metadata: defaults, custom_metadata, patch with null, current_metadata_version', async () => {
  await put('a', {})
  expect(await bench.data('read', 'metadata/a')).toEqual({
    cas_required: false,
    created_time: '2026-08-01T10:00:00Z',
    current_metadata_version: 0,
    current_version: 1,
    custom_metadata: null,
    delete_version_after: '0s',
    max_versions: 0,
    metadata_cas_required: false,
    oldest_version: 0,
    updated_time: '2026-08-01T10:00:00Z',
    versions: { 1: { created_time: '2026-08-01T10:00:00Z', deletion_time: '', destroyed: false } },
  })
  await bench.call('update', 'metadata/a', { body: { custom_metadata: { owner: 'me', n: 5, yes: true }, max_versions: 4 } })
  expect(await get('a')).toMatchObject({ data: { metadata: { custom_metadata: { owner: 'me', n: '5', yes: '1' } } } })
  await bench.call('patch', 'metadata/a', { body: { custom_metadata: { n: null, more: 'x' }, max_versions: null } })
  expect(await bench.data('read', 'metadata/a')).toMatchObject({
    custom_metadata: { owner: 'me', yes: '1', more: 'x' },
    max_versions: 0,
    current_metadata_version: 2,
    current_version: 1,
  })
  await bench.call('patch', 'metadata/a', { body: { custom_metadata: null } })
  expect(await bench.data('read', 'metadata/a')).toMatchObject({ custom_metadata: null })
  await expect(bench.call('patch', 'metadata/none', { body: { max_versions: 1 } })).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' })
  expect(await get('a')).toMatchObject({ data: { data: {} } })
})

test('metadata check-and-set', async () => {
  const write = (body: Record<string, unknown>) => bench.call('update', 'metadata/a', { body })
  await expect(write({ max_versions: 1, metadata_cas: 3 })).rejects.toMatchObject({
    message: 'metadata_cas must be 0 when creating new metadata',
  })
  await write({ max_versions: 1, metadata_cas: 0, metadata_cas_required: true })
  await expect(write({ max_versions: 2 })).rejects.toMatchObject({ message: 'metadata check-and-set parameter required for this call' })
  await expect(write({ max_versions: 2, metadata_cas: 0 })).rejects.toMatchObject({ code: 'ERR_CAS_MISMATCH' })
  await write({ max_versions: 2, metadata_cas: 1 })
  expect(await bench.data('read', 'metadata/a')).toMatchObject({ current_metadata_version: 2, current_version: 0, versions: {} })
})

test('custom_metadata names every fault in one text', async () => {
  const write = (custom: object) => bench.call('update', 'metadata/a', { body: { custom_metadata: custom } })
  await expect(write({ a: '' })).rejects.toMatchObject({
    message:
      '1 error occurred:\n\t* custom_metadata validation failed: length of value for key "a" is 0 but must be 0 < len(value) <= 512\n\n',
  })
  await expect(write({ a: '', b: 'tab\there' })).rejects.toThrow(/^2 errors occurred:\n/)
  await expect(write({ ['k'.repeat(129)]: 'v' })).rejects.toThrow('is 129 but must be 0 < len(key) <= 128')
  await expect(write(Object.fromEntries(Array.from({ length: 65 }, (_, n) => [n, 'v'])))).rejects.toThrow('at most 64 keys, provided 65')
  await expect(write({ a: {} })).rejects.toThrow('expected a string for key "a"')
})

test('a warning when the mount overrules the key', async () => {
  await bench.call('update', 'config', { body: { cas_required: true } })
  expect(await bench.call('update', 'metadata/a', { body: { cas_required: false } })).toEqual({
    warnings: ['"cas_required" set to false, but is mandated by backend config. This value will be ignored.'],
  })
})

test('metadata lists, scans and details; deleting it removes every version', async () => {
  await put('x/a', { n: 1 })
  await put('x/a', big)
  await put('x/b/c', {})
  expect(await bench.data('list', 'metadata')).toEqual({ keys: ['x/'] })
  expect(await bench.data('list', 'metadata/x/', { query: { limit: '1', after: 'a' } })).toEqual({ keys: ['b/'] })
  expect(await bench.data('list', 'metadata/x/', { query: { limit: 'max' } })).toEqual({ keys: ['a', 'b/'] })
  expect(await bench.data('scan', 'metadata/x/')).toEqual({ keys: ['a', 'b/c'] })
  expect(await bench.data('list', 'detailed-metadata/x/')).toMatchObject({
    keys: ['a', 'b/'],
    key_info: { a: { current_version: 2 }, 'b/': {} },
  })
  expect(await bench.call('list', 'metadata/none/')).toBeNull()
  await bench.call('delete', 'metadata/x/a')
  expect([...bench.storage.values.keys()]).toEqual(['m/x/b/c'])
  expect(await bench.call('delete', 'metadata/x/a')).toBeNull()
})

test('subkeys show structure without values, to a depth', async () => {
  await put('a', { s: 'secret', deep: { er: { est: 'secret' }, list: ['secret'] }, empty: {} })
  expect(await bench.data('read', 'subkeys/a')).toMatchObject({
    subkeys: { s: null, deep: { er: { est: null }, list: null }, empty: null },
    metadata: { version: 1 },
  })
  const shallow = await bench.data('read', 'subkeys/a', { query: { depth: '1' } })
  expect(shallow['subkeys']).toEqual({ s: null, deep: null, empty: null })
  const two = await bench.data('read', 'subkeys/a', { query: { depth: '2' } })
  expect(two['subkeys']).toEqual({ s: null, deep: { er: null, list: null }, empty: null })
})

test('keys called like versions, like folders and like properties do not meet', async () => {
  await put('a', { n: 1 })
  await put('a', { n: 2 })
  await put('a/1', { other: true })
  await put('a/1', { other: 2 })
  await put('__proto__', { k: 1 })
  expect(await get('a', 1)).toMatchObject({ data: { data: { n: 1 } } })
  expect(await get('a/1', 1)).toMatchObject({ data: { data: { other: true } } })
  expect(await get('__proto__')).toMatchObject({ data: { data: { k: 1 } } })
})
