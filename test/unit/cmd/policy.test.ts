import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand, type RunOptions } from '#test/support/cli.ts'
import { StubServer, type Reply } from '#test/support/stub-server.ts'

let folder = ''
const at = (name: string): string => join(folder, name)
const team = `path "secret/data/team/*" {
  capabilities = ["read", "list"]
}
path "secret/data/+/admin" {
  capabilities = ["deny"]
}
path "secret/data/night" {
  capabilities = ["read"]
  conditions {
    time = "22:00-06:00"
    source_cidrs = ["10.0.0.0/8"]
    max_token_ttl = "1h"
  }
}
path "home/{{identity.entity.metadata.team}}/{{identity.groups.names.ops.id}}/{{identity.entity.aliases.up.name}}" {
  capabilities = ["create", "update"]
  allowed_parameters = {
    "role" = ["dev*"]
  }
  min_wrapping_ttl = "1m"
}
`
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-policy-'))
  writeFileSync(at('team.hcl'), team)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const run = (line: string, options: RunOptions = {}) => runCommand(line.split(' '), options)

describe('policy fmt', () => {
  test('-check changes nothing and says by its exit code whether it would', async () => {
    writeFileSync(at('odd.hcl'), 'path "a" { capabilities=["read"] }')
    expect(await run(`policy fmt -check ${at('odd.hcl')}`)).toMatchObject({
      code: 2,
      out: expect.stringContaining('not in its canonical form'),
    })
    expect(readFileSync(at('odd.hcl'), 'utf8')).toBe('path "a" { capabilities=["read"] }')
    expect((await run(`policy fmt ${at('odd.hcl')}`)).code).toBe(0)
    expect((await run(`policy fmt -check ${at('odd.hcl')}`)).code).toBe(0)
  })
  test('JSON becomes HCL on standard output, and a JSON file is left alone', async () => {
    const json = '{"path": {"a": {"capabilities": ["read"]}}}'
    expect((await run('policy fmt -', { stdin: json })).out).toBe('path "a" {\n  capabilities = ["read"]\n}\n')
    writeFileSync(at('p.json'), json)
    expect(await run(`policy fmt ${at('p.json')}`)).toMatchObject({ code: 2, err: expect.stringContaining('hint: to have it as HCL') })
    expect(readFileSync(at('p.json'), 'utf8')).toBe(json)
  })
})

describe('policy lint', () => {
  test('names file, line and what may have been meant; its exit code is for CI', async () => {
    writeFileSync(at('bad.hcl'), 'path "a" {\n  capabilities = ["reed"]\n}\npath "b" {}\n')
    const bad = await run(`policy lint ${at('bad.hcl')}`)
    expect(bad.code).toBe(2)
    expect(bad.out).toBe(
      `${at('bad.hcl')}:2: error: expected one of create, read, update, patch, delete, list, scan, sudo, deny, got capability "reed"\n` +
        `  hint: did you mean "read"?\n${at('bad.hcl')}:4: warning: path "b" grants nothing: it has no capabilities\n  hint: write "deny" to close it\n` +
        '1 error(s), 1 warning(s)\n',
    )
    expect(JSON.parse((await run(`policy lint -format=json ${at('bad.hcl')}`)).out)).toMatchObject({ errors: 1, warnings: 1 })
    expect(await run(`policy lint ${at('team.hcl')}`)).toMatchObject({ code: 0, out: 'Nothing found.\n' })
    expect((await run('policy lint -', { stdin: 'path "b" {}' })).code).toBe(2)
    expect((await run('policy lint -errors-only -', { stdin: 'path "b" {}' })).code).toBe(0)
    expect((await run('policy lint')).code).toBe(1)
  })
  test('files are one token, or apart', async () => {
    writeFileSync(at('deny.hcl'), 'path "secret/data/team/*" { capabilities = ["deny"] }')
    expect((await run(`policy lint ${at('team.hcl')} ${at('deny.hcl')}`)).out).toContain('is shadowed: the same path is denied')
    expect((await run(`policy lint -apart ${at('team.hcl')} ${at('deny.hcl')}`)).code).toBe(0)
  })
})

describe('policy explain', () => {
  test('from files: the rule, why, and what else matches', async () => {
    const ran = await run(`policy explain -policy=${at('team.hcl')} /v1/secret/data/team/admin`)
    expect(ran.code).toBe(0)
    expect(ran.out).toBe(`read secret/data/team/admin
allowed by "secret/data/team/*" (team): the rule grants it

Rules that match the path, in the order in which they are asked:
  "secret/data/team/*"  decides  [list, read]
    team, line 1
  "secret/data/+/admin"  not asked  [deny]
    team, line 4
`)
  })
  test('conditions, by flags', async () => {
    const night = `policy explain -policy=${at('team.hcl')} -at=2026-11-23T23:00:00Z secret/data/night`
    expect((await run(night)).out).toContain('team, line 7: condition source_cidrs fails')
    expect((await run(`${night} -address-of-caller=10.1.1.1`)).out).toContain('condition max_token_ttl fails')
    const near = `${night} -address-of-caller=10.1.1.1 -token-ttl=1h`
    expect((await run(near)).out).toContain('allowed by "secret/data/night"')
    expect((await run(near.replace('T23', 'T12'))).out).toContain('condition time fails')
    expect(JSON.parse((await run(`${near} -format=json`)).out)).toMatchObject({ allowed: true, reason: 'allowed' })
    expect((await run(`${night} -at=soon`)).code).toBe(1)
  })
  test('by a server, for the own token', async () => {
    const data = {
      path: 'x',
      operation: 'list',
      allowed: true,
      reason: 'root',
      root: true,
      rule: { pattern: '*', policies: ['root'] },
      pagination_limit: 0,
      list_filter: null,
      candidates: [],
    }
    await using stub = await StubServer.start((): Reply => ({ json: { data } }))
    const ran = await run('policy explain -operation=list -parameter=a=b -wrapping-ttl=60 x', { address: stub.address })
    expect(ran).toMatchObject({ code: 0, out: 'list x\nallowed by "*" (root): the token is root\n' })
    expect(stub.asked.at(-1)).toMatchObject({
      path: 'sys/policies/explain',
      body: { path: 'x', operation: 'list', parameters: { a: 'b' }, wrap_ttl: '60' },
    })
    expect((await run('policy explain -sudo x', { address: stub.address })).err).toContain('-sudo expected -policy beside it')
  })
})

describe('policy test', () => {
  const file = `
policy "team" { file = "team.hcl" }
policy "more" { text = "path \\"more\\" { capabilities = [\\"sudo\\", \\"update\\"] }" }
subject "dev" { policies = ["Team", "more", "default"] }
subject "alice" {
  policies = ["team"]
  address = "10.0.0.1"
  token_ttl = "30m"
  entity {
    id = "e-1"
    metadata = { team = "red" }
    alias "up" { name = "al" }
    group "ops" { id = "g-1" }
  }
}
may "dev" {
  read = ["secret/data/team/x", "auth/token/lookup-self"]
  list = ["secret/data/team"]
}
may "dev" { update = ["more"] sudo = true }
may_not "dev" {
  why = "not even by day"
  update = ["secret/data/team/x"]
  read = ["secret/data/other/admin", "secret/data/night"]
}
may "alice" { read = ["secret/data/night"] at = "2026-11-23T23:30:00Z" }
may_not "alice" { read = ["secret/data/night"] at = "2026-11-23T12:30:00Z" }
may_not "alice" { read = ["secret/data/night"] at = "2026-11-23T23:30:00Z" address = "192.0.2.1" }
may_not "alice" { read = ["secret/data/night"] at = "2026-11-23T23:30:00Z" token_ttl = "never" }
may "alice" {
  update = ["home/red/g-1/al"]
  parameters = { role = "dev-1" }
  wrap_ttl = "5m"
}
may_not "alice" { update = ["home/red/g-1/al"] parameters = { role = "ops" } wrap_ttl = "5m" }
may_not "alice" { update = ["home/red/g-1/al"] parameters = { role = "dev" } }
`
  test('all as the file says: code 0', async () => {
    writeFileSync(at('good.test.hcl'), file)
    expect(await run(`policy test ${at('good.test.hcl')}`)).toMatchObject({ code: 0, out: '14 check(s), 0 failed\n', err: '' })
    const verbose = await run(`policy test -verbose ${at('good.test.hcl')}`)
    expect(verbose.out).toContain('(not even by day): denied by "secret/data/team/*" (team): the rule that decides does not grant it')
  })

  test('not all: code 2, with the line and the rule', async () => {
    writeFileSync(at('wrong.test.hcl'), file.replace('may_not "dev"', 'may "dev"'))
    const ran = await run(`policy test ${at('wrong.test.hcl')}`)
    expect(ran.code).toBe(2)
    expect(ran.out).toContain(
      `FAIL ${at('wrong.test.hcl')}:23: dev may update secret/data/team/x (not even by day): denied by "secret/data/team/*" (team)`,
    )
    expect(ran.out).toContain('14 check(s), 3 failed\n')
    expect(JSON.parse((await run(`policy test -format=json ${at('wrong.test.hcl')}`)).out)).toMatchObject({ checks: 14, failed: 3 })
  })

  test.each<[string, string]>([
    ['may "x" { read = ["a"] }', 'line 1, column 1: expected a subject called "x", got none'],
    ['subject "x" { policies = ["p"] }', 'expected at least one "may" or "may_not", got none'],
    ['subject "x" {}', 'line 1, column 1: expected "policies" or "token_env" in a subject, got both or none'],
    ['policy "p" {}', 'line 1, column 1: expected "file" or "text" in a policy, got both or none'],
    [
      'subject "x" { policies = ["p"] }\nsubject "x" { policies = ["p"] }',
      'line 2, column 1: expected subject "x" once, got it a second time',
    ],
    ['subject "x" { policies = ["p"] }\nmay "x" { raed = ["a"] }', 'line 2, column 11: expected an operation, or at, address'],
    ['subject "x" { policies = ["p"] }\nmay "x" { }', 'line 2, column 1: expected at least one path in "may", got none'],
    ['mai "x" {}', 'line 1, column 1: expected "policy", "subject", "may", "may_not", got key "mai"'],
    [
      'subject "x" { policies = ["p"] }\nmay "x" { read = ["a"] }',
      'policy "p" of subject "x" expected to be in the file, got none of this name',
    ],
    ['subject "x" { token_env = "T" }\nmay "x" { read = ["a"] }', 'subject "x" has a token_env: only a server can be asked'],
  ])('%j is used wrongly', async (text, message) => {
    const ran = await run('policy test -', { stdin: text })
    expect([ran.code, ran.err]).toEqual([1, expect.stringContaining(message)])
  })

  test('-online reads what the file does not have, and asks for tokens', async () => {
    const replies = (path: string, token: unknown): Reply => {
      if (path === 'sys/policies/acl/stored') return { json: { data: { policy: 'path "s" { capabilities = ["read"] }' } } }
      if (path !== 'sys/policies/explain') return { status: 404, json: { errors: [] } }
      const allowed = token === 's.ci'
      return {
        json: {
          data: {
            path: 'x',
            operation: 'read',
            allowed,
            reason: allowed ? 'allowed' : 'no rule',
            root: false,
            rule: null,
            pagination_limit: 0,
            list_filter: null,
            candidates: [],
          },
        },
      }
    }
    await using stub = await StubServer.start((asked) => replies(asked.path, asked.headers['x-vault-token']))
    const text =
      'subject "a" { policies = ["stored"] }\nsubject "b" { token_env = "CI" }\nmay "a" { read = ["s"] }\nmay_not "a" { read = ["t"] }\nmay "b" { read = ["x"] }'
    const options = { address: stub.address, stdin: text, env: { CI: 's.ci', HOLDFAST_TOKEN: 's.own' } }
    expect(await run('policy test -online -', options)).toMatchObject({ code: 0, out: '3 check(s), 0 failed\n' })
    expect((await run('policy test -online -', { ...options, env: { HOLDFAST_TOKEN: 's.own' } })).err).toContain(
      'environment variable CI expected to hold a token',
    )
    expect((await run('policy test -online -', { ...options, stdin: text.replace('stored', 'other') })).err).toContain(
      'expected to be on the server',
    )
    expect((await run('policy test -online -', { ...options, stdin: text.replace('may "b" {', 'may "b" { sudo = true') })).code).toBe(1)
  })
})
