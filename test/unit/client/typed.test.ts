/** What stands on the client: typed secrets, wrapping, other names over the same connections, the environment. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { Client } from '#client/client.ts'
import { optionsFromEnvironment } from '#client/environment.ts'
import { Kv } from '#client/kv.ts'
import { restoreSnapshot, saveSnapshot, verifySnapshot } from '#client/snapshots.ts'
import type { ClientOptions } from '#client/types.ts'
import { lookupWrapped, rewrap, unwrap, wrap } from '#client/wrapping.ts'
import { StubServer, type Asked, type Reply } from '#test/support/stub-server.ts'

const clientOf = (options: ClientOptions) => new Client({ timeoutMs: 5_000, ...options }, { clock: systemClock, random: systemRandom })

describe('with', () => {
  test('asks in another name over the same connections; closing it closes nothing', async () => {
    await using stub = await StubServer.start(() => ({ json: { data: {} } }))
    await using client = clientOf({ addresses: [stub.address], token: 's.one', namespace: 'team' })
    let token = 's.two'
    const other = client.with({ token: () => token, namespace: '' })
    await other.read('a')
    expect(stub.last.headers).toMatchObject({ 'x-vault-token': 's.two' })
    expect(stub.last.headers['x-vault-namespace']).toBeUndefined()
    token = 's.three'
    await other.read('a')
    expect(stub.last.headers['x-vault-token']).toBe('s.three')
    await other.close()
    await client.read('a')
    expect(stub.last.headers).toMatchObject({ 'x-vault-token': 's.one', 'x-vault-namespace': 'team' })
  })
})

const metadata = { version: 2, created_time: '2026-08-01T10:00:00Z', deletion_time: '', destroyed: false, custom_metadata: null }

async function kvAgainst(replies: (asked: Asked, count: number) => Reply, work: (kv: Kv) => Promise<void>): Promise<readonly Asked[]> {
  await using stub = await StubServer.start(replies)
  await using client = clientOf({ addresses: [stub.address], token: 's.t' })
  await work(new Kv(client, '/secret/'))
  return stub.asked
}

describe('Kv', () => {
  test('reads a version, tells what is deleted from what never was', async () => {
    const replies = ({ path, query }: Asked): Reply => {
      if (path.endsWith('none')) return { status: 404, json: { errors: [] } }
      if (query['version'] === '1') return { status: 404, json: { data: { data: null, metadata: { ...metadata, version: 1 } } } }
      return { json: { data: { data: { k: 'v' }, metadata } } }
    }
    await kvAgainst(replies, async (kv) => {
      expect(await kv.get('a')).toMatchObject({ version: 2, data: { k: 'v' }, destroyed: false })
      expect(await kv.get('a', { version: 1 })).toMatchObject({ version: 1, data: null })
      expect(await kv.get('none')).toBeNull()
    })
  })

  test('change begins again when somebody wrote in between', async () => {
    let newest = 1
    const asked = await kvAgainst(
      ({ method }, count) => {
        if (method === 'GET') return { json: { data: { data: { n: newest }, metadata: { ...metadata, version: newest } } } }
        if (count > 2) return { json: { data: { ...metadata, version: 3 } } }
        newest = 2
        return { status: 400, json: { errors: ['check-and-set parameter did not match the current version'] } }
      },
      async (kv) => {
        expect((await kv.change('c', (data) => ({ n: Number(data?.['n']) + 10 }))).version).toBe(3)
      },
    )
    expect(asked.filter(({ method }) => method === 'POST').map(({ body }) => body)).toEqual([
      { data: { n: 11 }, options: { cas: 1 } },
      { data: { n: 12 }, options: { cas: 2 } },
    ])
  })

  test('change gives up when the refusal is another', async () => {
    const replies = ({ method }: Asked): Reply =>
      method === 'GET' ? { status: 404, json: { errors: [] } } : { status: 403, json: { errors: ['permission denied'] } }
    const asked = await kvAgainst(replies, async (kv) => {
      await expect(kv.change('c', () => ({ n: 1 }))).rejects.toMatchObject({ status: 403 })
    })
    expect(asked).toHaveLength(2)
    expect(asked[1]?.body).toEqual({ data: { n: 1 }, options: { cas: 0 } })
  })

  test('walks folders in folders', async () => {
    const folders: Record<string, string[]> = { '': ['a', 'team/'], 'team/': ['b', 'deep/'], 'team/deep/': ['c'] }
    const replies = ({ path }: Asked): Reply => ({ json: { data: { keys: folders[path.replace('secret/metadata/', '')] } } })
    await kvAgainst(replies, async (kv) => {
      expect(await Array.fromAsync(kv.walk())).toEqual(['a', 'team/b', 'team/deep/c'])
      expect(await Array.fromAsync(kv.walk('team'))).toEqual(['team/b', 'team/deep/c'])
    })
  })

  test('versions are deleted, undeleted and destroyed where the API has them', async () => {
    const asked = await kvAgainst(
      () => ({}),
      async (kv) => {
        await kv.delete('a')
        await kv.delete('a', [1])
        await kv.undelete('a', [1])
        await kv.destroy('a', [1, 2])
        await kv.putMetadata('a', { max_versions: 3 })
        await kv.deleteMetadata('a')
      },
    )
    expect(asked.map(({ method, path, body }) => [method, path, body])).toEqual([
      ['DELETE', 'secret/data/a', undefined],
      ['POST', 'secret/delete/a', { versions: [1] }],
      ['POST', 'secret/undelete/a', { versions: [1] }],
      ['POST', 'secret/destroy/a', { versions: [1, 2] }],
      ['POST', 'secret/metadata/a', { max_versions: 3 }],
      ['DELETE', 'secret/metadata/a', undefined],
    ])
  })
})

test('wrapping: what is wrapped is opened by its own token alone', async () => {
  const info = { token: 's.w', accessor: 'acc', ttl: 60, creation_time: '2026-08-01T10:00:00Z', creation_path: 'sys/wrapping/wrap' }
  await using stub = await StubServer.start(({ path }) => {
    if (path.endsWith('unwrap')) return { json: { data: { k: 'v' } } }
    if (path.endsWith('lookup')) return { json: { data: { creation_ttl: 60, creation_time: info.creation_time, creation_path: 'p' } } }
    return { json: { wrap_info: info } }
  })
  // What the client wraps by default is not wrapped around this.
  await using client = clientOf({ addresses: [stub.address], token: 's.mine', wrapTtl: '9m' })
  expect(await wrap(client, { k: 'v' }, '1m')).toMatchObject({ token: 's.w', ttlSeconds: 60, creationPath: 'sys/wrapping/wrap' })
  expect(stub.last).toMatchObject({ body: { k: 'v' }, headers: { 'x-vault-wrap-ttl': '1m', 'x-vault-token': 's.mine' } })
  expect(await lookupWrapped(client, 's.w')).toMatchObject({ ttlSeconds: 60, creationPath: 'p' })
  expect((await rewrap(client, 's.w')).accessor).toBe('acc')
  expect((await unwrap(client, 's.w')).data).toEqual({ k: 'v' })
  expect(stub.last.headers['x-vault-token']).toBe('s.w')
  expect(stub.last.headers['x-vault-wrap-ttl']).toBeUndefined()
})

test('a snapshot is a stream, and is sent as one to be checked', async () => {
  await using stub = await StubServer.start(({ method }) =>
    method === 'GET' ? { text: 'the bytes' } : { json: { data: { genuine: true } } },
  )
  await using client = clientOf({ addresses: [stub.address], token: 's.t' })
  const parts = await Array.fromAsync((await saveSnapshot(client)).body)
  expect(Buffer.concat(parts).toString()).toBe('the bytes')
  const sent = async function* () {
    yield Buffer.from('{"a":1}')
  }
  expect((await verifySnapshot(client, sent))?.data).toEqual({ genuine: true })
  expect(stub.last).toMatchObject({ path: 'sys/storage/raft/snapshot/verify', body: { a: 1 } })
  await restoreSnapshot(client, sent)
  await restoreSnapshot(client, sent, { force: true })
  expect(stub.asked.slice(-2).map(({ method, path }) => [method, path])).toEqual([
    ['POST', 'sys/storage/raft/snapshot'],
    ['POST', 'sys/storage/raft/snapshot-force'],
  ])
})

test('a restore whose outcome is unknown is not sent again', async () => {
  await using stub = await StubServer.start(() => 'drop')
  await using client = clientOf({ addresses: [stub.address, stub.address], token: 's.t' })
  const sent = async function* () {
    yield Buffer.from('{}')
  }
  await expect(restoreSnapshot(client, sent)).rejects.toMatchObject({ name: 'UnreachableError', mayHaveRun: true })
  expect(stub.asked).toHaveLength(1)
})

describe('optionsFromEnvironment', () => {
  test('HOLDFAST_ goes before VAULT_ and that before BAO_; empty counts as unset', () => {
    const env = {
      HOLDFAST_ADDR: 'https://a, https://b,',
      VAULT_ADDR: 'https://c',
      VAULT_TOKEN: '',
      BAO_TOKEN: 's.b',
      VAULT_NAMESPACE: 'root',
    }
    expect(optionsFromEnvironment({ ...env, VAULT_MAX_RETRIES: '0', BAO_CLIENT_TIMEOUT: '2s', VAULT_SKIP_VERIFY: 'true' })).toEqual({
      addresses: ['https://a', 'https://b'],
      token: 's.b',
      tls: { skipVerify: true },
      retriesMax: 0,
      timeoutMs: 2_000,
    })
  })
  test('authorities from a folder, a file, or the variable itself, the nearest first', () => {
    const dir = mkdtempSync(join(tmpdir(), 'holdfast-ca-'))
    try {
      for (const name of ['a.pem', 'b.pem']) writeFileSync(join(dir, name), name)
      const ca = (env: Record<string, string>) => optionsFromEnvironment(env).tls?.ca
      expect(ca({ VAULT_CAPATH: dir })).toBe('a.pem\nb.pem')
      expect(ca({ VAULT_CAPATH: dir, HOLDFAST_CACERT: join(dir, 'b.pem') })).toBe('b.pem')
      expect(ca({ HOLDFAST_CACERT: join(dir, 'b.pem'), VAULT_CACERT_BYTES: 'pem' })).toBe('pem')
      expect(ca({})).toBeUndefined()
    } finally {
      rmSync(dir, { recursive: true })
    }
  })
})
