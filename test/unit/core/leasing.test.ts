/** The books of leases where something comes between: what is counted, and what a token with many of them leaves to be done. */
import { HoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import type { Barrier, Transaction } from '#barrier/types.ts'
import { Leasing } from '#core/leasing.ts'
import { LeaseLedger } from '#leases/ledger.ts'
import { LeaseStore } from '#leases/store.ts'
import { createNamespaceStore } from '#namespaces/store.ts'
import { openHouse, type Answer, type HouseNode } from '#test/support/core-house.ts'
import { lendingEngine, type Lending } from '#test/support/lending-engine.ts'
import { beforeEach, describe, expect, test } from 'vitest'

let lending: Lending
let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode

beforeEach(async () => {
  lending = lendingEngine()
  house = await openHouse(1, [lending.engine], silentLogger)
  node = house.node
  await ok(node.write('sys/mounts/db', { type: 'lending' }))
})

async function ok(asked: Promise<Answer>): Promise<Answer['body']> {
  const { status, body, text } = await asked
  expect(status, text).toBeLessThan(300)
  return body
}

async function turn(passes = 6): Promise<void> {
  for (let pass = 0; pass < passes; pass += 1) {
    await node.leasing.expirer.pass()
    await node.leasing.expirer.idle()
  }
}

const lend = async (mount = 'db', namespace = ''): Promise<string> =>
  (await ok(node.ask({ namespace, path: `${mount}/creds/app`, query: { ttl: '1h' } }))).lease_id
const uuidOf = async (mount: string): Promise<string> => (await ok(node.read('sys/mounts'))).data[`${mount}/`].uuid
const away = async (): Promise<void> => {
  throw new Error('the database is away')
}

describe('what is counted', () => {
  test('counts leases and tokens of mounts that are newer than the count', async () => {
    await turn()
    await ok(node.write('sys/mounts/later', { type: 'lending' }))
    await ok(node.write('sys/auth/people', { type: 'userpass' }))
    await ok(node.write('auth/people/users/ada', { password: 'correct horse' }))
    for (let count = 0; count < 3; count += 1) await lend('later')
    await ok(node.write('auth/people/login/ada', { password: 'correct horse' }, null))
    const people = (await ok(node.read('sys/auth'))).data['people/'].uuid
    expect([node.leasing.leaseCount('root', await uuidOf('later')), node.leasing.leaseCount('root', people)]).toEqual([3, 1])
  })

  test('begins and ends although a namespace is sealed; what lies in that is counted once it is open', async () => {
    const made = await ok(node.write('sys/namespaces/tenant', { seal: 'seal "shamir" { shares = 1 threshold = 1 }' }))
    const [key] = Object.values(made.data.key_shares as Record<string, string>)
    await ok(node.ask({ operation: 'update', method: 'POST', namespace: 'tenant', path: 'sys/mounts/db', body: { type: 'lending' } }))
    for (let count = 0; count < 2; count += 1) await lend('db', 'tenant')
    const failed = await lend()
    await ok(node.write('sys/namespaces/tenant/seal'))
    await turn()
    expect(node.leasing.leaseCount('root', null)).toBe(1)
    expect(node.leasing.status().leases).toBe(1)
    await ok(node.write('sys/namespaces/tenant/unseal', { key }))
    await lend('db', 'tenant')
    await turn()
    const id = (await ok(node.read('sys/namespaces/tenant'))).data.id
    expect([node.leasing.leaseCount(id, null), node.leasing.status().leases]).toEqual([3, 4])
    await ok(node.write('sys/leases/revoke', { lease_id: failed, sync: true }))
    expect(node.leasing.status().leases).toBe(3)
  })

  test('begins anew where nobody knows what was committed', async () => {
    await turn()
    for (let count = 0; count < 2; count += 1) await lend()
    const { ledger } = node.leasing.store
    const lost = ledger.watch({
      ...house.at(0),
      transact: async (work: (transaction: Transaction) => Promise<unknown>) => {
        await work({} as Transaction)
        throw new HoldfastError('ERR_OUTCOME_UNKNOWN', 'nobody knows')
      },
    } as unknown as Barrier)
    const change = { namespace: 'root', leaseId: 'db/creds/app/x', count: 1, due: null } as const
    await expect(lost.transact(async (transaction) => ledger.note(transaction, change))).rejects.toThrow('nobody knows')
    expect(node.leasing.leaseCount('root', null)).toBeNull()
    await turn()
    expect(node.leasing.leaseCount('root', await uuidOf('db'))).toBe(2)
  })
})

describe('what could not be taken back', () => {
  test('is counted once however often it is tried again, and no more when it is off the books', async () => {
    await turn()
    const ids = [await lend(), await lend()]
    lending.failing = away
    const revoke = (id: string): Promise<Answer> => node.write('sys/leases/revoke', { lease_id: id, sync: true })
    for (const id of ids) await revoke(id)
    for (let tries = 0; tries < 12; tries += 1) {
      house.clock.advance(600_000)
      await turn(3)
    }
    expect(node.leasing.status().irrevocable).toBe(2)
    for (let tries = 0; tries < 3; tries += 1) await revoke(ids[0]!)
    expect(node.leasing.status().irrevocable).toBe(2)
    lending.failing = null
    await ok(revoke(ids[0]!))
    expect(node.leasing.status().irrevocable).toBe(1)
    lending.failing = away
    await ok(node.write(`sys/leases/revoke-force/${ids[1]}`))
    await turn(3)
    expect(node.leasing.status().irrevocable).toBe(0)
  })
})

describe('a token with more leases than one step ends', () => {
  test('leaves none unmarked, and nothing to be done again and again, while they can not be taken back', async () => {
    const [memories] = house.memories
    const clock = house.clock
    const small = new Leasing({
      barrier: house.at(0),
      store: new LeaseStore({ random: systemRandom, ledger: new LeaseLedger() }),
      tokens: memories!.tokens,
      namespaces: createNamespaceStore({ random: systemRandom }),
      engines: () => [lending.engine],
      leads: () => 1,
      clock,
      random: systemRandom,
      log: silentLogger,
      idsPerStep: 8,
    })
    const { client_token: token, accessor } = (await ok(node.write('auth/token/create', { policies: ['root'], ttl: '24h' }))).auth
    for (let count = 0; count < 20; count += 1) await ok(node.ask({ path: 'db/creds/app', token, query: { ttl: '20h' } }))
    lending.failing = away
    await ok(node.write('auth/token/revoke-accessor', { accessor }))
    for (let pass = 0; pass < 4; pass += 1) {
      await small.expirer.pass()
      await small.expirer.idle()
    }
    const { store } = small
    const [unmarked, left] = await house.at(0).read({ kind: 'linearizable' }, async (view) => {
      const ids = await store.idsBelow(view, 'root', 'db/creds/app', 100)
      const leases = await Promise.all(ids.map((id) => store.load(view, 'root', id)))
      return [leases.map((lease) => lease?.kind === 'secret' && lease.ending !== undefined), await store.endingTokens(view, 'root', 10)]
    })
    expect([unmarked, left]).toEqual([Array.from({ length: 20 }, () => true), []])
  })
})
