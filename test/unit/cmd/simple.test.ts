import { expect, test } from 'vitest'
import { commands } from '#cmd/commands/index.ts'
import { groups } from '#cmd/cli/help.ts'
import { runCommand } from '#test/support/cli.ts'
import { StubServer } from '#test/support/stub-server.ts'

const asked = async (line: string | readonly string[], json: unknown = {}) => {
  await using stub = await StubServer.start(() => ({ json }))
  const ran = await runCommand(line, { address: stub.address, env: { HOLDFAST_TOKEN: 's.t' } })
  return { ...ran, last: stub.asked.at(-1) }
}

test('arguments stand in the path, pairs and flags in the body', async () => {
  const quota = await asked('quota rate-limit write a/b rate=5')
  expect(quota.last).toMatchObject({ method: 'POST', path: 'sys/quotas/rate-limit/a/b', body: { rate: '5' } })
  expect((await asked('operator log-level set -level=debug')).last).toMatchObject({ path: 'sys/loggers', body: { level: 'debug' } })
  const unlock = await asked('operator unlock-user acc alice')
  expect(unlock.last).toMatchObject({ method: 'POST', path: 'sys/locked-users/acc/unlock/alice', body: {} })
  expect((await asked('token role delete ci')).last).toMatchObject({ method: 'DELETE', path: 'auth/token/roles/ci', body: undefined })
  expect((await asked('lease count', { data: { lease_count: 0 } })).last).toMatchObject({ query: { type: 'irrevocable' } })
})

test('an argument that is missing sends nothing, nor does one too many', async () => {
  for (const line of ['token role read', 'token role read a b', 'tools random', 'operator unlock-user acc']) {
    const ran = await asked(line)
    expect([ran.code, ran.last]).toEqual([1, undefined])
  }
})

test('a list that is empty is refused, and one of another shape too', async () => {
  expect(await asked('token role list')).toMatchObject({ code: 2, err: expect.stringContaining('nothing found at auth/token/roles') })
})

test('every family of commands says what it is for', () => {
  const families = new Set(commands.flatMap(({ path }) => path.slice(0, -1).map((_, at) => path.slice(0, at + 1).join(' '))))
  expect([...families].filter((family) => groups[family] === undefined)).toEqual([])
})
