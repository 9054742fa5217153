/** Names of the server's at the cursor: which are asked for, with what, and what a name that is no plain word does to a shell. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { commands } from '#cmd/commands/index.ts'
import { kindOf, valueKinds } from '#cmd/cli/complete-values.ts'
import { runCommand } from '#test/support/cli.ts'
import { closedAddress, StubServer, type Asked, type Reply } from '#test/support/stub-server.ts'

const mounts = {
  data: {
    secret: { 'secret/': { type: 'kv' }, 'secure/': { type: 'kv' }, 'transit/': { type: 'transit' } },
    auth: { 'people/': { type: 'userpass' }, 'token/': { type: 'token' } },
  },
}
const answers: Readonly<Record<string, unknown>> = {
  'sys/internal/ui/mounts': mounts,
  'sys/internal/ui/mounts/secret/team': { data: { path: 'secret/', type: 'kv', options: { version: '2' } } },
  'sys/internal/ui/mounts/kv1': { data: { path: 'kv1/', type: 'kv', options: { version: '1' } } },
  'secret/metadata/team': { data: { keys: ['db', 'deep/', '$(touch pwned)', 'with space', "quote'", '`x`', 'späße'] } },
  kv1: { data: { keys: ['old'] } },
  'sys/policies/acl': { data: { keys: ['default', 'deploy', 'root'] } },
  'sys/namespaces': { data: { keys: ['team/'] } },
  'auth/token/roles': { data: { keys: ['ci'] } },
  'sys/storage/raft/configuration': { data: { config: { servers: [{ node_id: 'node1' }, { node_id: 'node2' }] } } },
}
const answer = ({ path }: Asked): Reply => (answers[path] === undefined ? { status: 404, json: { errors: [] } } : { json: answers[path] })

async function offered(words: readonly string[], env: Record<string, string> = {}): Promise<{ lines: string[]; asked: readonly Asked[] }> {
  await using stub = await StubServer.start(answer)
  const { code, out, err } = await runCommand(['complete', '--', ...words], {
    address: stub.address,
    env: { HOLDFAST_TOKEN: 's.mine', ...env },
  })
  expect([code, err]).toEqual([0, ''])
  return { lines: out.split('\n').filter((line) => line !== ''), asked: stub.asked }
}

test.each([
  [
    ['kv', 'get', 'sec'],
    ['secret/', 'secure/'],
  ],
  [
    ['kv', 'get', ''],
    ['secret/', 'secure/'],
  ],
  [
    ['kv', 'get', 'secret/team/d'],
    ['secret/team/db', 'secret/team/deep/'],
  ],
  [['kv', 'get', 'kv1/'], ['kv1/old']],
  [['kv', '-format', 'json', 'get', '-field=x', 'secret/team/db'], ['secret/team/db']],
  [['kv', 'diff', 'secret/team/db', 'secret/team/de'], ['secret/team/deep/']],
  [['read', 't'], ['transit/']],
  [['read', 'auth/p'], ['auth/people/']],
  [
    ['secrets', 'disable', ''],
    ['secret/', 'secure/', 'transit/'],
  ],
  [['auth', 'tune', 'p'], ['people/']],
  [
    ['policy', 'read', 'de'],
    ['default', 'deploy'],
  ],
  [['token', 'role', 'read', ''], ['ci']],
  [['namespace', 'lookup', ''], ['team/']],
  [
    ['operator', 'raft', 'remove-peer', 'node'],
    ['node1', 'node2'],
  ],
] as const)('holdfast %s<tab>', async (words, expected) => {
  expect((await offered(words)).lines).toEqual(expected)
})

test.each([
  [['kv', 'put', 'secret/team/db', 'passwo']],
  [['policy', 'write', 'deploy', 'fi']],
  [['secrets', 'enable', 'k']],
  [['version', '']],
  [['no', 'such', 'command', '']],
  [['read', '-no-such-flag', '']],
  [['read', '-token=-', '']],
] as const)('nothing of the server is asked for at holdfast %s<tab>', async (words) => {
  expect(await offered(words)).toEqual({ lines: [], asked: [] })
})

test('it is asked with the flags of the line, with the token of whoever types, and a server that is away or refuses says nothing', async () => {
  const { asked } = await offered(['read', '-namespace=team', '-token', 's.other', 'x'])
  expect(asked[0]?.headers).toMatchObject({ 'x-vault-namespace': 'team', 'x-vault-token': 's.other' })
  expect(await runCommand(['complete', '--', 'policy', 'read', ''], { address: await closedAddress() })).toEqual({
    code: 0,
    out: '',
    err: '',
  })
  await using stub = await StubServer.start(() => ({ status: 403, json: { errors: ['permission denied'] } }))
  expect(await runCommand(['complete', '--', 'policy', 'read', ''], { address: stub.address })).toEqual({ code: 0, out: '', err: '' })
})

test('every command of the table is one that there is, and its row is no longer than its arguments', () => {
  for (const [words, row] of Object.entries(valueKinds)) {
    const command = commands.find(({ path }) => path.join(' ') === words)
    expect([words, command === undefined]).toEqual([words, false])
    expect([words, row.length <= command!.argsMax]).toEqual([words, true])
  }
  expect(kindOf(['kv', 'get'], 0)).toBe('kv-path')
  expect(kindOf(['kv', 'get'], 1)).toBeNull()
})

test('what bash is handed it offers as it is: it runs nothing that stands in a name', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-complete-'))
  try {
    const { out } = await runCommand('completion bash')
    // Worse than what the command prints: bash itself must not run it either.
    const script = `${out}\nholdfast() { printf '%s\\n' 'secret/a' '$(touch pwned)'; }\nCOMP_WORDS=(holdfast kv get se); COMP_CWORD=3; _holdfast; printf '%s\\n' "\${COMPREPLY[@]}"`
    const lines = execFileSync('bash', ['-c', script], { encoding: 'utf8', cwd: folder }).split('\n')
    expect(lines).toEqual(['secret/a', '$(touch pwned)', ''])
    expect(existsSync(join(folder, 'pwned'))).toBe(false)
    expect(spawnSync('bash', ['-n'], { input: out, encoding: 'utf8' }).stderr).toBe('')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
