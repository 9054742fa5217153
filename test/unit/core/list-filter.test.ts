import { expect, test } from 'vitest'
import { openHouse } from '#test/support/core-house.ts'

test('a filter of lists leaves a secret that has a field of that name as it is', async () => {
  const { node } = await openHouse()
  await node.write('sys/mounts/kv', { type: 'kv' })
  await node.write('kv/a', { keys: ['one', 'two'] })
  await node.write('sys/policies/acl/app', {
    policy: 'path "kv/*" { capabilities = ["read", "list"] list_scan_response_keys_filter_path = "none/{{ .key }}" }',
  })
  const token = (await node.write('auth/token/create', { policies: ['app'] })).body.auth.client_token
  expect((await node.read('kv/a', token)).body.data).toEqual({ keys: ['one', 'two'] })
  expect((await node.list('kv/', token)).body?.data?.keys ?? []).toEqual([])
})

const filtering = (path: string, template: string): string =>
  `path "${path}" { capabilities = ["read", "list", "sudo"] list_scan_response_keys_filter_path = "${template}" }
   path "shown/*" { capabilities = ["read"] }`

test('a filter of lists leaves no name in any other field of the answer', async () => {
  const { node } = await openHouse()
  const policy = `${filtering('sys/policy', 'hidden/{{ .key }}')} path "hidden/app" { capabilities = ["read"] }`
  await node.write('sys/policies/acl/app', { policy })
  await node.write('sys/policies/acl/merger-with-acme', { policy: 'path "x" { capabilities = ["read"] }' })
  const token = (await node.write('auth/token/create', { policies: ['app'] })).body.auth.client_token
  const { body, text } = await node.list('sys/policy', token)
  expect(body.data).toEqual({ keys: ['app'], policies: ['app'] })
  expect([body.keys, body.policies]).toEqual([['app'], ['app']])
  expect(text).not.toContain('merger')
  // The old path answers a GET with the same list.
  const read = await node.read('sys/policy', token)
  expect([read.status, read.body.data]).toEqual([200, { keys: ['app'], policies: ['app'] }])
  expect(read.text).not.toContain('merger')
})

test('a filter of lists holds for those that are made outside of storage as well', async () => {
  const { node } = await openHouse()
  await node.write('sys/policies/acl/none', { policy: filtering('sys/storage/raft/join-token', 'hidden/{{ .key }}') })
  await node.write('sys/policies/acl/all', { policy: filtering('sys/storage/raft/join-token', 'shown/{{ .key }}') })
  const keysFor = async (policy: string): Promise<string[]> => {
    const token = (await node.write('auth/token/create', { policies: [policy] })).body.auth.client_token
    return (await node.list('sys/storage/raft/join-token', token)).body?.data?.keys ?? []
  }
  expect(await keysFor('all')).not.toEqual([])
  expect(await keysFor('none')).toEqual([])
})
