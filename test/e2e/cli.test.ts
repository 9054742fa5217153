/** The command line against one real node: each command's way through the server, and what a person sees of it. */
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { runCommand, type Ran, type RunOptions } from '#test/support/cli.ts'
import { mountKv, startCluster, type TestCluster } from '#test/support/cluster.ts'

let running: TestCluster
let address = ''
let token = ''
let dir = ''
beforeAll(async () => {
  running = await startCluster({ nodes: 1 })
  address = running.cluster.nodes[0]?.apiAddress ?? ''
  token = running.cluster.rootToken
  dir = mkdtempSync(join(tmpdir(), 'holdfast-cli-e2e-'))
  await mountKv(running.cluster, 'secret')
  await mountKv(running.cluster, 'old', 1)
})
afterAll(async () => {
  await running?.dispose()
  rmSync(dir, { recursive: true, force: true })
})

/** In this process: a command costs milliseconds. */
const hf = async (line: string | readonly string[], options: RunOptions = {}): Promise<Ran> =>
  await runCommand(line, { address, home: dir, ...options, env: { HOLDFAST_TOKEN: token, ...options.env } })

/** As `hf`, which must end well. @returns its standard output. */
async function ok(line: string | readonly string[], options: RunOptions = {}): Promise<string> {
  const ran = await hf(line, options)
  expect([ran.code, ran.err], `holdfast ${String(line)}`).toEqual([0, expect.not.stringContaining('error:')])
  return ran.out
}

const json = async (line: string, options: RunOptions = {}): Promise<unknown> =>
  JSON.parse(await ok(`${line} -format=json`, options)) as unknown

describe('kv', () => {
  test('history says what each version changed, diff shows where, and rollback goes back', async () => {
    await ok('kv put secret/h user=app password=one')
    await ok('kv put secret/h user=app password=two extra=x')
    await ok('kv put secret/h user=app password=two')
    const history = (await json('kv history secret/h')) as { version: number; state: string; changes: string[] }[]
    expect(history.map(({ version, state, changes }) => [version, state, changes.join(' ')])).toEqual([
      [3, 'current', '-extra'],
      [2, 'kept', '+extra ~password'],
      [1, 'kept', '+password +user'],
    ])
    expect(await ok('kv diff secret/h')).toBe('--- secret/h version 2\n+++ secret/h version 3\n- extra\n')
    expect(await ok('kv diff -versions=1,3 -show-values secret/h')).toContain('~ password: one -> two\n')
    expect((await hf('kv diff -exit-code secret/h')).code).toBe(2)
    expect(await ok('kv diff -recursive secret/h secret/h')).toContain('no difference')
    expect((await hf('kv diff -recursive secret/nothing secret/nowhere')).code).toBe(2)
    await ok('kv rollback -version=1 secret/h')
    expect(await ok('kv get -field=password secret/h')).toBe('one')
    await ok('kv delete secret/h')
    await ok('kv destroy -versions=2 secret/h')
    expect(((await json('kv history secret/h')) as { state: string }[]).map(({ state }) => state)).toEqual([
      'deleted',
      'kept',
      'destroyed',
      'kept',
    ])
  })

  test('export, import and diff go around, over both versions and in every format', async () => {
    const file = join(dir, 'all.yaml')
    writeFileSync(file, 'app/db:\n  user: app\n  password: "it\'s $ecret"\napp/web:\n  key: |\n    line one\n    line two\n')
    const plan = await hf(['kv', 'import', '-dry-run', file, 'secret/tree'])
    expect(plan.out).toBe('create  secret/tree/app/db  +password +user\ncreate  secret/tree/app/web  +key\n')
    expect(plan.err).toBe('dry run: 2 of 2 secret(s) would be written\n')
    expect((await hf('kv list secret/tree')).code).toBe(2)
    expect(await ok(['kv', 'import', file, 'secret/tree'])).toContain('Wrote 2 secret(s), 0 were the same already.')
    expect(await ok(['kv', 'import', file, 'secret/tree'])).toContain('Wrote 0 secret(s), 2 were the same already.')
    expect(await json('kv list -recursive secret/tree')).toEqual(['app/db', 'app/web'])
    expect(await json('list -recursive -limit=1 secret/metadata/tree')).toEqual(['app/db'])
    const exported = await ok('kv export secret/tree')
    await ok('kv import -from=json - old/tree', { stdin: exported })
    expect(await ok('kv diff -recursive -exit-code secret/tree old/tree')).toContain('no difference')
    const env = join(dir, '.env')
    await ok(['kv', 'export', '-output', env, 'secret/tree/app/db'])
    expect(statSync(env).mode & 0o777).toBe(0o600)
    expect((await hf(['kv', 'export', '-output', env, 'secret/tree/app/db'])).code).toBe(1)
    await ok(['kv', 'import', env, 'secret/from-env'])
    expect(await ok('kv get -field=password secret/from-env')).toBe("it's $ecret")
  })

  test('import does not overwrite what somebody wrote after it looked; merge keeps what the file lacks', async () => {
    await ok('kv put secret/m a=1 b=2')
    await ok('kv import -from=json -merge - secret/m', { stdin: '{"b":3,"c":4}' })
    expect(JSON.parse(await ok('kv export secret/m'))).toEqual({ a: '1', b: 3, c: 4 })
  })

  test('search finds by path, key and value what the caller may see, and says what it may not', async () => {
    await ok('kv put secret/find/one billing-password=zebra')
    await ok('kv put secret/find/two user=x')
    await ok('kv put old/billing user=y')
    const found = (await json('kv search billing')) as { path: string; where: string; key: string }[]
    expect(found).toEqual([
      { path: 'old/billing', where: 'path', key: '' },
      { path: 'secret/find/one', where: 'key', key: 'billing-password' },
    ])
    const values = await ok('kv search -values -regex ^zeb secret/find')
    expect(values).toContain('secret/find/one    value    billing-password')
    expect(values).not.toContain('zebra')
    const policy = 'path "secret/metadata/*" { capabilities = ["list"] }\npath "secret/data/find/two" { capabilities = ["read"] }'
    await ok('policy write finder -', { stdin: policy })
    const finder = await ok('token create -policy=finder -field=token')
    const limited = await hf('kv search billing secret/find', { env: { HOLDFAST_TOKEN: finder } })
    expect(limited).toMatchObject({ code: 2, err: expect.stringContaining('1 secret(s) not read') })
  })
})

describe('what is printed instead of sent, and how', () => {
  test('-output-policy is the policy with which the command works', async () => {
    await ok('kv put secret/p k=v')
    const policy = await ok('kv get -output-policy secret/p')
    expect(policy).toBe('path "secret/data/p" {\n  capabilities = ["read"]\n}\n')
    await ok('policy write printed -', { stdin: policy })
    const limited = await ok('token create -policy=printed -field=token')
    expect(await ok('kv get -field=k secret/p', { env: { HOLDFAST_TOKEN: limited } })).toBe('v')
    expect(await ok('run -output-policy -secret=secret/p -- true')).toBe(policy)
    expect(await ok('list -output-policy sys/leases/lookup/a')).toContain(
      'path "sys/leases/lookup/a/" {\n  capabilities = ["list", "sudo"]',
    )
    expect(await ok('kv get -output-curl-string secret/p')).toContain(`'${address}/v1/secret/data/p'`)
  })
  test('-format=raw is one line, and what is no JSON comes as it is', async () => {
    expect(await ok('read -format=raw sys/health')).toMatch(/^\{"initialized":true,.*\}\n?$/)
    expect(await ok('read -format=raw sys/metrics')).toMatch(/^# HELP /m)
  })
  test('a token helper keeps the token', async () => {
    const kept = join(dir, 'kept')
    const helper = join(dir, 'helper.sh')
    writeFileSync(
      helper,
      `#!/bin/sh\ncase $1 in get) cat ${kept} 2>/dev/null;; store) cat >${kept};; erase) rm -f ${kept};; esac\ntrue\n`,
      { mode: 0o700 },
    )
    const env = { HOLDFAST_TOKEN_HELPER: helper, HOLDFAST_TOKEN: '' }
    await ok('login -', { stdin: token, env })
    expect(readFileSync(kept, 'utf8')).toBe(token)
    expect(await ok('token lookup -field=path', { env })).toBe('auth/token/root')
    await ok('logout', { env })
    expect(existsSync(kept)).toBe(false)
  })
})

describe('run', () => {
  const launcher = resolve('cmd/holdfast.mjs')
  const env = (): Record<string, string> => ({
    PATH: process.env['PATH'] ?? '',
    HOME: dir,
    HOLDFAST_ADDR: address,
    HOLDFAST_TOKEN: token,
    HOLDFAST_FROM_TOKEN: 'of migrate',
  })
  /** A process of its own: what is handed over goes through the kernel. */
  const start = (args: readonly string[], stdio: 'ignore' | 'pipe' = 'ignore') =>
    spawn(process.execPath, [launcher, 'run', ...args], { env: env(), stdio: [stdio, 'pipe', 'pipe'] })
  const run = async (args: readonly string[]): Promise<Ran> => {
    const child = start(args)
    const [out, err, code] = await Promise.all([
      text(child.stdout as NodeJS.ReadableStream),
      text(child.stderr as NodeJS.ReadableStream),
      new Promise<number>((ended) => child.once('close', ended)),
    ])
    return { out, err, code }
  }
  const folders = (): readonly string[] => readdirSync('/dev/shm').filter((name) => name.startsWith('holdfast-run-'))

  test('hands over variables and files in memory, no token, and ends as the program does', async () => {
    await ok('kv put secret/run db-password=hunter2 tls=KEY')
    const script =
      'echo "$DB_PASSWORD|$ONE|${HOLDFAST_TOKEN-none}${HOLDFAST_FROM_TOKEN-none}|$(cat "$F")|$(stat -c %a "$F")"; dirname "$F"; exit 7'
    const before = folders()
    const ran = await run(['-secret=secret/run', '-env=ONE=secret/run#tls', '-file=F=secret/run#tls', '--', 'sh', '-c', script])
    const [line, folder] = ran.out.split('\n')
    expect([ran.code, line, ran.err]).toEqual([7, 'hunter2|KEY|nonenone|KEY|600', ''])
    expect(folder).toMatch(/^\/dev\/shm\/holdfast-run-\d+-/)
    expect(folders()).toEqual(before)
  })

  test('starts the program anew when the secret changes; a signal means the end', async () => {
    await ok('kv put secret/watched v=one')
    const child = start(['-watch', '-interval=200ms', '-secret=secret/watched', '--', 'sh', '-c', 'echo "got $V"; exec sleep 60'])
    let out = ''
    child.stdout?.on('data', (part: Buffer) => (out += part.toString()))
    await vi.waitFor(() => expect(out).toBe('got one\n'), { timeout: 20_000 })
    await ok('kv put secret/watched v=two')
    await vi.waitFor(() => expect(out).toBe('got one\ngot two\n'), { timeout: 20_000 })
    const ended = new Promise((code) => child.once('close', code))
    child.kill('SIGTERM')
    expect(await ended).toBe(128 + 15)
  })

  test('what is missing or named twice is said before anything is started, by name', async () => {
    const missing = await hf('run -env=X=secret/run#nothing -- true')
    expect([missing.code, missing.err]).toEqual([1, expect.stringContaining('it has: db-password, tls')])
    const twice = await hf('run -secret=secret/run -env=TLS=secret/run#tls -- true')
    expect([twice.code, twice.err]).toEqual([1, expect.stringContaining('TLS is wanted twice')])
    expect((await hf('run -secret=secret/nowhere -- true')).code).toBe(2)
    expect((await hf('run -secret=secret/run -- /no/such/program')).err).toContain('could not start /no/such/program')
    expect(`${missing.err}${twice.err}`).not.toContain('hunter2')
  })
})

describe('the server', () => {
  test.each([
    'operator host-info',
    'operator in-flight',
    'operator config',
    'operator log-level read',
    'operator log-level set -level=debug',
    'operator log-level reset',
    'operator locked-users',
    'plugin list',
    'lease count',
    'lease irrevocable',
    'lease tidy',
    'token accessors',
    'token tidy',
    'tools random 16',
    'quota rate-limit write wide rate=100000',
    'quota rate-limit list',
    'quota rate-limit read wide',
    'quota rate-limit delete wide',
    'quota lease-count write all max_leases=100000',
    'quota lease-count read all',
    'token role write ci allowed_policies=default',
    'token role read ci',
    'token role list',
    'token role delete ci',
    'namespace list',
    'operator members',
    'operator raft list-peers',
    'operator raft autopilot state',
    'operator key-status',
    'secrets list -detailed',
    'auth list',
  ])('%s', async (line) => {
    if (line === 'namespace list') await ok('namespace create team')
    for (const format of ['table', 'json', 'yaml', 'raw']) {
      const out = await ok(`${line} -format=${format}`)
      if (format === 'table') expect(out).not.toBe('')
      else if (format === 'json' && out !== '') expect(JSON.parse(out)).toBeTypeOf('object')
    }
  })

  test('password policies make passwords', async () => {
    const policy = 'length=20\nrule "charset" { charset = "abc" }'
    await ok('password-policy write short policy=-', { stdin: policy })
    expect(await ok('password-policy generate -field=password short')).toMatch(/^[abc]{20}$/)
  })

  test('wrapping: looked at, rewrapped, opened once', async () => {
    const wrapped = await ok('wrapping wrap -wrap-ttl=5m -field=wrapping_token k=v')
    expect(await ok('wrapping lookup -field=creation_path -', { stdin: wrapped })).toBe('sys/wrapping/wrap')
    const again = await ok('wrapping rewrap -field=wrapping_token -', { stdin: wrapped })
    expect(await ok('unwrap -field=k -', { stdin: again })).toBe('v')
    expect((await hf('unwrap -', { stdin: wrapped })).code).toBe(2)
  })

  test('engines and methods are moved', async () => {
    await ok('secrets enable -path=from kv')
    await ok('kv put from/a k=v')
    expect(await ok('secrets move from to')).toBe('Success! Moved the secrets engine from/ to: to/\n')
    expect(await ok('kv get -field=k to/a')).toBe('v')
    await ok('auth enable userpass')
    await ok('auth move userpass people')
    expect(Object.keys((await json('auth list')) as object)).toContain('people/')
  })

  test('a schedule of snapshots is written, shown and deleted; a refusal is not a stack trace', async () => {
    const refused = await hf('operator raft snapshot schedule write daily -interval=24h -retain=7 -storage=local')
    expect([refused.code, refused.err]).toEqual([2, expect.stringContaining('snapshot_folder')])
    const s3 = 'aws_s3_bucket=b aws_s3_region=eu-central-1 aws_access_key_id=AKIAPLANTED aws_secret_access_key=planted-secret-of-s3'
    await ok(`operator raft snapshot schedule write hourly -interval=500h -retain=3 -storage=aws-s3 ${s3}`)
    expect(await ok('operator raft snapshot schedule list')).toContain('hourly')
    expect(await ok('operator raft snapshot schedule read -field=retain hourly')).toBe('3')
    expect((await hf('operator raft snapshot schedule status')).out).toMatch(/^Name +State +Last +Size +Next +Errors\n-+.*\nhourly /)
  })

  test('status and members on a terminal: who leads, who is silent', async () => {
    const several = `${address},http://127.0.0.1:1`
    const status = await hf('status', { address: several, tty: true })
    expect(status.out).toMatch(new RegExp(`\u001b\\[32m${address} +leader +0\u001b`))
    expect(status.out).toContain('\u001b[31mhttp://127.0.0.1:1')
    const members = await hf('operator members', { tty: true, env: { NO_COLOR: '1' } })
    expect(members.out).toMatch(/\n1 node\(s\): node1 leads; all open and up to date\n$/)
  })

  test('a debug bundle holds much of the servers, and no secret, token or key', async () => {
    await ok('kv put secret/planted password=planted-secret-of-kv')
    const folder = join(dir, 'bundle')
    expect(await ok(['debug', '-duration=1s', '-interval=1s', '-output', folder])).toMatch(/Rounds +2\n/)
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => statSync(join(folder, name)).isFile())
    const all = files.map((name) => readFileSync(join(folder, name), 'utf8')).join('\n')
    expect(files.length).toBeGreaterThan(25)
    expect(all).toContain('holdfast_')
    const { keys } = running.cluster
    const planted = [token, ...keys.unseal_keys_b64, ...keys.unseal_keys_hex, 'planted-secret-of-kv', 'planted-secret-of-s3']
    expect(planted.filter((secret) => all.includes(secret))).toEqual([])
    expect(files.filter((name) => (statSync(join(folder, name)).mode & 0o077) !== 0)).toEqual([])
    expect((await hf(['debug', '-output', folder])).code).toBe(1)
  })
})

test('bench loads the server that it is told, says what came out, and leaves nothing behind', async () => {
  const file = join(dir, 'bench.json')
  await ok(`bench -work=kv-read -connections=2 -seconds=0.2 -turns=1 -secrets=20 -json=${file}`)
  const kept = readFileSync(file, 'utf8')
  const { figures } = JSON.parse(kept) as { figures: { measured: { sides: { per_second: number; errors: object }[] }[] } }
  expect(figures.measured[0]?.sides[0]).toMatchObject({ per_second: expect.toSatisfy((rate: number) => rate > 10), errors: {} })
  expect(kept).not.toContain(token)
  expect(await ok('secrets list')).not.toContain('bench-')
  expect(await ok('policy list')).not.toContain('bench-')
  expect(await hf('bench -namespace=team')).toMatchObject({ code: 1, err: expect.stringContaining('expected the root namespace') })
  expect((await hf('bench -work=nonsense')).code).toBe(2)
})

test('the launcher ends with the command’s code', async () => {
  const code = await new Promise((ended) => {
    execFile(process.execPath, ['cmd/holdfast.mjs', 'statuss'], (error) => ended(error?.code))
  })
  expect(code).toBe(1)
})
