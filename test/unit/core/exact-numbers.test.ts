/** Numbers that no double holds, on their whole way: body, forwarding, policy, storage, merge, audit, answer. */
import { beforeAll, describe, expect, test } from 'vitest'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'
import { createValueHasher, deriveKey } from '#audit/hashing.ts'
import { FormatMemo, formatRecord } from '#audit/format.ts'
import { parseJsonObject } from '#http/json.ts'

const body = (text: string): Record<string, unknown> => parseJsonObject(Buffer.from(text), true)
const long = '12345678901234567890.5'

let leader: HouseNode
let follower: HouseNode
beforeAll(async () => {
  const { house } = await openHouse(2)
  leader = house[0]!
  follower = house[1]!
  await leader.write('sys/mounts/kv', { type: 'kv-v2' })
  await leader.write('sys/mounts/v1', { type: 'kv' })
})

describe.each(['leader', 'follower'])('written through the %s', (name) => {
  const node = (): HouseNode => (name === 'leader' ? leader : follower)

  test('kv v2 gives them back, also after a patch and a second version', async () => {
    expect((await node().write('kv/data/a', body(`{"data":{"n":${long},"__proto__":{"x":1e999}}}`))).status).toBe(200)
    const patch = { operation: 'patch', method: 'PATCH', path: 'kv/data/a', body: body(`{"data":{"m":${long}}}`) } as const
    expect((await node().ask(patch)).status).toBe(200)
    for (const reader of [leader, follower]) {
      expect((await reader.read('kv/data/a')).text).toContain(`"data":{"n":${long},"__proto__":{"x":1e999},"m":${long}}`)
      expect((await reader.read('kv/data/a', undefined, { version: '1' })).text).toContain(`"data":{"n":${long},"__proto__":{"x":1e999}}`)
      expect((await reader.read('kv/subkeys/a')).text).toContain('"n":null')
    }
  })

  test('kv v1 and cubbyhole give them back', async () => {
    for (const path of ['v1/a', 'cubbyhole/a']) {
      await node().write(path, body(`{"n":${long}}`))
      expect((await leader.read(path)).text).toContain(`"data":{"n":${long}}`)
    }
  })

  test('a field that wants another type says so', async () => {
    expect((await node().write('kv/data/b', body(`{"data":${long}}`))).status).toBe(400)
    expect((await node().write('kv/data/b', body(`{"data":{},"options":{"cas":${long}}}`))).status).toBe(400)
    expect((await node().write('kv/config', body(`{"max_versions":${long}}`))).status).toBe(400)
    expect((await node().write('kv/metadata/b', body(`{"custom_metadata":{"n":${long}}}`))).status).toBe(204)
    expect((await node().read('kv/metadata/b')).body.data.custom_metadata).toEqual({ n: long })
  })
})

test('a denied value is denied in every spelling of it', async () => {
  const policy = 'path "v1/*" { capabilities = ["create", "update"] denied_parameters = { "n" = [5, [5]] } }'
  await leader.write('sys/policies/acl/five', { policy })
  const token = (await leader.write('auth/token/create', { policies: ['five'] })).body.auth.client_token as string
  for (const five of ['5', '"5"', '[5]', '5.00000000000000000000', '[5.00000000000000000000]', '50000000000000000000e-19'])
    expect((await leader.write('v1/x', body(`{"n":${five}}`), token)).status, five).toBe(403)
  expect((await leader.write('v1/x', body('{"n":6.00000000000000000000}'), token)).status).toBe(204)
})

test('stand in the audit as numbers do', () => {
  const record = { ...leader.audit[0]!, request: { ...leader.audit[0]!.request, data: body(`{"n":${long}}`) } }
  const hasher = createValueHasher(deriveKey(Buffer.alloc(32, 7), 'test'))
  expect(formatRecord(record, { request: [], response: [] }, hasher, new FormatMemo())).toContain(`"data":{"n":${long}}`)
})
