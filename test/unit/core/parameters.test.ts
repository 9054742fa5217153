/** Parameters of policies, against what handlers make of values. */
import { beforeEach, describe, expect, test } from 'vitest'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let node: HouseNode
beforeEach(async () => {
  node = (await openHouse()).node
})

/** The status of a write by somebody who may only what `parameters` say. */
async function write(path: string, parameters: string, body: Record<string, unknown>): Promise<number> {
  await node.write('sys/policies/acl/p', { policy: `path "${path}" { capabilities = ["create", "update", "sudo"] ${parameters} }` })
  const token = (await node.write('auth/token/create', { policies: ['p'], no_default_policy: true })).body.auth.client_token
  return (await node.write(path, body, token)).status
}

describe('an allowed value', () => {
  const allowed = 'allowed_parameters = { "policies" = ["app-*", "x,y"] }'
  test.each([
    ['app-1', 200],
    ['app-1, app-2', 200],
    [['app-1', 'app-2'], 200],
    ['x,y', 200],
    ['app-1,root', 403],
    ['app-1,', 403],
    ['app-1 ,admin', 403],
    [['app-1', 'admin'], 403],
    ['', 403],
  ])('of a list is asked of each entry: %j', async (policies, status) => {
    expect(await write('auth/token/create', allowed, { policies })).toBe(status)
  })

  test('of a list may be an empty text where any text is allowed: it is how a list is emptied', async () => {
    for (const [rule, status] of [
      ['["*"]', 200],
      ['["", "app-*"]', 200],
      ['["app-*"]', 403],
    ] as const)
      expect(await write('auth/token/create', `allowed_parameters = { "policies" = ${rule} }`, { policies: '' }), rule).toBe(status)
    expect(await write('auth/token/create', 'allowed_parameters = { "policies" = ["*"] }', { policies: ' ' })).toBe(200)
  })

  test('of a text may have commas', async () => {
    const rule = 'allowed_parameters = { "display_name" = ["ci*"] }'
    expect(await write('auth/token/create', rule, { display_name: 'ci, of main' })).toBe(200)
  })
})

describe('a denied value is what the handler takes for it', () => {
  test.each([
    ['no_parent', '[true]', [true, 'true', 'T', '1', 1, 7, ' TRUE '], [false, '0', 'f', 0]],
    ['no_parent', '["1"]', [true, 't'], [false]],
    ['num_uses', '[5]', [5, '5', '+5', '05', ' 5 '], [6, '55']],
    ['ttl', '["1h"]', ['1h', '60m', 3_600, '3600', '3600s', '1h0m'], ['2h', 60]],
    ['policies', '["admin"]', ['x, Admin', ['admin']], ['x', ['administrators']]],
  ] as const)('%s, denied %s', async (name, values, denied, others) => {
    const rule = `denied_parameters = { "${name}" = ${values} }`
    for (const value of denied) expect(await write('auth/token/create', rule, { [name]: value }), JSON.stringify(value)).toBe(403)
    for (const value of others) expect(await write('auth/token/create', rule, { [name]: value }), JSON.stringify(value)).toBe(200)
  })
})
