/** What an answer tells of a request that was carried out in part only. */
import { beforeEach, expect, test } from 'vitest'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let node: HouseNode
beforeEach(async () => {
  node = (await openHouse()).node
})

test('fields that no one has asked for are named beside the answer; an answer without a body stays without one', async () => {
  const made = await node.write('auth/token/create', { polices: ['default'], ttl: '1h' })
  expect([made.status, made.body.warnings]).toEqual([200, ['Endpoint ignored these unrecognized parameters: [polices]']])
  const silent = await node.write('sys/policies/acl/p', { policy: 'path "x" { capabilities = ["read"] }', polcy: 'x' })
  expect(silent.status).toBe(204)
})

test('a policy that does not exist is named beside the token', async () => {
  await node.write('sys/policies/acl/there', { policy: 'path "x" { capabilities = ["read"] }' })
  const warningsOf = async (policies: string[]) => (await node.write('auth/token/create', { policies })).body.warnings
  expect(await warningsOf(['there', 'nosuch'])).toEqual(['Policy "nosuch" does not exist'])
  expect(await warningsOf(['there'])).toBeNull()
  expect(await warningsOf(['root'])).toBeNull()
  const many = await warningsOf(Array.from({ length: 40 }, (_, i) => `none-${i}`))
  expect(many).toHaveLength(16)
})
