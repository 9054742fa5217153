/** What is shown of a namespace's keys: as a table, as one field, as JSON. */
import { expect, test } from 'vitest'
import { runCommand, temporaryHome } from '#test/support/cli.ts'
import { StubServer } from '#test/support/stub-server.ts'

const home = temporaryHome()
const status = { type: 'shamir', initialized: true, sealed: true, t: 2, n: 3, progress: 1, nonce: 'n-1' }
const key = { term: 4, install_time: '2026-11-23T00:00:00Z', encryptions: 7, sealed: false, own_seal: true }
const rekey = { nonce: 'n-2', started: true, t: 2, n: 3, progress: 0, required: 2 }

test.each([
  ['seal-status', 'seal-status', status, 'progress', '1'],
  ['key-status', 'key-status', key, 'term', '4'],
  ['rekey', 'rekey/init', rekey, 'nonce', 'n-2'],
])('namespace %s', async (command, route, data, field, value) => {
  await using stub = await StubServer.start(({ method, path }) =>
    method === 'GET' && path === `sys/namespaces/team/${route}` ? { json: { data } } : { status: 404, json: { errors: [] } },
  )
  const run = (flags: string) => runCommand(`namespace ${command} ${flags} team`.replaceAll(/ +/g, ' '), { address: stub.address, home })
  const table = await run('')
  expect([table.code, table.err]).toEqual([0, ''])
  for (const name of Object.keys(data)) expect(table.out).toMatch(new RegExp(`^${name} +\\S`, 'm'))
  expect(table.out).toMatch(new RegExp(`^${field} +${value}$`, 'm'))
  const json = JSON.parse((await run('-format=json')).out) as { data?: unknown }
  expect(json.data ?? json).toEqual(data)
})
