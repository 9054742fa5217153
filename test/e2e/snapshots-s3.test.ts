/** A schedule that keeps snapshots in S3, as moto plays it: uploaded in parts, kept to its number, wrong credentials and a missing bucket named, secrets shown nowhere. */
import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Api } from '#cmd/dev/api.ts'
import { inspectSnapshotFile } from '#snapshots/inspect.ts'
import { freePorts } from '#test/support/cluster.ts'
import { Moto } from '#test/support/moto.ts'
import { found, ServerProcess, until, type Founded } from '#test/support/server-process.ts'

const dir = mkdtempSync(join(tmpdir(), 'holdfast-s3-'))
const api = new Api(null)
const secret = 'marked-secret-of-the-bucket'
let node: ServerProcess
let moto: Moto
let founded: Founded

type Data = Readonly<Record<string, unknown>>

const call = (method: string, path: string, body?: unknown) =>
  node.call(method, path, { token: founded.token, timeoutMs: 60_000, ...(body === undefined ? {} : { body }) })
const status = async (): Promise<Data> =>
  ((await call('GET', 'sys/storage/raft/snapshot-auto/status/offsite')).body?.['data'] ?? {}) as Data
const keys = (): Promise<string[]> =>
  moto.script<string[]>(`print(json.dumps([o['Key'] for o in client('s3').list_objects_v2(Bucket='backups').get('Contents', [])]))`)

beforeAll(async () => {
  const port = await freePorts(20)
  moto = await Moto.start(port + 10)
  await moto.script(`client('s3').create_bucket(Bucket='backups', CreateBucketConfiguration={'LocationConstraint': 'eu-central-1'})
client('s3').put_object(Bucket='backups', Key='prod/test-notes.txt', Body=b'mine')
print('null')`)
  node = new ServerProcess(api, dir, 'one', port)
  node.start({ AWS_EC2_METADATA_DISABLED: 'true', AWS_SHARED_CREDENTIALS_FILE: '/nonexistent', AWS_CONFIG_FILE: '/nonexistent' })
  await node.answering(240_000)
  founded = await found(node)
  await call('POST', 'sys/mounts/secret', { type: 'kv', options: { version: '2' } })
  // More than one part of 16 MiB.
  for (let at = 0; at < 24; at += 1)
    expect((await call('POST', `secret/data/${at}`, { data: { value: 'x'.repeat(900_000) } })).status).toBe(200)
}, 500_000)
afterAll(async () => {
  await node?.stop('SIGKILL')
  await moto?.stop()
  await api.close()
  rmSync(dir, { recursive: true, force: true })
})

const config = (more: Data = {}): Data => ({
  interval: '10s',
  retain: 2,
  path_prefix: 'prod',
  file_prefix: 'test',
  storage_type: 'aws-s3',
  aws_s3_bucket: 'backups',
  aws_s3_region: 'eu-central-1',
  aws_s3_endpoint: moto.address,
  aws_s3_force_path_style: true,
  aws_access_key_id: 'marked-key-id',
  aws_secret_access_key: secret,
  ...more,
})

test('objects appear, whole, and only so many as are to be kept; nothing else in the bucket is touched', async () => {
  expect((await call('POST', 'sys/storage/raft/snapshot-auto/config/offsite', config())).status).toBe(204)
  const seen = new Set<string>()
  await until('three slots', async () => ((await keys()).forEach((key) => seen.add(key)), seen.size >= 4 ? true : null), 200_000)
  const now = await until('two to be left', async () => ((found_) => (found_.length === 3 ? found_ : null))(await keys()), 60_000)
  // In S3's order: digits before letters.
  expect(now.at(-1)).toBe('prod/test-notes.txt')
  expect(now.slice(0, -1).every((key) => /^prod\/test-\d{8}T\d{6}Z\.snap$/.test(key))).toBe(true)
  const path = join(dir, 'fetched.snap')
  writeFileSync(path, '')
  await moto.script(`client('s3').download_file('backups', '${now[1]}', '${path}')
print('null')`)
  const summary = await inspectSnapshotFile(createReadStream(path))
  expect(summary.total.valueBytes).toBeGreaterThan(21_000_000)
  expect(await status()).toMatchObject({
    consecutive_errors: 0,
    last_snapshot_url: expect.stringMatching(/^s3:\/\/backups\/prod\/test-.*\.snap$/),
  })
}, 400_000)

test('credentials are never read back, stay when a write leaves them out, and are in no log', async () => {
  const read = async (): Promise<string> => JSON.stringify((await call('GET', 'sys/storage/raft/snapshot-auto/config/offsite')).body)
  expect(await read()).toMatch(/"credentials":"given"/)
  const { aws_access_key_id: _id, aws_secret_access_key: _secret, ...without } = config({ interval: '1h' })
  expect((await call('POST', 'sys/storage/raft/snapshot-auto/config/offsite', without)).status).toBe(204)
  expect(await read()).toMatch(/"credentials":"given"/)
  for (const text of [await read(), node.log(), readFileSync(node.auditPath, 'utf8'), JSON.stringify(await status())])
    expect(text).not.toMatch(/marked-key-id|marked-secret/)
  expect(
    (await call('POST', 'sys/storage/raft/snapshot-auto/config/offsite', { ...without, aws_access_key_id: '', aws_secret_access_key: '' }))
      .status,
  ).toBe(204)
  expect(await read()).toMatch(/"credentials":"searched for/)
}, 100_000)

test('what goes wrong is named in the status, and leaves no part of an object', async () => {
  const fails = async (more: Data, expected: RegExp): Promise<void> => {
    await call('DELETE', 'sys/storage/raft/snapshot-auto/config/offsite')
    expect((await call('POST', 'sys/storage/raft/snapshot-auto/config/offsite', config(more))).status).toBe(204)
    const said = await until(
      `${expected}`,
      async () => ((now) => (Number(now['consecutive_errors']) > 0 ? now : null))(await status()),
      200_000,
    )
    expect(said['last_snapshot_error']).toMatch(expected)
  }
  await fails({ aws_s3_bucket: 'none-such' }, /bucket none-such in eu-central-1 expected to take the snapshot, got NoSuchBucket/)
  await fails({ aws_access_key_id: '', aws_secret_access_key: '' }, /got CredentialsProviderError/)
  moto.mood = { kind: 'reset' }
  await fails({}, /bucket backups in eu-central-1 expected to take the snapshot, got \w+/)
  moto.mood = { kind: 'pass' }
  const uploads = await moto.script<number>(`print(len(client('s3').list_multipart_uploads(Bucket='backups').get('Uploads', [])))`)
  expect(uploads).toBe(0)
  expect(node.log()).not.toMatch(/marked-key-id|marked-secret/)
}, 900_000)
