/** Policies as their authors meet them: written, explained and tested by the command, decided by a real core (behind a plain HTTP server). */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runCommand, type Ran } from '#test/support/cli.ts'
import { openHouse } from '#test/support/core-house.ts'
import { StubServer, type Asked, type Reply } from '#test/support/stub-server.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-policies-'))
let house: Awaited<ReturnType<typeof openHouse>>
let stub: StubServer

const operations: Readonly<Record<string, 'read' | 'update' | 'patch' | 'delete'>> = {
  GET: 'read',
  PUT: 'update',
  POST: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
}

/** What a listener does, as far as these commands need it. */
async function handle({ method, path, query, headers, body }: Asked): Promise<Reply> {
  const listing = query['list'] === 'true'
  const answer = await house.node.ask({
    operation: listing ? 'list' : (operations[method] ?? 'read'),
    method,
    path: listing && !path.endsWith('/') ? `${path}/` : path,
    query,
    token: String(headers['x-vault-token'] ?? ''),
    body: (body ?? {}) as Record<string, unknown>,
    clientAddress: '127.0.0.1',
  })
  return { status: answer.status, text: answer.text }
}

beforeAll(async () => {
  house = await openHouse()
  stub = await StubServer.start(handle)
  await house.node.write('sys/mounts/secret', { type: 'kv', options: { version: '2' } })
})
afterAll(async () => {
  await stub?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

const run = (line: readonly string[], env: Record<string, string> = {}): Promise<Ran> =>
  runCommand(line, { address: stub.address, env: { HOLDFAST_TOKEN: house.rootToken, ...env } })

async function tokenFor(...flags: string[]): Promise<string> {
  const made = await run(['token', 'create', '-field=token', ...flags])
  expect(made.err).toBe('')
  return made.out
}

test('from the file to the decision, and why', async () => {
  const file = join(folder, 'team.hcl')
  writeFileSync(
    file,
    `path "secret/data/team/*" { capabilities = ["create", "update", "read"] conditions { source_cidrs = ["127.0.0.0/8"] max_token_ttl = "1h" } }
path "secret/data/+/far" { capabilities = ["read"] conditions { source_cidrs = ["192.0.2.0/24"] } }
path "secret/data/team/closed" { capabilities = ["deny"] conditions { source_cidrs = ["192.0.2.0/24"] } }`,
  )
  expect((await run(['policy', 'fmt', file])).code).toBe(0)
  expect((await run(['policy', 'write', 'team', file])).code).toBe(0)
  const short = await tokenFor('-policy=team', '-ttl=30m')
  const long = await tokenFor('-policy=team', '-ttl=2h')
  const by = (token: string, ...line: string[]): Promise<Ran> => run(line, { HOLDFAST_TOKEN: token })
  expect((await by(short, 'kv', 'put', 'secret/team/x', 'a=1')).code).toBe(0)
  expect((await by(long, 'kv', 'put', 'secret/team/x', 'a=2')).code).toBe(2)
  expect((await by(short, 'kv', 'get', '-field=a', 'secret/team/x')).out).toBe('1')
  expect((await by(short, 'policy', 'explain', 'secret/data/team/closed')).out).toContain(
    'denied by "secret/data/team/closed" (team): the rule denies',
  )
  const explained = await by(long, 'policy', 'explain', '-operation=update', 'secret/data/team/x')
  expect(explained.out).toContain('denied: no rule matches the path')
  expect(explained.out).toContain('condition max_token_ttl fails')
  expect((await by(short, 'policy', 'explain', 'secret/data/b/far')).out).toContain('condition source_cidrs fails')

  const checks = join(folder, 'access.test.hcl')
  writeFileSync(
    checks,
    `subject "stored" { policies = ["team"] address = "127.0.0.1" token_ttl = "10m" }
subject "short" { token_env = "SHORT" }
subject "long" { token_env = "LONG" }
may "stored" { read = ["secret/data/team/x"] }
may_not "stored" { delete = ["secret/data/team/x"] read = ["secret/data/team/closed"] }
may "short" { update = ["secret/data/team/x", "sys/policies/explain"] }
may_not "long" { update = ["secret/data/team/x"] }
may_not "short" { update = ["sys/rotate"] read = ["sys/policies/acl/team"] }
`,
  )
  const env = { SHORT: short, LONG: long }
  expect(await run(['policy', 'test', '-online', checks], env)).toMatchObject({ code: 0, out: '8 check(s), 0 failed\n' })
  expect((await run(['policy', 'test', '-online', checks], { ...env, SHORT: long })).code).toBe(2)
})
