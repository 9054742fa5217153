import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { runCommand, temporaryHome, type RunOptions } from '#test/support/cli.ts'
import { closedAddress, StubServer, type Asked, type Reply } from '#test/support/stub-server.ts'

let home = ''
beforeAll(() => {
  home = temporaryHome()
})
afterAll(() => rmSync(home, { recursive: true, force: true }))

const denied = { status: 403, json: { errors: ['permission denied'] } }
const metadata = { created_time: '2026-08-01T10:00:00Z', custom_metadata: null, deletion_time: '', destroyed: false, version: 3 }
const mountReply = (version: string): Reply => ({ json: { data: { path: 'secret/', type: 'kv', options: { version } } } })

/** Runs `line` against a server that answers `replies` by 'METHOD path'; a LIST is told by its query. */
async function against(replies: Readonly<Record<string, Reply>>, line: string | readonly string[], options: RunOptions = {}) {
  const find = (asked: Asked): Reply => {
    if (asked.path.startsWith('sys/internal/ui/mounts/') && replies['mount'] !== undefined) return replies['mount']
    const method = asked.query['list'] === 'true' ? 'LIST' : asked.method
    return replies[`${method} ${asked.path}`] ?? { status: 404, json: { errors: [] } }
  }
  await using stub = await StubServer.start(find)
  const ran = await runCommand(line, { address: stub.address, home, ...options })
  const asked = stub.asked.filter(({ path }) => !path.startsWith('sys/internal/ui/mounts/'))
  return { ...ran, asked, last: asked.at(-1), address: stub.address }
}

describe('exit codes and errors', () => {
  test('refused without a token: the hint says so, for kv as well', async () => {
    const hint = 'hint: no token was sent: set HOLDFAST_TOKEN, or log in with: holdfast login'
    for (const [replies, line] of [
      [{ 'GET secret/x': denied }, 'read secret/x'],
      [{ mount: denied }, 'kv get secret/x'],
    ] as const) {
      const ran = await against(replies, line, { home: '/nonexistent' })
      expect([ran.code, ran.err]).toEqual([2, expect.stringContaining(hint)])
    }
  })
  test('refused: code 2, an error line and a hint line', async () => {
    const ran = await against({ 'GET secret/x': denied }, 'read secret/x', { env: { HOLDFAST_TOKEN: 's.one' } })
    expect(ran.code).toBe(2)
    expect(ran.err).toBe(
      `error: GET ${ran.address}/v1/secret/x answered 403: permission denied\n` +
        'hint: is the token right and still valid (holdfast token lookup), and does a policy allow this? The same command with -output-policy prints what it needs\n',
    )
  })
  test.each(['frobnicate', 'read', 'kv get', 'read a -fieldd=x', 'kv delete -versions=x secret/a', 'kv', 'token create -type=odd'])(
    'used wrongly: "%s" is code 1',
    async (line) => {
      expect((await runCommand(line)).code).toBe(1)
    },
  )
  test('nobody there: code 2', async () => {
    const ran = await runCommand('status', { address: await closedAddress() })
    expect([ran.code, ran.err]).toEqual([2, expect.stringContaining('connection refused')])
  })
  test('sealed: code 2 and what to do', async () => {
    const ran = await against({ 'GET a': { status: 503, json: { errors: ['Vault is sealed'] } } }, 'read a')
    expect([ran.code, ran.err]).toEqual([2, expect.stringContaining('hint: unseal it: holdfast operator unseal')])
  })
  test('colours only on a terminal, and not where NO_COLOR is set', async () => {
    expect((await runCommand('nothing', { tty: true })).err).toContain('\u001b[31merror:')
    expect((await runCommand('nothing', { tty: true, env: { NO_COLOR: '1' } })).err).toMatch(/^error:/)
  })
  test('a token that was mistyped as an argument or a flag is not shown again', async () => {
    const secret = 's.verysecrettoken'
    for (const line of [`write a ${secret}`, `kv put secret/a ${secret}`, `list a -format=${secret}`, `kv get -version=${secret} a`]) {
      const ran = await runCommand(line)
      expect([ran.code, `${ran.out}${ran.err}`]).toEqual([1, expect.not.stringContaining(secret)])
    }
  })
})

describe('settings', () => {
  const lookup = { 'GET a': { json: { data: { k: 'v' } } } }
  test('token, namespace, format: the flag goes before HOLDFAST_, that before VAULT_', async () => {
    const env = { HOLDFAST_TOKEN: 's.hf', VAULT_TOKEN: 's.vault', VAULT_NAMESPACE: 'team/', VAULT_FORMAT: 'json' }
    const ran = await against(lookup, 'read a', { env })
    expect(ran.last?.headers).toMatchObject({ 'x-vault-token': 's.hf', 'x-vault-namespace': 'team' })
    expect(JSON.parse(ran.out)).toEqual({ data: { k: 'v' } })
    const flagged = await against(lookup, 'read -token=s.flag -ns=other -format=yaml a', { env })
    expect(flagged.last?.headers).toMatchObject({ 'x-vault-token': 's.flag', 'x-vault-namespace': 'other' })
    expect(flagged.out).toBe('data:\n  k: v\n')
  })
  test('several addresses are tried in turn', async () => {
    await using stub = await StubServer.start(() => ({ json: { data: { k: 'v' } } }))
    const ran = await runCommand(`read -address=${await closedAddress()},${stub.address} -field=k a`)
    expect(ran).toEqual({ code: 0, out: 'v', err: '' })
  })
  test('-header sends what is asked for, and never in place of the token', async () => {
    const ran = await against(lookup, ['read', '-header=X-Trace=a b', '-header=X-Vault-Token=other', '-token=s.t', 'a'])
    expect(ran.last?.headers).toMatchObject({ 'x-trace': 'a b', 'x-vault-token': 's.t' })
    const odd = await against(lookup, ['read', '-header=X Trace=a', 'a'])
    expect([odd.code, odd.asked]).toEqual([1, []])
  })
  test('a folder of authorities and a helper that fails are read before anything is sent', async () => {
    const failing = await against(lookup, 'read a', { env: { VAULT_TOKEN_HELPER: '/bin/false' } })
    expect([failing.code, failing.asked]).toEqual([2, []])
    expect(failing.err).toContain('the token helper /bin/false get expected to end with 0, got exit code 1')
  })
  test('a token from standard input', async () => {
    const ran = await against(lookup, 'read -token=- a', { stdin: 's.stdin\n' })
    expect(ran.last?.headers['x-vault-token']).toBe('s.stdin')
  })
  test.each([
    'bench',
    'debug',
    'kv history secret/a',
    'kv diff secret/a',
    'kv rollback -version=1 secret/a',
    'operator init',
    'operator members',
  ])('%s sends several requests, and prints none of them', async (line) => {
    for (const flag of ['-output-policy', '-output-curl-string']) {
      const ran = await against({}, `${line} ${flag}`)
      expect([ran.code, ran.out, ran.asked.length]).toEqual([1, '', 0])
      expect(ran.err).toContain('sends several requests, so none of them is printed')
    }
  })
  test('without anybody who leads operator members leads to what each node says, not back to itself', async () => {
    const nobody = { status: 503, json: { errors: ['no leader confirmed this read in time'] } }
    const ran = await against({ 'GET sys/storage/raft/configuration': nobody }, 'operator members')
    expect([ran.code, ran.err]).toEqual([2, expect.stringContaining('holdfast status -address=URL')])
    expect(ran.err).not.toContain('operator members')
  })
  test('a namespace that is not there is no Success', async () => {
    const absent = { 'DELETE sys/namespaces/nope': { json: { data: null, warnings: ['requested namespace does not exist'] } } }
    const ran = await against(absent, 'namespace delete nope')
    expect([ran.code, ran.out]).toEqual([0, ''])
    expect(ran.err).toContain('requested namespace does not exist')
    const there = await against({ 'DELETE sys/namespaces/team': { json: { data: { status: 'in-progress' } } } }, 'namespace delete team')
    expect(there.out).toContain('is being deleted')
  })
  test('a policy of the server where a file is expected says how to get one', async () => {
    for (const typed of ['policy explain -policy=team secret/app', 'policy lint team']) {
      const ran = await against({}, typed)
      expect([typed, ran.code, ran.err]).toEqual([typed, 1, expect.stringContaining('holdfast policy read team > team.hcl')])
    }
  })
  test('-output-curl-string sends nothing and shows no token', async () => {
    const ran = await against({}, ['write', '-output-curl-string', '-token=s.secret', 'a', "k=it's"])
    expect(ran.asked).toEqual([])
    expect(ran.out).toContain(`-H "X-Vault-Token: $HOLDFAST_TOKEN"`)
    expect(ran.out).toContain(`-d '{"k":"it'\\''s"}'`)
    expect(ran.out).not.toContain('s.secret')
  })
})

describe('login', () => {
  const self = {
    'GET auth/token/lookup-self': { json: { data: { accessor: 'acc', ttl: 60, renewable: true, policies: ['team'], meta: null } } },
  }
  test('keeps the token in a file of its own, for the next command; logout forgets it', async () => {
    const ran = await against(self, 'login', { stdin: 's.mine\n' })
    expect([ran.code, ran.last?.headers['x-vault-token']]).toEqual([0, 's.mine'])
    expect(ran.out).toMatch(/^Success! You are logged in.*\n\nKey {18}Value\n/)
    const path = join(home, '.holdfast-token')
    expect([readFileSync(path, 'utf8'), statSync(path).mode & 0o777]).toEqual(['s.mine', 0o600])
    const next = await against({ 'GET a': { json: { data: {} } } }, 'read a')
    expect(next.last?.headers['x-vault-token']).toBe('s.mine')
    await runCommand('logout', { home })
    expect(existsSync(path)).toBe(false)
  })
  test('a login that waits for a second factor asks for its code; -mfa sends it with the login, and is never repeated in an error', async () => {
    const requirement = {
      mfa_request_id: 'request-1',
      mfa_constraints: { staff: { any: [{ id: 'method-1', type: 'totp', uses_passcode: true, name: 'phone' }] } },
    }
    const replies = {
      'POST auth/userpass/login/ada': { json: { auth: { client_token: '', mfa_requirement: requirement } } },
      'POST sys/mfa/validate': {
        json: { auth: { client_token: 's.two', accessor: 'acc', lease_duration: 60, renewable: true, policies: [] } },
      },
    }
    const line = 'login -no-store -token-only -method=userpass username=ada'
    const asked = await against(replies, line, { stdin: 'password\n123456\n' })
    expect([asked.code, asked.out.trim()]).toEqual([0, 's.two'])
    expect(asked.last).toMatchObject({ body: { mfa_request_id: 'request-1', mfa_payload: { 'method-1': ['123456'] } } })
    expect(asked.last?.headers['x-vault-token']).toBeUndefined()
    const sent = await against(replies, `${line} -mfa=phone:123456 -mfa=other:654321`, { stdin: 'password\n1\n' })
    expect(sent.asked[0]?.headers['x-vault-mfa']).toBe('phone:123456,other:654321')
    const environment = await against(replies, line, { stdin: 'password\n1\n', env: { VAULT_MFA: 'phone:111111' } })
    expect(environment.asked[0]?.headers['x-vault-mfa']).toBe('phone:111111')
    const wrong = await against(replies, `${line} -mfa=123456`)
    expect([wrong.code, wrong.asked]).toEqual([1, []])
    expect(wrong.err).not.toContain('123456')
  })
  test('a second factor of a kind that is not known is said, and nothing is kept', async () => {
    const mfa_requirement = { mfa_request_id: 'r', mfa_constraints: { staff: { any: [{ id: 'm', type: 'duo', uses_passcode: false }] } } }
    const reply = { json: { auth: { client_token: '', mfa_requirement } } }
    const ran = await against({ 'POST auth/userpass/login/ada': reply }, 'login -method=userpass username=ada', { stdin: 'p\n' })
    expect([ran.code, existsSync(join(home, '.holdfast-token'))]).toEqual([2, false])
  })
  test('-no-store checks and keeps nothing', async () => {
    const ran = await against(self, 'login -no-store -', { stdin: 's.x' })
    expect([ran.out, existsSync(join(home, '.holdfast-token'))]).toEqual([expect.stringContaining('it is not kept'), false])
  })
  beforeEach(() => rmSync(join(home, '.holdfast-token'), { force: true }))
  describe.each([
    ['userpass', 'username=al@ice.org', 'auth/userpass/login/al@ice.org', { password: 'typed' }],
    ['approle', 'role_id=r', 'auth/approle/login', { role_id: 'r', secret_id: 'typed' }],
  ])('by %s', (method, pair, path, sent) => {
    const made = { json: { auth: { client_token: 's.new', accessor: 'acc', lease_duration: 60, renewable: true, policies: ['p'] } } }
    test('asks for the secret, sends no token, and keeps the one it gets', async () => {
      const ran = await against({ [`POST ${path}`]: made }, `login -method=${method} ${pair}`, { stdin: 'typed\n' })
      expect([ran.code, ran.last?.body, ran.last?.headers['x-vault-token']]).toEqual([0, sent, undefined])
      expect(readFileSync(join(home, '.holdfast-token'), 'utf8')).toBe('s.new')
    })
    test('-path says where it is mounted, and -token-only prints the token alone', async () => {
      const elsewhere = path.replace(`auth/${method}`, 'auth/my/own')
      const secret = method === 'userpass' ? 'password=typed' : 'secret_id=typed'
      const ran = await against({ [`POST ${elsewhere}`]: made }, `login -method=${method} -path=/my/own/ -token-only ${pair} ${secret}`)
      expect([ran.code, ran.out.trim(), ran.last?.body]).toEqual([0, 's.new', sent])
    })
    test('without a name sends nothing', async () => {
      const ran = await against({}, `login -method=${method}`, { stdin: 'typed' })
      expect([ran.code, ran.asked]).toEqual([1, []])
    })
    test('that is refused keeps nothing', async () => {
      const refused = { status: 400, json: { errors: ['invalid username or password'] } }
      const ran = await against({ [`POST ${path}`]: refused }, `login -method=${method} ${pair}`, { stdin: 'typed' })
      expect([ran.code, existsSync(join(home, '.holdfast-token'))]).toEqual([2, false])
    })
  })
  test('by a method that is not built in says how', async () => {
    const ran = await against({}, 'login -method=odd')
    expect([ran.code, ran.err]).toEqual([1, expect.stringContaining('holdfast write auth/odd/login')])
  })
  test('a refused token is not kept', async () => {
    const ran = await against({ 'GET auth/token/lookup-self': denied }, 'login s.bad')
    expect([ran.code, existsSync(join(home, '.holdfast-token'))]).toEqual([2, false])
  })
})

describe('generic verbs', () => {
  test('read prints a table, one field, or refuses a field that is not there', async () => {
    const replies = { 'GET a/b': { json: { lease_duration: 3600, data: { k: 'v', n: null } } } }
    expect((await against(replies, 'read a/b')).out).toBe(
      'Key                 Value\n---                 -----\nrefresh_interval    1h\nk                   v\nn                   <nil>\n',
    )
    expect((await against(replies, 'read -field=k a/b')).out).toBe('v')
    expect((await against(replies, 'read -field=k a/b', { tty: true })).out).toBe('v\n')
    expect((await against(replies, 'read -field=z a/b')).code).toBe(2)
    expect((await against(replies, 'read none')).code).toBe(2)
  })
  test('write takes pairs, files, standard input and JSON', async () => {
    const file = join(home, 'value')
    writeFileSync(file, 'from file')
    const ran = await against({ 'POST a': {} }, ['write', 'a', 'k=v=w', `f=@${file}`, 'i=-', 'd=1', 'd=2', 'at=\\@x'], {
      stdin: 'from stdin',
    })
    expect(ran.last?.body).toEqual({ k: 'v=w', f: 'from file', i: 'from stdin', d: ['1', '2'], at: '@x' })
    expect(ran.out).toBe('Success! Data written to: a\n')
    const whole = await against({ 'POST a': {} }, 'write a -', { stdin: '{"n":{"deep":[1]}}' })
    expect(whole.last?.body).toEqual({ n: { deep: [1] } })
    const broken = await against({}, 'write a -', { stdin: '{"password":"hunter2",' })
    expect([broken.code, broken.err]).toEqual([1, expect.not.stringContaining('hunter2')])
    expect((await runCommand('write a')).code).toBe(1)
    expect((await against({ 'POST a': {} }, 'write -f a')).last?.body).toEqual({})
    const bare = { 'POST a': { json: { active: true } } }
    expect((await against(bare, 'write a k=v')).out).toBe('Key       Value\n---       -----\nactive    true\n')
    expect((await against(bare, 'write -field=active a k=v')).out).toBe('true')
    const sealed = { json: { sealed: true, warnings: ['the seal does not open'] } }
    expect((await against({ 'GET sys/seal-status': sealed }, 'read -field=sealed sys/seal-status')).out).toBe('true')
    const shares = { 'POST sys/rekey/update': { json: { keys: ['a'], warnings: ['keep both'] } } }
    expect((await against(shares, 'write -field=keys sys/rekey/update key=k')).out).toBe('["a"]')
    expect((await against({ 'POST a': { json: {} } }, 'write a k=v')).out).toBe('Success! Data written to: a\n')
  })
  test('list, delete, patch, unwrap, path-help', async () => {
    expect((await against({ 'LIST a': { json: { data: { keys: ['x', 'y/'] } } } }, 'list a')).out).toBe('Keys\n----\nx\ny/\n')
    expect((await against({ 'LIST a': { json: { data: { keys: ['x'] } } } }, 'list a -format=json')).out).toBe('[\n  "x"\n]\n')
    expect(await against({}, 'list none')).toMatchObject({ code: 2, err: 'error: nothing found at none\n' })
    expect((await against({ 'DELETE a': {} }, 'delete a')).out).toBe('Success! Data deleted (if it existed) at: a\n')
    expect((await against({ 'PATCH a': {} }, 'patch a k=v')).last?.body).toEqual({ k: 'v' })
    const wrapped = await against({ 'POST sys/wrapping/unwrap': { json: { data: { k: 'v' } } } }, 'unwrap -field=k -', { stdin: 's.wrap' })
    expect([wrapped.out, wrapped.last?.headers['x-vault-token']]).toEqual(['v', 's.wrap'])
    expect((await against({ 'GET a': { json: { help: 'Help text.' } } }, 'path-help a')).out).toBe('Help text.\n')
  })
  test('warnings go to standard error', async () => {
    const ran = await against({ 'POST a': { json: { data: null, warnings: ['careful'] } } }, 'write a k=v')
    expect([ran.err, ran.out]).toEqual(['warning: careful\n', 'Success! Data written to: a\n'])
  })
})

describe('kv', () => {
  const two = { mount: mountReply('2') }
  const stored = { json: { data: { data: { password: 'p', user: 'u' }, metadata } } }
  test('put and get on version 2', async () => {
    const put = await against({ ...two, 'POST secret/data/app': { json: { data: metadata } } }, 'kv put -cas=2 secret/app user=u')
    expect(put.last?.body).toEqual({ data: { user: 'u' }, options: { cas: 2 } })
    expect(put.out).toContain('== Secret Path ==\nsecret/data/app\n\n')
    expect(put.out).toMatch(/=+ Metadata =+\nKey {16}Value\n/)
    const get = await against({ ...two, 'GET secret/data/app': stored }, 'kv get secret/app')
    expect(get.out).toMatch(/deletion_time {6}n\/a\n/)
    expect(get.out).toMatch(/===== Data ======\nKey {9}Value\n--- {9}-----\npassword {4}p\nuser {8}u\n$/)
    const old = await against({ ...two, 'GET secret/data/app': stored }, 'kv get -mount=secret -version=2 -field=user app')
    expect([old.out, old.last?.query]).toEqual(['u', { version: '2' }])
    expect(JSON.parse((await against({ ...two, 'GET secret/data/app': stored }, 'kv get -format=json secret/app')).out)).toMatchObject(
      stored.json,
    )
  })
  test('version 1 has no data/ and no wrapping of the body', async () => {
    const one = {
      mount: mountReply('1'),
      'POST secret/app': {},
      'GET secret/app': { json: { lease_duration: 2_764_800, data: { k: 'v' } } },
    }
    expect((await against(one, 'kv put secret/app k=v')).last).toMatchObject({ path: 'secret/app', body: { k: 'v' } })
    // Neither could be kept there: what others write in between would be lost, and both told that all went well.
    for (const typed of ['kv patch secret/app more=v', 'kv patch -method=rw secret/app more=v', 'kv put -cas=0 secret/app k=v']) {
      const refused = await against(one, typed)
      expect([typed, refused.code, refused.err, refused.last]).toEqual([typed, 2, expect.stringContaining('has version 1'), undefined])
      expect(refused.err).toContain('holdfast kv enable-versioning secret')
    }
    expect((await against(one, 'kv get secret/app')).out).toContain('refresh_interval    768h')
    expect(await against(one, 'kv undelete -versions=1 secret/app')).toMatchObject({
      code: 2,
      err: expect.stringContaining('enable-versioning secret'),
    })
  })
  test('-wrap-ttl wraps the secret and not the question where it is mounted', async () => {
    await using stub = await StubServer.start((asked) =>
      asked.path.startsWith('sys/internal') ? mountReply('2') : { json: { data: null, wrap_info: { token: 's.w', ttl: 60 } } },
    )
    const ran = await runCommand('kv get -wrap-ttl=60s -field=wrapping_token secret/app', { address: stub.address })
    expect(ran.out).toBe('s.w')
    expect(stub.asked.map(({ headers }) => headers['x-vault-wrap-ttl'])).toEqual([undefined, '60s'])
  })
  test('nothing there, and a deleted version: code 2, the latter with its metadata', async () => {
    expect((await against(two, 'kv get secret/none')).code).toBe(2)
    const gone = { status: 404, json: { data: { data: null, metadata: { ...metadata, deletion_time: '2026-08-01T11:00:00Z' } } } }
    const ran = await against({ ...two, 'GET secret/data/app': gone }, 'kv get secret/app')
    expect([ran.code, ran.out, ran.err]).toEqual([
      2,
      expect.stringContaining('2026-08-01T11:00:00Z'),
      expect.stringContaining('hint: it comes back by: holdfast kv undelete -versions=3 secret/app\n'),
    ])
    const mounted = await against({ ...two, 'GET secret/data/app': gone }, 'kv get -mount=secret app')
    expect(mounted.err).toContain('holdfast kv undelete -versions=3 -mount=secret app\n')
  })
  test('a destroyed version is not said to come back, and one that never was leads to those that are', async () => {
    const destroyed = { status: 404, json: { data: { data: null, metadata: { ...metadata, destroyed: true } } } }
    const ran = await against({ ...two, 'GET secret/data/app': destroyed }, 'kv get secret/app')
    expect([ran.code, ran.err]).toEqual([2, expect.stringContaining('version 3 is destroyed')])
    expect(ran.err).toContain('holdfast kv history secret/app')
    expect(ran.err).not.toContain('undelete')
    const never = await against(two, 'kv get -version=77 secret/none')
    expect([never.code, never.err]).toEqual([2, expect.stringContaining('no version 77 found')])
    expect(never.err).toContain('holdfast kv history secret/none')
  })
  test('list, delete, undelete, destroy', async () => {
    const replies = { ...two, 'LIST secret/metadata/team/': { json: { data: { keys: ['a'] } } }, 'DELETE secret/data/app': {} }
    expect((await against(replies, 'kv list secret/team')).out).toBe('Keys\n----\na\n')
    expect((await against({ ...two, 'LIST secret/metadata/': { json: { data: { keys: ['a'] } } } }, 'kv list secret')).code).toBe(0)
    expect((await against(replies, 'kv delete secret/app')).last?.method).toBe('DELETE')
    for (const verb of ['delete', 'undelete', 'destroy']) {
      const ran = await against({ ...two, [`POST secret/${verb}/app`]: {} }, `kv ${verb} -versions=1,2 -versions=4 secret/app`)
      expect([ran.code, ran.last?.body]).toEqual([0, { versions: ['1', '2', '4'] }])
    }
  })
  test('where there is nothing: what to look at next, and that a path of the API is not one of these commands', async () => {
    for (const typed of [
      'kv get secret/team/none',
      'kv metadata get secret/team/none',
      'kv history secret/team/none',
      'kv export secret/team/none',
    ])
      expect([typed, await against(two, typed)]).toMatchObject([
        typed,
        { code: 2, err: expect.stringContaining('hint: see what there is: holdfast kv list secret/team\n') as string },
      ])
    for (const typed of ['kv get secret/data/app', 'kv list secret/metadata/app', 'run -secret=secret/data/app -- true'])
      expect([typed, await against(two, typed)]).toMatchObject([
        typed,
        { code: 2, err: expect.stringMatching(/hint: kv commands take the path without (?:meta)?data\/.*: secret\/app\n$/) as string },
      ])
    for (const typed of ['kv rollback secret/app', 'kv undelete secret/app'])
      expect([typed, await against(two, typed)]).toMatchObject([
        typed,
        { code: 1, err: expect.stringContaining('hint: see which there are: holdfast kv history secret/app\n') as string },
      ])
    // Where the mount was named by itself the argument alone would be looked for as one.
    expect(await against(two, 'kv undelete -mount=secret app')).toMatchObject({
      err: expect.stringContaining('hint: see which there are: holdfast kv history -mount=secret app\n') as string,
    })
    expect(await against(two, 'kv list secret/')).toMatchObject({
      code: 2,
      err: expect.stringContaining('hint: nothing is stored there yet: holdfast kv put secret/NAME FIELD=VALUE\n') as string,
    })
    expect(await against(two, 'kv import nothing-there.env secret/app')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/ENOENT\nhint: there is no such file, seen from \//) as string,
    })
  })
  test('list -detailed: what the server says of each secret, as a table for people and whole for programs', async () => {
    const app = { current_version: 3, custom_metadata: { owner: 'ann' }, updated_time: '', versions: { '2': { destroyed: true }, '3': {} } }
    const data = { keys: ['app', 'team/'], key_info: { app, 'team/': {} } }
    const bare = { json: { data: { keys: ['app'] } } }
    const replies = {
      ...two,
      'LIST secret/metadata': bare,
      'LIST secret/detailed-metadata': { json: { data } },
      'LIST secret/detailed-metadata/': { json: { data } },
    }
    const table = [
      'Keys     current_version    custom_metadata    updated_time    versions',
      '----     ---------------    ---------------    ------------    --------',
      'app      3                  map[owner:ann]     n/a             2',
      'team/    n/a                n/a                n/a             n/a',
      '',
    ]
    for (const typed of ['kv list -detailed secret', 'list -detailed secret/detailed-metadata']) {
      const ran = await against(replies, typed)
      expect([ran.code, ran.out.split('\n'), ran.err]).toEqual([0, table, ''])
      expect(JSON.parse((await against(replies, `${typed} -format=json`)).out)).toEqual(data)
    }
    const without = await against(replies, 'list -detailed secret/metadata')
    expect([without.code, without.out, without.err]).toEqual([0, 'Keys\n----\napp\n', 'this list has no details\n'])
    expect(await against(replies, 'kv list -detailed -recursive secret')).toMatchObject({
      code: 1,
      err: expect.stringContaining('got both') as string,
    })
    const one = await against({ ...replies, mount: mountReply('1') }, 'kv list -detailed secret')
    expect([one.code, one.err]).toEqual([2, expect.stringContaining('version 1')])
  })
  test('patch: by merge patch; without that right by read and write on condition', async () => {
    const path = 'secret/data/app'
    const merged = await against({ ...two, [`PATCH ${path}`]: { json: { data: metadata } } }, 'kv patch -remove-data=old secret/app k=v')
    expect(merged.last?.body).toEqual({ data: { k: 'v', old: null } })
    const replies = { ...two, [`PATCH ${path}`]: denied, [`GET ${path}`]: stored, [`POST ${path}`]: { json: { data: metadata } } }
    const written = await against(replies, 'kv patch secret/app user=w')
    expect(written.last).toMatchObject({ method: 'POST', body: { data: { password: 'p', user: 'w' }, options: { cas: 3 } } })
    expect((await against(two, 'kv patch secret/none k=v')).code).toBe(2)
  })
  test('rollback writes the old data on condition', async () => {
    const replies = { ...two, 'GET secret/data/app': stored, 'POST secret/data/app': { json: { data: { ...metadata, version: 4 } } } }
    const ran = await against(replies, 'kv rollback -version=1 secret/app')
    expect(ran.last?.body).toEqual({ data: { password: 'p', user: 'u' }, options: { cas: 3 } })
  })
  test('metadata get, put, patch, delete', async () => {
    const path = 'secret/metadata/app'
    const reply = {
      json: { data: { current_version: 1, max_versions: 0, versions: { 1: { created_time: 't', deletion_time: '', destroyed: false } } } },
    }
    expect((await against({ ...two, [`GET ${path}`]: reply }, 'kv metadata get secret/app')).out).toMatch(/Version 1 =+\n/)
    const put = await against(
      { ...two, [`POST ${path}`]: {} },
      'kv metadata put -max-versions=5 -cas-required -custom-metadata=a=b secret/app',
    )
    expect(put.last?.body).toEqual({ max_versions: 5, cas_required: true, custom_metadata: { a: 'b' } })
    const patch = await against({ ...two, [`PATCH ${path}`]: {} }, 'kv metadata patch -remove-custom-metadata=a secret/app')
    expect(patch.last?.body).toEqual({ custom_metadata: { a: null } })
    expect((await against({ ...two, [`DELETE ${path}`]: {} }, 'kv metadata delete secret/app')).code).toBe(0)
  })
})

describe('tokens, policies, mounts, audit', () => {
  const auth = {
    client_token: 's.new',
    accessor: 'a',
    lease_duration: 3600,
    renewable: true,
    token_policies: ['t'],
    policies: ['t'],
    metadata: null,
  }
  test('token create', async () => {
    const ran = await against(
      { 'POST auth/token/create-orphan': { json: { auth } } },
      'token create -orphan -policy=a -policy=b,c -ttl=1h -renewable=false -metadata=k=v -field=token',
    )
    expect([ran.out, ran.last?.body]).toEqual(['s.new', { policies: ['a', 'b', 'c'], ttl: '1h', renewable: false, meta: { k: 'v' } }])
  })
  test('token lookup, renew, revoke, capabilities', async () => {
    const looked = await against({ 'POST auth/token/lookup': { json: { data: { ttl: 5 } } } }, 'token lookup -field=ttl -', {
      stdin: 's.x',
    })
    expect([looked.out, looked.last?.body]).toEqual(['5', { token: 's.x' }])
    expect((await against({ 'GET auth/token/lookup-self': { json: { data: { id: 'x' } } } }, 'token lookup -field=id')).out).toBe('x')
    expect((await against({ 'POST auth/token/renew-self': { json: { auth } } }, 'token renew -i 1h')).last?.body).toEqual({
      increment: '1h',
    })
    expect((await against({ 'POST auth/token/revoke-accessor': {} }, 'token revoke -accessor acc')).last?.body).toEqual({ accessor: 'acc' })
    expect((await against({ 'POST auth/token/revoke-self': {} }, 'token revoke -self')).code).toBe(0)
    const caps = { 'POST sys/capabilities-self': { json: { data: { 'secret/x': ['read', 'list'] } } } }
    expect((await against(caps, 'token capabilities secret/x')).out).toBe('list, read\n')
  })
  test('policy list, read, write, delete, fmt', async () => {
    const path = 'sys/policies/acl/team'
    expect((await against({ 'LIST sys/policies/acl': { json: { data: { keys: ['default', 'root'] } } } }, 'policy list')).out).toBe(
      'default\nroot\n',
    )
    expect((await against({ [`GET ${path}`]: { json: { data: { policy: 'path "a" {}\n' } } } }, 'policy read Team')).out).toBe(
      'path "a" {}\n',
    )
    expect((await against({ [`POST ${path}`]: {} }, 'policy write team -', { stdin: 'path "a" {}' })).last?.body).toEqual({
      policy: 'path "a" {}',
    })
    expect((await against({ [`DELETE ${path}`]: {} }, 'policy delete team')).code).toBe(0)
    const file = join(home, 'p.hcl')
    writeFileSync(file, 'path "a" {\ncapabilities=["read"]\n}')
    expect((await runCommand(['policy', 'fmt', file])).code).toBe(0)
    expect(readFileSync(file, 'utf8')).toBe('path "a" {\n  capabilities = ["read"]\n}\n')
    expect((await runCommand('policy fmt -', { stdin: 'path "a" {' })).code).toBe(1)
  })
  test('lease lookup, renew, revoke', async () => {
    const api = 'sys/leases'
    const looked = await against(
      { [`POST ${api}/lookup`]: { json: { data: { id: 'db/creds/x/1', ttl: 60 } } } },
      'lease lookup /db/creds/x/1',
    )
    expect([looked.last?.body, looked.out.includes('db/creds/x/1')]).toEqual([{ lease_id: 'db/creds/x/1' }, true])
    expect(
      (await against({ [`LIST ${api}/lookup/db`]: { json: { data: { keys: ['creds/'] } } } }, 'lease lookup -prefix db')).out,
    ).toContain('creds/')
    const renewed = await against({ [`POST ${api}/renew`]: { json: { lease_id: 'a/1' } } }, 'lease renew -increment=1h a/1')
    const granted = { json: { request_id: 'r', lease_id: 'a/1', lease_duration: 3_600, renewable: true, data: null } }
    expect((await against({ [`POST ${api}/renew`]: granted }, 'lease renew a/1')).out).toMatch(/lease_duration +1h/)
    expect(renewed.last?.body).toEqual({ lease_id: 'a/1', increment: '1h' })
    expect((await against({ [`POST ${api}/revoke`]: {} }, 'lease revoke a/1')).last?.body).toEqual({ lease_id: 'a/1', sync: false })
    expect((await against({ [`POST ${api}/revoke-prefix/a/b`]: {} }, 'lease revoke -prefix -sync a/b/')).last?.body).toEqual({ sync: true })
    expect((await against({ [`POST ${api}/revoke-force/a`]: {} }, 'lease revoke -prefix -force a')).code).toBe(0)
    expect((await against({}, 'lease revoke -force a')).code).toBe(1)
  })
  test('namespace list, create, lookup, patch, delete, lock, unlock', async () => {
    const api = 'sys/namespaces'
    const listed = await against({ [`LIST ${api}`]: { json: { data: { keys: ['a/', 'b/'] } } } }, 'namespace list -namespace=/team/')
    expect(listed.out).toContain('a/\nb/\n')
    expect(listed.last?.headers['x-vault-namespace']).toBe('team')
    expect((await against({ [`LIST ${api}`]: { status: 404 } }, 'namespace list')).code).toBe(2)
    const made = await against(
      { [`POST ${api}/team/app`]: { json: { data: { id: 'abc' } } } },
      'namespace create -custom-metadata=a=b team/app/',
    )
    expect(made.last?.body).toEqual({ custom_metadata: { a: 'b' } })
    expect((await against({ [`GET ${api}/team`]: { json: { data: { id: 'abc' } } } }, 'namespace lookup team')).out).toContain('abc')
    const patch = 'namespace patch -custom-metadata=a=b -remove-custom-metadata=c team'
    const patched = await against({ [`PATCH ${api}/team`]: { json: { data: { id: 'abc' } } } }, patch)
    expect(patched.last?.body).toEqual({ custom_metadata: { a: 'b', c: null } })
    expect((await against({}, 'namespace patch team')).code).toBe(2)
    const gone = await against({ [`DELETE ${api}/team`]: { json: { data: { status: 'in-progress' } } } }, 'namespace delete team')
    expect(gone.out).toBe('Success! Namespace team/ is being deleted, with all that lies in it\n')
    expect((await against({ [`POST ${api}/api-lock/lock`]: { json: { data: { unlock_key: 'k' } } } }, 'namespace lock')).out).toContain(
      'unlock_key',
    )
    const unlocked = await against({ [`POST ${api}/api-lock/unlock/team`]: {} }, 'namespace unlock -unlock-key=- team', { stdin: 'k' })
    expect(unlocked.last?.body).toEqual({ unlock_key: 'k' })
  })
  test('secrets enable, tune, list, disable, move', async () => {
    const kv = await against({ 'POST sys/mounts/secret': {} }, 'secrets enable -path=secret/ -max-lease-ttl=1h kv-v2')
    expect(kv.last?.body).toEqual({ type: 'kv', config: { max_lease_ttl: '1h' }, options: { version: '2' } })
    expect(kv.out).toBe('Success! Enabled the kv secrets engine at: secret/\n')
    const plain = await against({ 'POST sys/mounts/kv': {} }, 'secrets enable -version=1 kv')
    expect(plain.last?.body).toEqual({ type: 'kv', config: {}, options: { version: '1' } })
    const tuned = await against({ 'POST sys/mounts/a/b/tune': {} }, 'secrets tune -description=x a/b')
    expect(tuned.last?.body).toEqual({ description: 'x' })
    const mounts = { 'secret/': { type: 'kv', accessor: 'kv_1', description: '', config: { max_lease_ttl: 3600 } } }
    const listed = await against({ 'GET sys/mounts': { json: { data: mounts } } }, 'secrets list')
    expect(listed.out).toBe(
      'Path       Type    Accessor    Description\n----       ----    --------    -----------\nsecret/    kv      kv_1        n/a\n',
    )
    expect((await against({ 'GET sys/mounts': { json: { data: mounts } } }, 'secrets list -detailed')).out).toContain('1h')
    expect((await against({ 'DELETE sys/mounts/secret': {} }, 'secrets disable secret/')).code).toBe(0)
    expect((await against({ 'POST sys/remount': {} }, 'secrets move a b/')).last?.body).toEqual({ from: 'a', to: 'b' })
    expect((await against({ 'POST sys/auth/people': {} }, 'auth enable -path=people userpass')).code).toBe(0)
  })
  test('audit enable, hash', async () => {
    const ran = await against({ 'POST sys/audit/file': {} }, 'audit enable file file_path=/tmp/a')
    expect(ran.last?.body).toEqual({ type: 'file', options: { file_path: '/tmp/a' } })
    const hashed = await against(
      { 'POST sys/audit-hash/file': { json: { data: { hash: 'hmac-sha256:x' } } } },
      'audit hash -field=hash file -',
      { stdin: 'text' },
    )
    expect([hashed.out, hashed.last?.body]).toEqual(['hmac-sha256:x', { input: 'text' }])
  })
})

describe('operator', () => {
  const sealed = {
    type: 'shamir',
    initialized: true,
    sealed: true,
    t: 3,
    n: 5,
    progress: 1,
    nonce: 'n',
    version: 'v',
    storage_type: 'raft',
  }
  const open = { ...sealed, sealed: false, progress: 0 }
  const leader = {
    ha_enabled: true,
    is_self: true,
    active_time: 't',
    leader_cluster_address: 'https://h:1',
    raft_committed_index: 9,
    raft_applied_index: 9,
  }
  test('status: 0 open, 2 sealed', async () => {
    const ran = await against({ 'GET sys/seal-status': { json: open }, 'GET sys/leader': { json: leader } }, 'status')
    expect([ran.code, ran.out]).toEqual([0, expect.stringMatching(/^Key {21}Value\n[^]*HA Mode +active\n/)])
    const shut = await against({ 'GET sys/seal-status': { json: sealed } }, 'status')
    expect([shut.code, shut.out]).toEqual([2, expect.stringContaining('Unseal Progress    1/3')])
    expect(JSON.parse((await against({ 'GET sys/seal-status': { json: sealed } }, 'status -format=json')).out)).toEqual(sealed)
  })
  test('status says why an auto seal does not open, and that a migration waits', async () => {
    const auto = { ...sealed, type: 'awskms', recovery_seal: true, progress: 0, warnings: ['the seal does not open: planted'] }
    const away = await against({ 'GET sys/seal-status': { json: auto } }, 'status')
    expect([away.code, away.out]).toEqual([2, expect.stringMatching(/Warning +the seal does not open: planted/)])
    expect(away.out).not.toContain('Unseal Progress')
    const migrating = await against({ 'GET sys/seal-status': { json: { ...auto, migration: true } } }, 'status')
    expect(migrating.out).toMatch(/Unseal Progress +0\/3[^]*Seal Migration in Progress +true/)
  })
  test('init prints keys and token once, as a table or as the field knows the JSON', async () => {
    const made = { keys: ['61'], keys_base64: ['YQ=='], root_token: 's.root' }
    const ran = await against({ 'POST sys/init': { json: made } }, 'operator init -key-shares=1 -key-threshold=1')
    expect(ran.last?.body).toEqual({ secret_shares: 1, secret_threshold: 1 })
    expect(ran.out).toMatch(/^Unseal Key 1: YQ==\n\nInitial Root Token: s.root\n/)
    const routes = { 'GET sys/seal-status': { json: { recovery_seal: false } }, 'POST sys/init': { json: made } }
    const json = JSON.parse((await against(routes, 'operator init -format=json')).out) as unknown
    expect(json).toEqual({
      unseal_keys_hex: ['61'],
      unseal_keys_b64: ['YQ=='],
      unseal_shares: 5,
      unseal_threshold: 3,
      root_token: 's.root',
    })
    expect((await against({ 'GET sys/init': { json: { initialized: false } } }, 'operator init -status')).code).toBe(2)
    const auto = {
      'GET sys/seal-status': { json: { recovery_seal: true } },
      'POST sys/init': { json: { keys: [], recovery_keys_base64: ['YQ=='], root_token: 's.root' } },
    }
    const opened = await against(auto, 'operator init -recovery-shares=1 -recovery-threshold=1')
    expect([opened.last?.body, opened.out]).toEqual([
      { recovery_shares: 1, recovery_threshold: 1 },
      expect.stringMatching(/^Recovery Key 1: YQ==\n/),
    ])
    expect((await against(auto, 'operator init')).last?.body).toEqual({ recovery_shares: 5, recovery_threshold: 3 })
  })
  test('unseal takes the key from standard input', async () => {
    const ran = await against({ 'POST sys/unseal': { json: sealed } }, 'operator unseal', { stdin: 'thekey\n' })
    expect([ran.code, ran.last?.body, ran.out]).toEqual([0, { key: 'thekey' }, expect.stringContaining('1/3')])
    expect((await against({ 'POST sys/unseal': { json: sealed } }, 'operator unseal -reset')).last?.body).toEqual({ reset: true })
  })
  test('seal, step-down, rotate, key-status', async () => {
    expect((await against({ 'POST sys/seal': {} }, 'operator seal')).code).toBe(0)
    expect((await against({ 'POST sys/step-down': {} }, 'operator step-down')).code).toBe(0)
    const status = { 'GET sys/key-status': { json: { data: { term: 2, install_time: 't', encryptions: 7 } } } }
    expect((await against({ ...status, 'POST sys/rotate': {} }, 'operator rotate')).out).toContain('Key Term            2')
    expect((await against(status, 'operator key-status -format=json')).out).toContain('"term": 2')
  })
  test('raft list-peers, join, join-token, remove-peer, autopilot state', async () => {
    const config = { json: { data: { config: { servers: [{ node_id: 'n1', address: 'h:1', leader: true, voter: true }] } } } }
    expect((await against({ 'GET sys/storage/raft/configuration': config }, 'operator raft list-peers')).out).toMatch(
      /n1 +h:1 +leader +true\n/,
    )
    const joined = await against(
      { 'POST sys/storage/raft/join': { json: { joined: true } } },
      'operator raft join -join-token=- http://h:8200',
      { stdin: 'tok' },
    )
    expect([joined.code, joined.last?.body]).toEqual([0, { leader_api_addr: 'http://h:8200', token: 'tok' }])
    const token = await against(
      { 'POST sys/storage/raft/join-token': { json: { data: { token: 'one-time' } } } },
      'operator raft join-token -ttl=5m -field=token',
    )
    expect([token.out, token.last?.body]).toEqual(['one-time', { ttl: '5m' }])
    expect((await against({ 'POST sys/storage/raft/remove-peer': {} }, 'operator raft remove-peer n2')).last?.body).toEqual({
      server_id: 'n2',
    })
    const state = { json: { data: { healthy: true, servers: { n1: { status: 'leader' } } } } }
    expect((await against({ 'GET sys/storage/raft/autopilot/state': state }, 'operator raft autopilot state')).out).toContain('Node n1')
    for (const verb of ['promote', 'demote']) {
      const changed = await against({ [`POST sys/storage/raft/${verb}`]: {} }, `operator raft ${verb} n4`)
      expect([changed.code, changed.last?.body]).toEqual([0, { server_id: 'n4' }])
    }
  })
  test('raft verify: a table, and an exit code that says whether all agree', async () => {
    const node = (id: string, more: object): object => ({
      node_id: id,
      leader: id === 'n1',
      voter: true,
      state: 'agrees',
      agrees: true,
      index: 9,
      digest: 'ab12',
      last_scrub: null,
      ...more,
    })
    const answer = (agree: boolean, nodes: object[]) => ({ 'GET sys/storage/raft/verify': { json: { data: { agree, nodes } } } })
    const good = await against(
      answer(true, [node('n1', {}), node('n2', { last_scrub: { time: '2026-01-02T03:04:05Z', ok: true } })]),
      'operator raft verify',
    )
    expect(good.code).toBe(0)
    expect(good.out).toMatch(/n1 +leader +agrees +9 +ab12 +-\nn2 +follower +agrees +9 +ab12 +2026-01-02T03:04:05Z ok\n/)
    const bad = await against(
      answer(false, [node('n1', {}), node('n2', { agrees: false, state: 'differs', digest: 'cd34' })]),
      'operator raft verify',
    )
    expect(bad.code).toBe(2)
    expect(bad.out).toMatch(/n2 +follower +differs +9 +cd34/)
    expect(bad.err).toContain('n2 (differs)')
    expect((await against({ 'POST sys/storage/raft/scrub': {} }, 'operator raft scrub')).code).toBe(0)
  })
  test('raft autopilot get-config, set-config: only what was given is sent, and a wrong value is named', async () => {
    const at = 'sys/storage/raft/autopilot/configuration'
    const shown = await against({ [`GET ${at}`]: { json: { data: { min_quorum: 3 } } } }, 'operator raft autopilot get-config')
    expect(shown.out).toMatch(/min_quorum +3/)
    const set = (flags: string) => against({ [`POST ${at}`]: {} }, `operator raft autopilot set-config ${flags}`)
    const changed = await set('-cleanup-dead-servers=false -min-quorum=5 -last-contact-threshold=20s')
    expect([changed.code, changed.last?.body]).toEqual([0, { cleanup_dead_servers: false, last_contact_threshold: '20s', min_quorum: 5 }])
    expect((await set('-min-quorum=x')).err).toContain("-min-quorum expected a whole number, got 'x'")
    expect((await set('-cleanup-dead-servers=maybe')).err).toContain('expected true or false')
    expect((await set('')).err).toContain('expected at least one setting')
  })
  test('members: role and address from the cluster, seal and lag from each node, without the token', async () => {
    const dead = await closedAddress()
    await using follower = await StubServer.start((asked) =>
      asked.path === 'sys/leader' ? { json: { raft_committed_index: 8, raft_applied_index: 5 } } : { json: sealed },
    )
    const servers = [
      { node_id: 'n1', address: '10.0.0.1:8201', leader: true, voter: true },
      { node_id: 'n2', address: '10.0.0.2:8201', leader: false, voter: true },
      { node_id: 'n3', address: '10.0.0.3:8201', leader: false, voter: false },
    ]
    let self = ''
    await using first = await StubServer.start((asked) => {
      const nodes = [
        { hostname: 'n1', api_address: self, cluster_address: 'https://10.0.0.1:8201' },
        { hostname: 'other', api_address: follower.address, cluster_address: 'https://10.0.0.2:8201' },
        { hostname: 'n3', api_address: dead, cluster_address: 'https://10.0.0.3:8201' },
      ]
      if (asked.path === 'sys/storage/raft/configuration') return { json: { data: { config: { servers } } } }
      if (asked.path === 'sys/ha-status') return { json: { data: { nodes } } }
      return { json: asked.path === 'sys/leader' ? leader : open }
    })
    self = first.address
    const ran = await runCommand('operator members -token=s.t', { address: first.address })
    expect(ran.code).toBe(0)
    const cells = ran.out.split('\n').map((line) => line.split(/ {2,}/).slice(0, 4))
    expect(cells.slice(2, 5)).toEqual([
      ['n1', 'leader', 'false', '0'],
      ['n2', 'follower', 'true', '4'],
      ['n3', 'learner', 'no answer', 'unknown'],
    ])
    expect(follower.asked.some(({ headers }) => headers['x-vault-token'] !== undefined)).toBe(false)
  })
})

test('help: for all, for a family, for one; asked for it is no error', async () => {
  for (const line of ['-help', 'help', 'kv -h', 'operator raft --help', 'kv get -help']) {
    const ran = await runCommand(line)
    expect([ran.code, ran.out]).toEqual([0, expect.stringContaining('Usage: holdfast')])
  }
  expect((await runCommand('kv get -help')).out).toContain('Examples:\n  holdfast kv get')
})

test('version', async () => {
  expect((await runCommand('version')).out).toMatch(/^Holdfast v\d+\.\d+\.\d+\n$/)
  expect((await runCommand('--version')).out).toMatch(/^Holdfast v/)
})

describe('secrets move', () => {
  const started = { json: { data: { migration_id: 'm1' } } }
  const info = (status: string, reason?: string): Reply => ({ json: { data: { migration_info: { status, reason } } } })
  test('waits while what was lent is taken back', async () => {
    let asked = 0
    await using stub = await StubServer.start(({ method }) =>
      method === 'POST' ? started : info((asked += 1) < 2 ? 'in-progress' : 'success'),
    )
    const ran = await runCommand('secrets move db other', { address: stub.address })
    expect([ran.code, ran.out]).toEqual([0, 'Success! Moved the secrets engine db/ to: other/\n'])
    expect(ran.err).toContain('taking back what it has lent')
    expect(stub.last.path).toBe('sys/remount/status/m1')
  })
  test('says why a mount was not moved, with code 2', async () => {
    const replies = { 'POST sys/remount': started, 'GET sys/remount/status/m1': info('failure', 'the database is away') }
    const ran = await against(replies, 'secrets move db other')
    expect([ran.code, ran.err]).toEqual([2, 'error: the mount was not moved: the database is away\n'])
  })
})

describe('what lies on the disk of whoever types', () => {
  test('kv export -force leaves nothing readable that others could read before', async () => {
    const path = join(home, 'export.json')
    writeFileSync(path, 'old', { mode: 0o644 })
    const replies = { mount: mountReply('2'), 'GET secret/data/a': { json: { data: { data: { k: 'v' }, metadata } } } }
    const refused = await against(replies, ['kv', 'export', `-output=${path}`, 'secret/a'])
    expect([refused.code, readFileSync(path, 'utf8')]).toEqual([1, 'old'])
    const ran = await against(replies, ['kv', 'export', '-force', `-output=${path}`, 'secret/a'])
    expect([ran.code, JSON.parse(readFileSync(path, 'utf8')), statSync(path).mode & 0o777]).toEqual([0, { k: 'v' }, 0o600])
  })
  test('a token is not written into what a crash left behind for others to read', async () => {
    const left = join(home, '.holdfast-token.new')
    writeFileSync(left, 'half', { mode: 0o644 })
    const self = {
      'GET auth/token/lookup-self': { json: { data: { accessor: 'acc', ttl: 60, renewable: true, policies: [], meta: null } } },
    }
    expect((await against(self, 'login', { stdin: 's.mine\n' })).code).toBe(0)
    expect([existsSync(left), statSync(join(home, '.holdfast-token')).mode & 0o777]).toEqual([false, 0o600])
  })
  test('a machine that refuses is told in a line, with code 2', async () => {
    const ran = await against({}, ['operator', 'raft', 'snapshot', 'inspect', home])
    expect([ran.code, ran.err]).toEqual([2, expect.stringContaining('expected a file, got a folder')])
    const self = {
      'GET auth/token/lookup-self': { json: { data: { accessor: 'acc', ttl: 60, renewable: true, policies: [], meta: null } } },
    }
    const nowhere = await against(self, ['login', '-'], { stdin: 's.x', home: '/nonexistent' })
    expect([nowhere.code, nowhere.err]).toEqual([2, expect.stringMatching(/^error: ENOENT/)])
    expect(nowhere.err).not.toContain('s.x')
  })
})

test('what is missing for a reason that the server tells as a warning is told with it', async () => {
  const warnings = ['Invalid path for a versioned K/V secrets engine: in version 2 it is secret/data/x.']
  const ran = await against({ 'GET secret/x': { status: 404, json: { data: null, warnings } } }, 'read secret/x')
  expect([ran.code, ran.err]).toEqual([2, expect.stringContaining('in version 2 it is secret/data/x')])
})

describe('a number that no double holds', () => {
  const long = '12345678901234567890'
  const answer = (data: string): Reply => ({ text: `{"request_id":"r","data":${data}}` })
  const version2 = answer(`{"data":{"id":${long},"n":5},"metadata":${JSON.stringify(metadata)}}`)
  const replies: Readonly<Record<string, Reply>> = {
    mount: mountReply('2'),
    'GET secret/data/a': version2,
    'POST secret/data/a': { json: { data: { version: 4 } } },
    'POST secret/data/b': { json: { data: { version: 1 } } },
  }

  /** What the last request said, byte for byte. */
  async function sent(line: string | readonly string[], options: RunOptions = {}): Promise<string> {
    const bodies: string[] = []
    const server = createServer((request, response) => {
      const path = new URL(request.url ?? '', 'http://x').pathname.slice('/v1/'.length)
      const parts: Buffer[] = []
      request.on('data', (part: Buffer) => parts.push(part))
      request.on('end', () => {
        bodies.push(Buffer.concat(parts).toString())
        const reply = path.startsWith('sys/internal/ui/mounts/') ? replies['mount'] : replies[`${request.method} ${path}`]
        const { status = 200, json, text } = (reply ?? { status: 404, json: { errors: [] } }) as Exclude<Reply, string>
        response.writeHead(status, { 'content-type': 'application/json' }).end(text ?? JSON.stringify(json))
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    try {
      const ran = await runCommand(line, { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, home, ...options })
      expect([ran.code, ran.err]).toEqual([0, ran.err.replaceAll(/error:.*/g, '')])
      return bodies.at(-1) ?? ''
    } finally {
      server.closeAllConnections()
      server.close()
    }
  }

  test('is shown with all its digits, in every format', async () => {
    expect((await against(replies, 'kv get -format=json secret/a')).out).toContain(`"id": ${long}`)
    expect((await against(replies, 'kv get -format=yaml secret/a')).out).toContain(`id: ${long}`)
    expect((await against(replies, 'kv get -format=raw secret/a')).out).toContain(`"id":${long}`)
    expect((await against(replies, 'kv get secret/a')).out).toMatch(new RegExp(`^id +${long}$`, 'm'))
    expect((await against(replies, 'kv get -field=id secret/a')).out).toBe(long)
  })

  test('is written back as it was read', async () => {
    expect(await sent('kv patch -method=rw secret/a more=x')).toBe(`{"data":{"id":${long},"n":5,"more":"x"},"options":{"cas":3}}`)
    expect(await sent('kv rollback -version=1 secret/a')).toBe(`{"data":{"id":${long},"n":5},"options":{"cas":3}}`)
  })

  test('comes in as it was typed, and goes through export and import', async () => {
    expect(await sent('write secret/data/a -', { stdin: `{"data":{"id":${long}}}` })).toBe(`{"data":{"id":${long}}}`)
    for (const format of ['json', 'yaml']) {
      const { out } = await against(replies, `kv export -to=${format} secret/a`)
      expect(out).toContain(long)
      expect(await sent(`kv import -from=${format} - secret/b`, { stdin: out })).toBe(`{"data":{"id":${long},"n":5},"options":{"cas":0}}`)
    }
    const yaml = (await against(replies, 'kv export -to=yaml secret/a')).out
    expect((await against(replies, 'kv export -format=yaml secret/a')).out).toBe(yaml)
    expect((await against(replies, 'kv export -to=json -format=yaml secret/a')).out).not.toBe(yaml)
    expect((await against(replies, 'kv export -to=env secret/a')).out).toBe(`id=${long}\nn=5\n`)
  })
})

test('a name of a login has no slash: the path would be another', async () => {
  const ran = await against({}, 'login -method=userpass username=a/b', { stdin: 'typed' })
  expect([ran.code, ran.asked]).toEqual([1, []])
})

test('a name is put into a path as it is, whatever it means to a replacement', async () => {
  const ran = await against({ 'DELETE sys/policies/password/a$&b': { status: 204 } }, ['password-policy', 'delete', 'a$&b'])
  expect(ran.code).toBe(0)
})

test('an audit report as JSON is one array, however long', async () => {
  const path = join(home, 'audit.log')
  const record = (at: number): string =>
    JSON.stringify({ time: '2026-08-01T10:00:00Z', type: 'response', request: { id: `r${at}`, operation: 'read', path: 'a' } })
  writeFileSync(path, Array.from({ length: 1_203 }, (_, at) => `${record(at)}\n`).join(''))
  const whole = await runCommand(['audit', 'report', '-format=json', path])
  const rows = JSON.parse(whole.out) as { id: string }[]
  expect([rows.length, rows.at(0)?.id, rows.at(-1)?.id]).toEqual([1_203, 'r0', 'r1202'])
  expect(whole.out).toBe(`${JSON.stringify(rows, null, 2)}\n`)
  expect((await runCommand(['audit', 'report', '-format=json', '-path=none', path])).out).toBe('[]\n')
})

test('a name of a login reaches the server as it was typed', async () => {
  const made = { json: { auth: { client_token: 's.new', accessor: 'a', lease_duration: 60, renewable: true, policies: [] } } }
  const line = ['login', '-method=ldap', '-no-store', '-token-only', 'username=Jürgen%20x y']
  const ran = await against({ 'POST auth/ldap/login/Jürgen%20x y': made }, line, { stdin: 'typed' })
  expect([ran.code, ran.out.trim()]).toEqual([0, 's.new'])
})
