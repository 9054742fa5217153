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
