import { beforeEach, expect, test } from 'vitest'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let node: HouseNode
beforeEach(async () => {
  ;({ node } = await openHouse())
})

test('with an auto seal the status says what the shares are for, and why it does not open', async () => {
  Object.assign(node.sealStatus, { type: 'awskms', recoverySeal: true, t: 2, n: 3 })
  expect((await node.read('sys/seal-status', null)).body).toMatchObject({
    type: 'awskms',
    recovery_seal: true,
    recovery_seal_type: 'shamir',
    t: 2,
    n: 3,
  })
  Object.assign(node.sealStatus, { type: 'shamir', recoverySeal: false })
  expect((await node.read('sys/seal-status', null)).body.recovery_seal_type).toBeUndefined()
})

test.each([
  [true, { secret_shares: 5 }, 'parameters secret_shares not applicable to seal type awskms'],
  [true, { secret_threshold: 3, pgp_keys: ['x'] }, 'parameters secret_threshold,pgp_keys not applicable to seal type awskms'],
  [false, { recovery_shares: 1, secret_shares: 1 }, 'parameters recovery_shares not applicable to seal type shamir'],
  [false, { recovery_pgp_keys: ['x'] }, 'parameters recovery_pgp_keys not applicable to seal type shamir'],
] as const)('init refuses shares that this seal has not (auto %s, %j)', async (recoverySeal, body, message) => {
  Object.assign(node.sealStatus, { initialized: false, recoverySeal, type: recoverySeal ? 'awskms' : 'shamir' })
  const answer = await node.write('sys/init', body, null)
  expect([answer.status, answer.body.errors]).toEqual([400, [message]])
})

test('what is zero or empty asks for nothing, and who comes too late is told that', async () => {
  Object.assign(node.sealStatus, { initialized: false, recoverySeal: true, type: 'awskms' })
  expect((await node.write('sys/init', { secret_shares: 0, pgp_keys: [] }, null)).status).toBe(200)
  Object.assign(node.sealStatus, { initialized: true })
  const late = await node.write('sys/init', { secret_shares: 5 }, null)
  expect([late.status, late.body.errors]).toEqual([400, ['Vault is already initialized']])
})

test('wrapping the root key anew needs sudo; how the seal does needs a policy', async () => {
  expect((await node.write('sys/sealwrap/rewrap')).status).toBe(204)
  expect(node.calls).toEqual(['rewrap'])
  expect((await node.write('sys/sealwrap/rewrap', {}, null)).status).toBe(403)
  const policy = 'path "sys/sealwrap/rewrap" { capabilities = ["update"] }\npath "sys/seal-backend-status" { capabilities = ["read"] }'
  expect((await node.write('sys/policies/acl/weak', { policy })).status).toBe(204)
  const token = (await node.write('auth/token/create', { policies: ['weak'] })).body.auth.client_token as string
  expect((await node.write('sys/sealwrap/rewrap', {}, token)).status).toBe(403)
  expect((await node.read('sys/seal-backend-status', token)).body.data).toEqual({
    healthy: true,
    backends: [{ name: 'shamir', healthy: true }],
  })
  expect((await node.read('sys/seal-backend-status', null)).status).toBe(403)
  expect(node.calls).toEqual(['rewrap'])
})
