/** The routes of snapshots and their schedules: what is accepted, what is answered, and what never is. */
import { beforeAll, expect, test } from 'vitest'
import { openHouse, type Answer, type HouseNode } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let leader: HouseNode
beforeAll(async () => {
  house = await openHouse(1)
  leader = house.house[0] as HouseNode
})

const at = 'sys/storage/raft/snapshot-auto'
const local = { interval: '1h', retain: 3, path_prefix: 'nightly', storage_type: 'local' }
const s3 = { interval: 3600, storage_type: 'aws-s3', aws_s3_bucket: 'b', aws_s3_region: 'eu-central-1' }
const write = (name: string, body: Record<string, unknown>): Promise<Answer> => leader.write(`${at}/config/${name}`, body)

test('a schedule is written, read, listed, changed and deleted; its status says that it has not run', async () => {
  expect((await write('a', local)).status).toBe(204)
  expect((await leader.read(`${at}/config/a`)).body.data).toEqual({
    interval: 3_600,
    retain: 3,
    path_prefix: 'nightly',
    file_prefix: 'holdfast-snapshot',
    storage_type: 'local',
    local_max_space: 0,
  })
  expect((await write('a', { ...local, interval: '30m' })).status).toBe(204)
  expect((await leader.read(`${at}/config/a`)).body.data.interval).toBe(1_800)
  expect((await leader.list(`${at}/config`)).body.data).toEqual({ keys: ['a'] })
  expect((await leader.read(`${at}/status/a`)).body.data).toMatchObject({
    state: 'not run yet',
    consecutive_errors: 0,
    last_snapshot_url: '',
  })
  expect((await leader.list(`${at}/status`)).body.data.key_info.a).toMatchObject({ state: 'not run yet' })
  expect((await leader.remove(`${at}/config/a`)).status).toBe(204)
  for (const path of ['config/a', 'status/a', 'status/none']) expect((await leader.read(`${at}/${path}`)).status).toBe(404)
})

test('a change leaves what it does not say as it was; of another storage type, what belongs to the place', async () => {
  const full = {
    ...s3,
    retain: 7,
    path_prefix: 'prod',
    file_prefix: 'mine',
    aws_s3_endpoint: 'https://s3.example',
    aws_s3_force_path_style: true,
  }
  expect((await write('a', { ...full, aws_s3_enable_kms: true, aws_s3_kms_key: 'k' })).status).toBe(204)
  const read = async () => (await leader.read(`${at}/config/a`)).body.data
  const before = await read()
  expect((await write('a', { interval: '12h' })).status).toBe(204)
  // One that fell back to 1 would have the next run remove six files.
  expect(await read()).toEqual({ ...before, interval: 43_200 })
  expect((await write('a', { aws_s3_enable_kms: false, path_prefix: '', retain: 3 })).status).toBe(204)
  expect(await read()).toMatchObject({ aws_s3_enable_kms: false, path_prefix: '', retain: 3, aws_s3_endpoint: 'https://s3.example' })
  expect((await write('a', { storage_type: 'local', local_max_space: 10 })).status).toBe(204)
  expect(await read()).toEqual({
    interval: 43_200,
    retain: 3,
    path_prefix: '',
    file_prefix: 'mine',
    storage_type: 'local',
    local_max_space: 10,
  })
  expect((await write('a', { storage_type: 'aws-s3' })).body.errors[0]).toMatch(/aws_s3_bucket expected/)
  for (const [body, missing] of [
    [{ storage_type: 'local' }, 'interval'],
    [{ interval: '1h' }, 'storage_type'],
  ] as const)
    expect((await write('new', body)).body).toMatchObject({
      errors: [`missing required field "${missing}"`],
      hint: 'a new schedule needs interval and storage_type',
    })
  await leader.remove(`${at}/config/a`)
})

test.each<[string, Record<string, unknown>, RegExp]>([
  ['interval too short', { ...local, interval: '9s' }, /interval expected 10s to/],
  ['no interval', { ...local, interval: undefined }, /interval/],
  ['another storage', { ...local, storage_type: 'azure-blob' }, /storage_type/],
  ['a folder outside', { ...local, path_prefix: '../x' }, /path_prefix expected a folder in snapshot_folder/],
  ['an absolute one outside', { ...local, path_prefix: '/etc' }, /path_prefix expected a folder in snapshot_folder/],
  ['a prefix that hides', { ...local, file_prefix: '.x' }, /file_prefix expected/],
  ['a prefix with a slash', { ...local, file_prefix: 'a/b' }, /file_prefix expected/],
  ['none kept', { ...local, retain: 0 }, /retain expected 1 to/],
  ['negative space', { ...local, local_max_space: -1 }, /local_max_space expected/],
  ['no bucket', { ...s3, aws_s3_bucket: '' }, /aws_s3_bucket expected/],
  ['an odd region', { ...s3, aws_s3_region: 'Europe/Berlin' }, /aws_s3_region expected/],
  ['no URL', { ...s3, aws_s3_endpoint: 'file:///x' }, /aws_s3_endpoint expected a URL/],
  ['half of the credentials', { ...s3, aws_access_key_id: 'marked' }, /expected to be given together/],
])('refused: %s', async (_, body, expected) => {
  const answer = await write('refused', JSON.parse(JSON.stringify(body)) as Record<string, unknown>)
  expect([answer.status, answer.body.errors[0]]).toEqual([400, expect.stringMatching(expected)])
  expect((await leader.read(`${at}/config/refused`)).status).toBe(404)
})

test('credentials are hashed in the audit, never answered, and stay until they are taken away', async () => {
  expect((await write('s3', { ...s3, aws_access_key_id: 'marked-id', aws_secret_access_key: 'marked-secret' })).status).toBe(204)
  const read = async () => (await leader.read(`${at}/config/s3`)).text
  expect(await read()).toMatch(/"credentials":"given"/)
  await write('s3', { ...s3, retain: 9 })
  expect(await read()).toMatch(/"credentials":"given"/)
  expect(await read()).not.toMatch(/marked/)
  await write('s3', { ...s3, aws_access_key_id: '', aws_secret_access_key: '' })
  expect(await read()).toMatch(/"credentials":"searched for/)
})

test('no more than sixteen; schedules need sudo, saving does not', async () => {
  for (let one = 0; one < 15; one += 1) expect((await write(`n${one}`, local)).status).toBe(204)
  expect(await write('beyond', local)).toMatchObject({ status: 400, body: { errors: [expect.stringMatching(/at most 16/)] } })
  expect((await write('n3', { ...local, retain: 9 })).status).toBe(204)
  const policy = 'path "sys/storage/raft/*" { capabilities = ["create", "read", "update", "list"] }'
  await leader.write('sys/policies/acl/backup', { policy })
  const token = (await leader.write('auth/token/create', { policies: ['backup'] })).body.auth.client_token as string
  expect((await leader.read(`${at}/config/n3`, token)).status).toBe(403)
  expect((await leader.read(`${at}/status/n3`, token)).status).toBe(200)
  // This house has no snapshots: what matters is that it was asked.
  expect(await leader.read('sys/storage/raft/snapshot', token)).toMatchObject({
    status: 503,
    body: { errors: ['no snapshots in this house'] },
  })
  expect((await leader.write('sys/storage/raft/snapshot/verify', {}, token)).body.errors[0]).toMatch(/expected a snapshot file as the body/)
  expect(leader.core.uploadBytesMax('sys/storage/raft/snapshot/verify')).toBeGreaterThan(2 ** 37)
  expect(leader.core.uploadBytesMax('sys/storage/raft/snapshot')).toBeGreaterThan(2 ** 37)
  for (const path of ['secret/x', 'sys/none']) expect(leader.core.uploadBytesMax(path)).toBeNull()
})
