/** Levels of the log, its stream, cross-origin rules, headers, password policies, the catalog, counters. */
import { beforeEach, describe, expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import { corsVerdict, HttpSettings } from '#core/cors.ts'
import { generatePassword, parsePasswordPolicy } from '#engines/sys/password-policies.ts'
import { createProcessLogger } from '#node/logger.ts'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
beforeEach(async () => {
  house = await openHouse()
  node = house.node
})

const weakToken = async (): Promise<string> => (await node.write('auth/token/create', { policies: ['none'] })).body.auth.client_token

describe('levels of the log', () => {
  test('of every part at once, of one, and back', async () => {
    expect((await node.read('sys/loggers')).body.data).toEqual({ server: 'info' })
    expect((await node.write('sys/loggers', { level: 'debug' })).status).toBe(204)
    expect((await node.read('sys/loggers/server')).body.data).toEqual({ server: 'debug' })
    expect((await node.write('sys/loggers/server', { level: 'WARNING' })).status).toBe(204)
    expect((await node.read('sys/loggers/server')).body.data).toEqual({ server: 'warn' })
    expect((await node.remove('sys/loggers')).status).toBe(204)
    expect((await node.read('sys/loggers')).body.data).toEqual({ server: 'info' })
  })

  test('of a part or level that is none: 400, with the names that there are', async () => {
    expect(await node.write('sys/loggers/nobody', { level: 'debug' })).toMatchObject({
      status: 400,
      body: { errors: [expect.stringContaining('server')] },
    })
    expect(await node.write('sys/loggers', { level: 'loud' })).toMatchObject({
      status: 400,
      body: { errors: [expect.stringContaining('trace, debug')] },
    })
    expect((await node.read('sys/loggers/nobody')).status).toBe(404)
    expect((await node.write('sys/loggers', { level: 'debug' }, await weakToken())).status).toBe(403)
  })
})

describe('the process log', () => {
  const lines: string[] = []
  const logger = createProcessLogger('info', 'node-1', (line) => lines.push(line))
  const written = (): unknown[] => lines.splice(0).map((line) => JSON.parse(line) as unknown)

  test('writes JSON with the node, and the part that wrote; each part at its own level', () => {
    const core = logger.part('core')
    core.debug({}, 'unseen')
    core.info({ request_id: 'r1' }, 'seen')
    expect(written()).toMatchObject([{ level: 30, node: 'node-1', part: 'core', request_id: 'r1', msg: 'seen' }])
    logger.setLevel('core', 'debug')
    core.debug({}, 'seen now')
    logger.log.debug({}, 'not of that part')
    expect(written()).toMatchObject([{ part: 'core', msg: 'seen now' }])
    expect(logger.reset(null)).toBe(true)
    core.debug({}, 'unseen again')
    expect(written()).toEqual([])
  })

  test('is followed at a lower level than it is written at, and what is dropped is counted', async () => {
    const tap = logger.tap('debug')
    const reader = tap.lines[Symbol.asyncIterator]()
    logger.part('core').debug({}, 'only for the follower')
    expect(JSON.parse((await reader.next()).value as string)).toMatchObject({ msg: 'only for the follower' })
    expect(written()).toEqual([])
    for (let each = 0; each < 1_003; each += 1) logger.log.warn({ each }, 'many')
    let last = ''
    for (let each = 0; each <= 1_000; each += 1) last = (await reader.next()).value as string
    expect(JSON.parse(last)).toMatchObject({ dropped: 3 })
    tap.close()
    expect((await reader.next()).done).toBe(true)
    written()
    logger.part('core').debug({}, 'nobody follows')
    expect(written()).toEqual([])
  })

  test('has a bounded number of readers', () => {
    const taps = Array.from({ length: 8 }, () => logger.tap('info'))
    expect(() => logger.tap('info')).toThrow(expect.objectContaining({ code: 'ERR_BUSY' }))
    for (const tap of taps) tap.close()
  })
})

describe('cross-origin rules', () => {
  test('are written, shown with the usual headers, taken in by a node, and taken away', async () => {
    const settings = new HttpSettings()
    const refresh = () => house.at(0).read({ kind: 'linearizable' }, (view) => settings.refresh(view))
    expect((await node.read('sys/config/cors')).body.data).toEqual({ enabled: false })
    expect(
      (await node.write('sys/config/cors', { allowed_origins: 'https://a.example,https://b.example', allowed_headers: ['X-Own'] })).status,
    ).toBe(204)
    const { body } = await node.read('sys/config/cors')
    expect(body.data).toMatchObject({ enabled: true, allowed_origins: ['https://a.example', 'https://b.example'] })
    expect(body.enabled, 'at the top level too').toBe(true)
    expect(body.data.allowed_headers).toEqual(expect.arrayContaining(['X-Vault-Token', 'X-Own']))
    await refresh()
    expect(corsVerdict(settings.cors!, 'https://b.example', 'GET', undefined)).toEqual({
      headers: { 'access-control-allow-origin': 'https://b.example', vary: 'Origin' },
      preflight: false,
    })
    expect(() => corsVerdict(settings.cors!, 'https://c.example', 'GET', undefined)).toThrow(
      expect.objectContaining({ code: 'ERR_PERMISSION_DENIED' }),
    )
    expect((await node.remove('sys/config/cors')).status).toBe(204)
    await refresh()
    expect(settings.cors).toBeNull()
  })

  test('name origins, at least one, and "*" only alone', async () => {
    for (const allowed_origins of [[], ['*', 'https://a.example'], ['no origin']])
      expect((await node.write('sys/config/cors', { allowed_origins })).status).toBe(400)
    expect((await node.write('sys/config/cors', { allowed_origins: '*' }, await weakToken())).status).toBe(403)
  })
})

test('headers of a web interface: kept by name without case, and none of ours', async () => {
  expect((await node.write('sys/config/ui/headers/X-Frame-Options', { values: ['DENY', 'b'] })).status).toBe(204)
  expect((await node.read('sys/config/ui/headers/x-frame-options')).body.data).toEqual({ value: 'DENY' })
  expect((await node.read('sys/config/ui/headers/X-Frame-Options', undefined, { multivalue: 'true' })).body.data).toEqual({
    values: ['DENY', 'b'],
  })
  expect((await node.list('sys/config/ui/headers')).body.data.keys).toEqual(['x-frame-options'])
  expect((await node.remove('sys/config/ui/headers/X-Frame-Options')).status).toBe(204)
  expect((await node.read('sys/config/ui/headers/X-Frame-Options')).status).toBe(404)
  expect((await node.write('sys/config/ui/headers/X-Vault-Token', { values: ['a'] })).body.errors).toEqual([
    'X-Vault headers cannot be set',
  ])
  expect((await node.write('sys/config/ui/headers/a', { values: ['a\r\nSet-Cookie: b'] })).status).toBe(400)
})

describe('password policies', () => {
  const policy = 'length = 12\nrule "charset" { charset = "abcdef" min-chars = 3 }\nrule "charset" { charset = "0123456789" min-chars = 9 }'

  test('make passwords that keep every rule', () => {
    const parsed = parsePasswordPolicy(policy)
    for (let each = 0; each < 50; each += 1) {
      const password = generatePassword(parsed, systemRandom)
      expect(password).toHaveLength(12)
      expect(password.replaceAll(/[0-9]/g, '')).toMatch(/^[a-f]{3}$/)
    }
  })

  test('are written as HCL or base64, listed, asked for a password, deleted', async () => {
    expect((await node.write('sys/policies/password/digits', { policy })).status).toBe(204)
    expect((await node.write('sys/policies/password/coded', { policy: Buffer.from(`${policy}  `).toString('base64') })).status).toBe(204)
    expect((await node.list('sys/policies/password')).body.data.keys).toEqual(['coded', 'digits'])
    expect((await node.read('sys/policies/password/digits')).body.data).toEqual({ policy })
    expect((await node.read('sys/policies/password/digits/generate')).body.data.password).toHaveLength(12)
    expect((await node.remove('sys/policies/password/digits')).status).toBe(204)
    expect((await node.read('sys/policies/password/digits/generate')).status).toBe(404)
  })

  test.each([
    ['length = 3\nrule "charset" { charset = "ab" }', /length expected 4 to 100/],
    ['length = 8', /1 to 32 rules/],
    ['length = 8\nrule "words" { charset = "ab" }', /line 2.*rule "charset"/],
    ['length = 8\nrule "charset" { charset = "a" }', /different characters/],
    ['length = 8\nrule "charset" { charset = "ab" min-chars = 9 }', /at most length/],
    ['length = 8\nother = 1\nrule "charset" { charset = "ab" }', /line 2/],
  ])('refuse %j', (source, message) => {
    expect(() => parsePasswordPolicy(source)).toThrow(message)
  })
})

test('the catalog lists what can be mounted, and only that', async () => {
  const { data } = (await node.read('sys/plugins/catalog')).body
  expect(data.secret).toContain('kv')
  expect(data.auth).toContain('userpass')
  expect((await node.list('sys/plugins/catalog/secret')).body.data.keys).toEqual(data.secret)
  expect((await node.read('sys/plugins/catalog/secret/kv')).body.data).toMatchObject({ name: 'kv', builtin: true })
  expect((await node.read('sys/plugins/catalog/secret/nothing')).status).toBe(404)
  expect((await node.write('sys/plugins/catalog/secret/kv', { command: 'sh' })).status).toBe(405)
})

test('counters count, and namespaces are shown to those who can go there', async () => {
  await node.write('identity/entity', { name: 'one' })
  expect((await node.read('sys/internal/counters/entities')).body.data).toEqual({ counters: { entities: { total: 1 } } })
  const before = (await node.read('sys/internal/counters/tokens')).body.data.counters.service_tokens.total
  await node.write('sys/namespaces/team')
  await node.write('sys/policies/acl/team', { policy: 'path "team/kv/*" { capabilities = ["read"] }' })
  const token = (await node.write('auth/token/create', { policies: ['team'], no_default_policy: true })).body.auth.client_token
  expect((await node.read('sys/internal/counters/tokens')).body.data.counters.service_tokens.total).toBe(before + 1)
  expect((await node.read('sys/internal/ui/namespaces')).body.data.keys).toEqual(['team/'])
  expect((await node.read('sys/internal/ui/namespaces', token)).body.data.keys).toEqual(['team/'])
  expect((await node.read('sys/internal/ui/namespaces', await weakToken())).body.data.keys).toEqual([])
  expect((await node.read('sys/internal/ui/namespaces', null)).body.data.keys).toEqual([])
})
