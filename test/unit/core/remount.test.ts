/** Moving a mount: at once where nothing is lent, else by a job of the leader that takes back first; its end can be asked for. */
import { beforeEach, describe, expect, test } from 'vitest'
import { HoldfastError } from '#base/errors.ts'
import { silentLogger, type Logger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { moveJob } from '#core/remount.ts'
import { createNamespaceStore } from '#namespaces/store.ts'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'
import { lendingEngine, type Lending } from '#test/support/lending-engine.ts'

let lending: Lending
let node: HouseNode
let house: Awaited<ReturnType<typeof openHouse>>
const said: object[] = []
const log: Logger = { ...silentLogger, warn: (fields) => void said.push(fields) }

beforeEach(async () => {
  said.length = 0
  lending = lendingEngine()
  house = await openHouse(1, [lending.engine])
  node = house.node
  await node.write('sys/mounts/db', { type: 'lending' })
  await node.write('sys/mounts/plain', { type: 'kv' })
})

const move = async (from: string, to: string): Promise<string> => {
  const answer = await node.write('sys/remount', { from, to })
  expect(answer.status, answer.text).toBe(200)
  return answer.body.data.migration_id as string
}
const status = async (id: string): Promise<unknown> => (await node.read(`sys/remount/status/${id}`)).body.data.migration_info
/** One turn of the leader's job. */
const turn = (): Promise<void> =>
  moveJob({ barrier: node.leasing.barrier, leasing: node.leasing, namespaces: createNamespaceStore({ random: systemRandom }), log }).run(0)

test('where nothing is lent it is done when it is answered, with its data', async () => {
  await node.write('plain/a', { v: 1 })
  const id = await move('plain', 'moved')
  expect(await status(id)).toEqual({ source_mount: 'plain/', target_mount: 'moved/', status: 'success' })
  expect((await node.read('moved/a')).body.data).toEqual({ v: 1 })
  expect((await node.read('plain/a')).status).toBe(404)
  expect((await node.read('sys/remount/status/none')).status).toBe(404)
})

describe('where something is lent', () => {
  test('it is taken back first; then the mount is found by its new name, and lends', async () => {
    const lent = (await node.read('db/creds/app')).body
    const id = await move('db', 'other')
    expect(await status(id)).toMatchObject({ status: 'in-progress' })
    expect((await node.read('db/creds/app')).status).toBe(200)
    await turn()
    expect(await status(id)).toEqual({ source_mount: 'db/', target_mount: 'other/', status: 'success' })
    expect(lending.users.has(lent.data.username as string)).toBe(false)
    expect(lending.users.size).toBe(0)
    const again = (await node.read('other/creds/app')).body
    expect(again.lease_id).toMatch(/^other\//)
    // What the new name's end takes back is all that there is.
    expect((await node.remove('sys/mounts/other')).status).toBe(204)
    expect(lending.users.size).toBe(0)
  })

  test('a second move of it is refused, another mount is moved meanwhile, and a leader that follows goes on', async () => {
    await node.read('db/creds/app')
    const id = await move('db', 'other')
    const second = await node.write('sys/remount', { from: 'db', to: 'third' })
    expect([second.status, second.body.errors]).toEqual([400, ['"db/" is being moved already']])
    expect(second.body.hint).toContain(id)
    await move('plain', 'moved')
    await turn()
    expect(await status(id)).toMatchObject({ status: 'success' })
    await turn()
    expect(said).toEqual([])
  })

  test('what cannot be taken back ends the move after some tries, and the mount stays where it is', async () => {
    await node.read('db/creds/app')
    lending.failing = async () => {
      throw new HoldfastError('ERR_UPSTREAM', 'the database is away')
    }
    const id = await move('db', 'other')
    for (let tries = 0; tries < 9; tries += 1) await turn()
    expect(await status(id)).toMatchObject({ status: 'in-progress' })
    await turn()
    expect(await status(id)).toMatchObject({ status: 'failure', reason: expect.stringContaining('the database is away') as string })
    expect((await node.read('sys/mounts/db')).status).toBe(200)
    expect(said).toHaveLength(1)
  })

  test.each([
    ['unmounted', (): Promise<unknown> => node.remove('sys/mounts/db'), 'it was unmounted meanwhile'],
    ['in the way', (): Promise<unknown> => node.write('sys/mounts/other', { type: 'kv' }), 'path is already in use at other/'],
  ])('what is %s meanwhile ends it', async (_, meanwhile, reason) => {
    await node.read('db/creds/app')
    const id = await move('db', 'other')
    await meanwhile()
    await turn()
    expect(await status(id)).toMatchObject({ status: 'failure', reason })
  })
})

test('the end of a move can be asked for during a day; later moves take it with them', async () => {
  const old = await move('plain', 'moved')
  house.clock.advance(25 * 3_600_000)
  expect(await status(old)).toMatchObject({ status: 'success' })
  await move('moved', 'plain')
  expect((await node.read(`sys/remount/status/${old}`)).status).toBe(404)
})

test('what is refused leaves nothing behind', async () => {
  for (const [from, to, error] of [
    ['plain', 'db', 'path is already in use at db/'],
    ['plain', 'sys/x', 'cannot mount under reserved path "sys/x/"'],
    ['none', 'x', 'no matching mount at "none/"'],
    ['plain', 'auth/x', 'cannot remount between auth methods and secrets engines'],
    ['identity', 'x', 'cannot remount "identity/"'],
  ])
    expect((await node.write('sys/remount', { from, to })).body.errors).toEqual([error])
  expect((await node.write('sys/auth/people', { type: 'userpass' })).status).toBe(204)
  await move('auth/people', 'auth/folk')
  expect((await node.read('sys/auth/folk')).status).toBe(200)
})
