/** Lists page by page, and what a policy says of their pages: also where an engine reads `after` and `limit` by hand, which those without fields do. */
import { beforeEach, expect, test } from 'vitest'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let node: HouseNode
let token: string

beforeEach(async () => {
  node = (await openHouse()).node
  await node.write('sys/mounts/kv1', { type: 'kv' })
  await node.write('sys/mounts/kv2', { type: 'kv', options: { version: '2' } })
  const rule = (path: string): string =>
    `path "${path}" { capabilities = ["create", "update", "list", "scan"] }\npath "${path}/*" { capabilities = ["create", "update", "list", "scan"] pagination_limit = 2 }`
  await node.write('sys/policies/acl/pages', { policy: ['kv1', 'kv2/metadata', 'cubbyhole'].map(rule).join('\n') })
  token = (await node.write('auth/token/create', { policies: ['pages'], no_default_policy: true })).body.auth.client_token as string
  for (const name of ['a', 'b', 'c', 'd']) {
    await node.write(`kv1/f/${name}`, { v: 1 })
    await node.write(`kv2/data/f/${name}`, { data: { v: 1 } })
    expect((await node.write(`cubbyhole/f/${name}`, { v: 1 }, token)).status).toBe(204)
  }
})

const keys = async (path: string, query: Record<string, string> = {}, operation: 'list' | 'scan' = 'list'): Promise<unknown> => {
  const answer = await node.ask({ operation, method: 'LIST', path, token, query })
  return answer.status === 200 ? answer.body.data.keys : answer.status
}

test.each(['kv1/f/', 'kv2/metadata/f/', 'cubbyhole/f/'])(
  "no page of %s is longer than its policy's, whatever is asked for",
  async (path) => {
    expect(await keys(path)).toEqual(['a', 'b'])
    expect(await keys(path, { limit: 'max' })).toEqual(['a', 'b'])
    expect(await keys(path, { limit: '0' })).toEqual(['a', 'b'])
    expect(await keys(path, { limit: '1' })).toEqual(['a'])
    expect(await keys(path, { after: 'b' })).toEqual(['c', 'd'])
    expect(await keys(path, { after: 'b', limit: '1' })).toEqual(['c'])
    expect(await keys(path, { limit: '3' })).toBe(403)
  },
)

test('a scan of version 1 has its page too', async () => {
  expect(await keys('kv1/f/', {}, 'scan')).toEqual(['a', 'b'])
})

test('a cubbyhole refuses a limit that is none', async () => {
  const root = async (query: Record<string, string>): Promise<number> =>
    (await node.ask({ operation: 'list', method: 'LIST', path: 'cubbyhole/', query })).status
  await node.write('cubbyhole/x', { v: 1 })
  expect(await root({ limit: 'many' })).toBe(400)
  expect(await root({ limit: 'max' })).toBe(200)
})
