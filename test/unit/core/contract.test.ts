/** Each reply that the API's contract fixes is sent for, and compared: its status, its keys, its text. */
import { describe, expect, test } from 'vitest'
import { openHouse, type Answer } from '#test/support/core-house.ts'
import { everywhere, fixtures, type ContractWorld, type Fixture, type Keys } from '#test/support/contract.ts'
import { populateExamples } from '#test/support/example-world.ts'
import { lendingEngine } from '#test/support/lending-engine.ts'
import { sealByShares } from '#test/support/sealed-by-shares.ts'

async function worldOf(): Promise<ContractWorld> {
  const house = await openHouse(1, [lendingEngine().engine])
  const { node } = house
  const [share = ''] = await sealByShares(house.at(0))
  await populateExamples(node)
  await node.write('sys/mounts/db', { type: 'lending' })
  const { client_token: token, accessor } = (await node.write('auth/token/create', { policies: ['default'], ttl: '1h' })).body.auth
  return { node, token, accessor, share, leaseId: (await node.read('db/creds/app')).body.lease_id }
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null

/** What lies at a path of dots; '*' is the first of a list or map. */
function at(value: unknown, path: string): unknown {
  let found = value
  for (const step of path === '' ? [] : path.split('.')) {
    if (!isMap(found)) return undefined
    found = step === '*' ? Object.values(found)[0] : found[step]
  }
  return found
}

/** The keys that a reply must not lack, and those that it must not have. */
function differences(value: unknown, keys: string): { readonly missing: string[]; readonly unknown: string[] } {
  const names = keys.split(' ')
  const needed = names.filter((name) => !/[?+]$/.test(name))
  const known = new Set(names.map((name) => name.replace(/[?+]$/, '')))
  const found = isMap(value) ? Object.keys(value) : []
  return { missing: needed.filter((name) => !found.includes(name)), unknown: found.filter((name) => !known.has(name)) }
}

function compare(answer: Answer, { status, shapes = [], holds = {}, injected, text }: Fixture): void {
  expect.soft(answer.status, answer.text).toBe(status)
  if (text !== undefined) expect.soft(answer.text).toBe(text ?? '')
  for (const shape of shapes) expectKeys(answer, shape, injected === true)
  for (const [path, value] of Object.entries(holds)) expect.soft([path, at(answer.body, path)]).toEqual([path, value])
  if (injected === true) {
    expect.soft(Object.keys(answer.body.data), 'data').not.toEqual([])
    expect.soft(answer.body).toMatchObject(Object.fromEntries(Object.entries(answer.body.data).filter(([key]) => key !== 'data')))
  }
}

function expectKeys(answer: Answer, { at: path, keys }: Keys, injected: boolean): void {
  const found = at(answer.body, path)
  const { missing, unknown } = differences(found, keys)
  expect.soft({ path, missing, unknown: injected && path === '' ? [] : unknown }, answer.text).toEqual({ path, missing: [], unknown: [] })
}

const named = (some: readonly Fixture[]): [string, Fixture][] => some.map((fixture) => [`${fixture.route}: ${fixture.says}`, fixture])

describe('replies that clients parse', () => {
  test.each(named(fixtures))('%s', async (_, fixture) => {
    compare(await fixture.send(await worldOf()), fixture)
  })
})

describe('whatever is asked', () => {
  test.each(named(everywhere))('%s', async (_, fixture) => {
    compare(await fixture.send(await worldOf()), fixture)
  })
})

test('a key that is missing and one that nobody knows are found', () => {
  expect(differences({ a: 1, c: 1, d: 1 }, 'a b c? d+ e?')).toEqual({ missing: ['b'], unknown: [] })
  expect(differences({ a: 1, x: 1 }, 'a')).toEqual({ missing: [], unknown: ['x'] })
  expect(differences(undefined, 'a')).toEqual({ missing: ['a'], unknown: [] })
})
