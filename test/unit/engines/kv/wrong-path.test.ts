/** Calls of version 1 on a mount of version 2: told which it is, as the field's clients know it, and only to those who may ask there. */
import { expect, test } from 'vitest'
import { openHouse } from '#test/support/core-house.ts'

test('each verb is answered 404 with a warning that says where it is; nothing is written, and no document has it', async () => {
  const { node } = await openHouse()
  await node.write('sys/mounts/team', { type: 'kv', options: { version: '2' } })
  const cases = [
    ['read', 'team/app/db', 'team/data/app/db', 'kv get team/app/db'],
    ['update', 'team/app/db', 'team/data/app/db', 'kv put team/app/db'],
    ['patch', 'team/app/db', 'team/data/app/db', 'kv patch team/app/db'],
    ['delete', 'team/app/db', 'team/data/app/db', 'kv delete team/app/db'],
    ['list', 'team/app/', 'team/metadata/app', 'kv list team/app'],
    ['list', 'team/', 'team/metadata/', 'kv list team/'],
  ] as const
  for (const [operation, path, right, command] of cases) {
    const answer = await node.ask({ operation, method: 'TEST', path, body: { password: 'hidden' } })
    expect([operation, answer.status, answer.body.data]).toEqual([operation, 404, null])
    expect(answer.body.warnings).toEqual([expect.stringMatching(/^Invalid path for a versioned K\/V secrets engine/)])
    expect(answer.body.warnings[0]).toContain(`it is ${right}.`)
    expect(answer.body.warnings[0]).toContain(command)
    expect(answer.text).not.toContain('hidden')
  }
  expect((await node.list('team/metadata')).status).toBe(404)
  const paths = Object.keys((await node.read('sys/internal/specs/openapi')).body.paths as object).filter((path) =>
    path.startsWith('/team/'),
  )
  expect(paths.filter((path) => path.includes('wrong') || path === '/team/')).toEqual([])
  const stranger = (await node.write('auth/token/create', { policies: ['default'] })).body.auth.client_token as string
  expect((await node.read('team/app/db', stranger)).status).toBe(403)
})
