import { beforeEach, describe, expect, test } from 'vitest'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
beforeEach(async () => {
  house = await openHouse()
  node = house.node
  await node.write('sys/mounts/kv', { type: 'kv' })
  await node.write('kv/a', { x: 'secret' })
})

const wrap = (path: string) => node.ask({ path, wrapTtlSeconds: 60 })

describe('a wrapped answer', () => {
  test('shows nothing but its wrapping', async () => {
    const { body, text, status } = await wrap('kv/a')
    expect(status).toBe(200)
    expect(text).not.toContain('secret')
    expect(body).toMatchObject({ request_id: '', data: null, wrap_info: { ttl: 60, creation_path: 'kv/a' } })
  })

  test('opens once, by itself or by its token in the body, with the whole envelope', async () => {
    const { token: first, accessor } = (await wrap('kv/a')).body.wrap_info as { token: string; accessor: string }
    expect((await node.write('auth/token/lookup-accessor', { accessor })).status).toBe(200)
    const looked = await node.write('sys/wrapping/lookup', { token: first }, null)
    expect(looked.body.data).toMatchObject({ creation_path: 'kv/a', creation_ttl: 60 })
    expect((await node.write('sys/wrapping/unwrap', {}, first)).body).toMatchObject({ data: { x: 'secret' }, wrap_info: null })
    for (const again of [await node.write('sys/wrapping/unwrap', {}, first), await node.write('sys/wrapping/lookup', { token: first })]) {
      expect(again).toMatchObject({ status: 400, body: { errors: ['wrapping token is not valid or does not exist'] } })
    }
    expect((await node.write('auth/token/lookup-accessor', { accessor })).status).toBe(403)
    const second = (await wrap('kv/a')).body.wrap_info.token as string
    expect((await node.write('sys/wrapping/unwrap', { token: second })).body.data).toEqual({ x: 'secret' })
  })

  test('ends with its TTL', async () => {
    const token = (await wrap('kv/a')).body.wrap_info.token as string
    house.clock.advance(60_001)
    expect((await node.write('sys/wrapping/unwrap', {}, token)).status).toBe(400)
  })

  test('opens for no other kind of token, and its token opens nothing else', async () => {
    expect((await node.write('sys/wrapping/unwrap', { token: house.rootToken })).status).toBe(400)
    const token = (await wrap('kv/a')).body.wrap_info.token as string
    expect((await node.read('kv/a', token)).status).toBe(403)
  })

  test('can be wrapped again; the old token is void', async () => {
    const old = (await wrap('kv/a')).body.wrap_info.token as string
    const fresh = (await node.write('sys/wrapping/rewrap', { token: old })).body.wrap_info.token as string
    expect((await node.write('sys/wrapping/unwrap', {}, old)).status).toBe(400)
    expect((await node.write('sys/wrapping/unwrap', {}, fresh)).body.data).toEqual({ x: 'secret' })
  })

  test('of a new token names its accessor', async () => {
    const { body } = await node.ask({ operation: 'update', path: 'auth/token/create', wrapTtlSeconds: 60 })
    expect(body.wrap_info.wrapped_accessor).toMatch(/^\w{24}$/)
    expect(body.auth).toBeNull()
    const again = await node.write('sys/wrapping/rewrap', { token: body.wrap_info.token })
    expect(again.body.wrap_info.wrapped_accessor).toBe(body.wrap_info.wrapped_accessor)
  })
})

test('anything can be wrapped; without a TTL it is refused', async () => {
  const { body } = await node.ask({ operation: 'update', path: 'sys/wrapping/wrap', body: { a: 1 }, wrapTtlSeconds: 60 })
  expect((await node.write('sys/wrapping/unwrap', {}, body.wrap_info.token)).body.data).toEqual({ a: 1 })
  expect((await node.write('sys/wrapping/wrap', { a: 1 })).status).toBe(400)
})

test('what acts outside a transaction is not wrapped, and says so before it acts', async () => {
  expect((await node.ask({ operation: 'update', path: 'sys/step-down', wrapTtlSeconds: 60 })).status).toBe(400)
  expect(node.calls).toEqual([])
})

test('nothing to wrap stays nothing', async () => {
  expect((await node.ask({ path: 'kv/none', wrapTtlSeconds: 60 })).status).toBe(404)
})
