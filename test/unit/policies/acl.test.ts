import { compileAcl } from '#policies/acl.ts'
import { parsePolicy } from '#policies/parse.ts'
import type { AccessRequest, CompiledAcl, Decision, Policy } from '#policies/types.ts'
import { describe, expect, test } from 'vitest'

const aclOf = (...texts: string[]): CompiledAcl => compileAcl(texts.map((text, i) => parsePolicy(`p${i}`, text)))

const ask = (acl: CompiledAcl, operation: AccessRequest['operation'], path: string, more: Partial<AccessRequest> = {}): Decision =>
  acl.decide({ path, operation, needsSudo: false, body: {}, query: {}, wrapTtlSeconds: 0, nowMs: 0, ...more })

/** `path:capability,...` words as a policy, to keep tables readable. */
const brief = (rules: string): string =>
  rules
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => {
      const [path = '', capabilities = ''] = word.split(':')
      return `path "${path}" { capabilities = ${JSON.stringify(capabilities.split(',').filter((name) => name !== ''))} }`
    })
    .join('\n')

describe('the rule that decides: hard cases', () => {
  test.each<[why: string, rules: string, operation: AccessRequest['operation'], path: string, allowed: boolean, pattern: string | null]>([
    ['nothing matches', 'a:read', 'read', 'b', false, null],
    ['exact', 'a/b:read', 'read', 'a/b', true, 'a/b'],
    ['exact is not a prefix', 'a/b:read', 'read', 'a/b/c', false, null],
    ['exact beats a longer-looking prefix', 'a/b:deny a/*:read', 'read', 'a/b', false, 'a/b'],
    ['exact beats the deny of a prefix', 'a/b:read a/*:deny', 'read', 'a/b', true, 'a/b'],
    ['a leading slash in the rule is nothing', '/a/b:read', 'read', 'a/b', true, 'a/b'],
    ['leading slashes in the path are nothing', 'a/b:read', 'read', '//a/b', true, 'a/b'],
    ['a prefix needs no slash', 'a/b*:read', 'read', 'a/bcd', true, 'a/b*'],
    ['a prefix matches its own stem', 'a/b*:read', 'read', 'a/b', true, 'a/b*'],
    ['the slash before a star counts', 'a/*:read', 'read', 'a', false, null],
    ['only the winner applies: no union over patterns', 'a/*:read,list a/b/*:update', 'read', 'a/b/c', false, 'a/b/*'],
    ['the longest prefix wins', 'a/*:deny a/b/*:read', 'read', 'a/b/c', true, 'a/b/*'],
    ['a star alone is every path', '*:read', 'read', 'anything/at/all', true, '*'],
    ['a star in the middle is itself', 'a/*/b:read', 'read', 'a/x/b', false, null],
    ['a star in the middle matches a star', 'a/*/b:read', 'read', 'a/*/b', true, 'a/*/b'],
    ['plus is one segment', 'a/+/c:read', 'read', 'a/b/c', true, 'a/+/c'],
    ['plus is not two segments', 'a/+/c:read', 'read', 'a/b/b/c', false, null],
    ['plus at the start', '+/b:read', 'read', 'a/b', true, '+/b'],
    ['plus alone', '+:read', 'read', 'a', true, '+'],
    ['plus alone is one segment', '+:read', 'read', 'a/b', false, null],
    ['plus inside a segment is itself', 'a/b+c:read', 'read', 'a/bxc', false, null],
    ['plus inside a segment matches a plus', 'a/b+c:read', 'read', 'a/b+c', true, 'a/b+c'],
    ['plus and star', 'a/+/c*:read', 'read', 'a/b/cd/e', true, 'a/+/c*'],
    ['plus and star: the star needs its segment', 'a/+/*:read', 'read', 'a/b', false, null],
    ['plus and star: an empty one is enough', 'a/+/*:read', 'read', 'a/b/', true, 'a/+/*'],
    ['a later first wildcard wins', 'a/+/c:deny a/b/+:read', 'read', 'a/b/c', true, 'a/b/+'],
    ['a later star beats an earlier plus', 'a/+/c:deny a/b/*:read', 'read', 'a/b/c', true, 'a/b/*'],
    ['at the same place plus beats star', 'a/*:deny a/+:read', 'read', 'a/b', true, 'a/+'],
    ['not ending in a star beats ending in one', 'a/+/c*:deny a/+/cd:read', 'read', 'a/b/cd', true, 'a/+/cd'],
    ['fewer plusses win', 'a/+/+/d:deny a/+/c/d:read', 'read', 'a/b/c/d', true, 'a/+/c/d'],
    ['longer wins', 'a/+/c*:deny a/+/cd*:read', 'read', 'a/b/cde', true, 'a/+/cd*'],
    ['of equals the greater text wins', 'a/+/c/+:deny a/+/+/d:read', 'read', 'a/b/c/d', false, 'a/+/c/+'],
    ['deny wins in a merged rule', 'a/*:read a/*:deny', 'read', 'a/b', false, 'a/*'],
    ['capabilities of one pattern add up', 'a/*:read a/*:update', 'update', 'a/b', true, 'a/*'],
    ['no capabilities, no access', 'a/*:', 'read', 'a/b', false, 'a/*'],
    ['help is always allowed', 'b:read', 'help', 'a/b', true, null],
    ['help is allowed where all is denied', '*:deny', 'help', 'a/b', true, '*'],
    ['update is not create', 'a:update', 'create', 'a', false, 'a'],
    ['list is not scan', 'a/:list', 'scan', 'a/', false, 'a/'],
    ['patch is its own', 'a:create,update', 'patch', 'a', false, 'a'],
    ['LIST: a rule without the slash', 'a:list', 'list', 'a/', true, 'a'],
    ['LIST: the rule with the slash goes first', 'a:deny a/:list', 'list', 'a/', true, 'a/'],
    ['LIST: an exact deny without the slash holds before a prefix', 'a/b:deny a/*:list', 'list', 'a/b/', false, 'a/b'],
    ['LIST: only list and scan forget the slash', 'a:read', 'read', 'a/', false, null],
    ['SCAN forgets the slash too', 'a:scan', 'scan', 'a/', true, 'a'],
    ['LIST: plus without the slash', 'a/+:list', 'list', 'a/b/', true, 'a/+'],
    ['LIST: plus matches an empty segment', 'a/+:list', 'list', 'a/', true, 'a/+'],
    ['LIST: the rule with more of the path first (GHSA-xp3c-3jw3-4vcr)', 'a/*:list a/b/*:deny', 'list', 'a/b/', false, 'a/b/*'],
    ['LIST: a prefix must not hide the deny that names the folder', 'a/*:list a/+/c:deny', 'list', 'a/b/c/', false, 'a/+/c'],
    ['SCAN: nor there', 'a/*:scan a/+/c:deny', 'scan', 'a/b/c/', false, 'a/+/c'],
    ['LIST: a plus must not hide the deny below (GHSA-xp3c-3jw3-4vcr)', 'a/+:list a/b/*:deny', 'list', 'a/b/', false, 'a/b/*'],
    ['letter case counts', 'A/b:read', 'read', 'a/b', false, null],
    ['a dot is a dot', 'a.b:read', 'read', 'axb', false, null],
  ])('%s', (_why, rules, operation, path, allowed, pattern) => {
    const decision = ask(aclOf(brief(rules)), operation, path)
    expect([decision.allowed, decision.rule?.pattern ?? null]).toEqual([allowed, pattern])
    // The same rules, each in a policy of its own, decide the same.
    const spread = aclOf(...rules.split(/\s+/).map(brief))
    expect([ask(spread, operation, path).allowed, ask(spread, operation, path).rule?.pattern ?? null]).toEqual([allowed, pattern])
  })
})

describe('sudo, root, help', () => {
  test('a path that needs sudo needs it besides the capability', () => {
    const acl = aclOf(brief('a:update b:update,sudo c:sudo'))
    expect(['a', 'b', 'c'].map((path) => ask(acl, 'update', path, { needsSudo: true }).allowed)).toEqual([false, true, false])
  })

  test('root may everything, and stands alone', () => {
    const root: Policy = { name: 'root', text: '', rules: [], templates: [] }
    const acl = compileAcl([root])
    expect(ask(acl, 'delete', 'sys/raw/x', { needsSudo: true })).toMatchObject({ allowed: true, root: true })
    expect(acl.capabilities('x', { nowMs: 0 })).toEqual(['root'])
    expect(() => compileAcl([root, parsePolicy('a', '')])).toThrow('permission denied')
  })

  test('no policies, no access', () => {
    expect(ask(compileAcl([]), 'read', 'a').allowed).toBe(false)
    expect(compileAcl([]).capabilities('a', { nowMs: 0 })).toEqual(['deny'])
  })

  test('the decision names the rule and whose it is', () => {
    expect(ask(aclOf(brief('a/*:read'), brief('b:read'), brief('a/*:list')), 'read', 'a/x').rule).toEqual({
      pattern: 'a/*',
      policies: ['p0', 'p2'],
    })
  })
})

describe('parameters', () => {
  const acl = aclOf(`path "a" {
    capabilities = ["create", "update", "read", "delete", "list"]
    allowed_parameters = { "Name" = ["x*", 5, ["l"], true], "free" = [], "list" = ["one", "two"] }
    denied_parameters { "name" = ["xbad"], "gone" = [] }
    required_parameters = ["NAME"]
  }`)
  test.each<[boolean, Record<string, unknown>]>([
    [true, { name: 'x' }],
    [true, { name: 'xyz', free: { any: 'thing' } }],
    [false, {}],
    [false, { free: 1 }],
    [false, { Name: 'x' }], // Required is asked by the exact lower-case name, which is what an engine reads.
    [true, { name: 'x', FREE: 1 }],
    [false, { name: 'x', other: 1 }],
    [false, { name: 'y' }],
    [false, { name: 'xbad' }],
    [true, { name: 5 }],
    [true, { name: ['l'] }],
    [true, { name: true }],
    [false, { name: { x: 1 } }],
    [false, { name: null }],
    [false, { name: 'x', gone: 'x' }],
    [true, { name: 'x', list: ['one', 'two'] }],
    [false, { name: 'x', list: ['one', 'three'] }],
    [false, { name: 'x', list: [] }],
    [false, { name: 'x', NAME: 'xbad' }],
  ])('%j %j', (allowed, body) => {
    expect(ask(acl, 'update', 'a', { body }).allowed).toBe(allowed)
  })

  test('are not asked of delete, list and help', () => {
    expect((['delete', 'list', 'help'] as const).map((operation) => ask(acl, operation, 'a', { body: { other: 1 } }).allowed)).toEqual([
      true,
      true,
      true,
    ])
  })

  test('count in the query as in the body', () => {
    expect(ask(acl, 'read', 'a', { query: { name: 'x' } }).allowed).toBe(true)
    expect(ask(acl, 'read', 'a', { query: { name: 'x', other: '1' } }).allowed).toBe(false)
    expect(ask(acl, 'update', 'a', { body: { name: 'x' }, query: { name: 'xbad' } }).allowed).toBe(false)
  })

  test('what is required must be where it is read, and be something', () => {
    const required = aclOf('path "a" { capabilities = ["create", "read", "update", "patch"] required_parameters = ["ttl"] }')
    const passes = (operation: AccessRequest['operation'], more: Partial<AccessRequest>): boolean =>
      ask(required, operation, 'a', more).allowed
    const query = { ttl: '1h' }
    for (const operation of ['create', 'update', 'patch'] as const) {
      expect([operation, passes(operation, { body: { ttl: '1h' } })]).toEqual([operation, true])
      expect([operation, passes(operation, { query })]).toEqual([operation, false])
      expect([operation, passes(operation, { body: { ttl: null } })]).toEqual([operation, false])
      expect([operation, passes(operation, { query, inQuery: (name) => name === 'ttl' })]).toEqual([operation, true])
      expect([operation, passes(operation, { query, inQuery: (name) => name === 'other' })]).toEqual([operation, false])
    }
    expect(passes('read', { query })).toBe(true)
    expect(passes('read', { query, body: { ttl: null } }), 'the body goes before the query').toBe(false)
  })

  test('a star stands for all others', () => {
    const denied = aclOf('path "a" { capabilities = ["update"] denied_parameters = { "*" = [] } }')
    expect([{}, { x: 1 }].map((body) => ask(denied, 'update', 'a', { body }).allowed)).toEqual([true, false])
    const others = aclOf('path "a" { capabilities = ["update"] allowed_parameters = { "x" = ["1"], "*" = [] } }')
    expect([{ x: '1', y: 2 }, { x: '2' }].map((body) => ask(others, 'update', 'a', { body }).allowed)).toEqual([true, false])
  })

  test('a denied value is found in a list and behind another type', () => {
    const denied = aclOf('path "a" { capabilities = ["update"] denied_parameters = { "p" = ["root", 5] } }')
    const bodies = [{ p: 'root' }, { p: ['x', 'root'] }, { p: '5' }, { p: 5 }, { p: 'roots' }, { p: ['x'] }]
    expect(bodies.map((body) => ask(denied, 'update', 'a', { body }).allowed)).toEqual([false, false, false, false, true, true])
  })

  test('a denied value is found in whatever spelling engines take for it', () => {
    const denied = aclOf('path "a" { capabilities = ["update"] denied_parameters = { "p" = ["Admin", "ops-*", 5] } }')
    const passes = (p: unknown): boolean => ask(denied, 'update', 'a', { body: { p } }).allowed
    // Written down once more: what engines make of a value, and that compared.
    const read = (p: unknown): string[] =>
      Array.isArray(p) ? p.flatMap(read) : `${String(p)},`.split(',').map((each) => each.trim().toLowerCase())
    const slow = (p: unknown): boolean => !read(p).some((each) => each === 'admin' || each === '5' || each.startsWith('ops-'))
    const values = [
      'Admin',
      'admin',
      ' admin',
      'ADMIN',
      'x,admin',
      'x , ADMIN ,y',
      ['x', ' Admin'],
      ['x,admin'],
      'ops-a',
      'x,OPS-b',
      ' 5',
      'x,5',
      5,
    ]
    for (const p of values) expect([p, passes(p), slow(p)]).toEqual([p, false, false])
    for (const p of ['adm', 'x,administrator', 'dev-ops-a', '55', ['x'], '', ',']) expect([p, passes(p), slow(p)]).toEqual([p, true, true])
  })

  test('merge: values add up, an empty list stays any, required add up', () => {
    const rule = (more: string): string => `path "a" { capabilities = ["update"] ${more} }`
    const merged = aclOf(rule('allowed_parameters = { "x" = ["1"], "y" = [] }'), rule('allowed_parameters = { "x" = ["2"], "y" = ["3"] }'))
    const bodies = [{ x: '1' }, { x: '2' }, { x: '3' }, { y: 'any' }]
    expect(bodies.map((body) => ask(merged, 'update', 'a', { body }).allowed)).toEqual([true, true, false, true])
    const one = aclOf(rule(''), rule('allowed_parameters = { "x" = [] }'))
    expect(ask(one, 'update', 'a', { body: { z: 1 } }).allowed).toBe(false)
    const required = aclOf(rule('required_parameters = ["x"]'), rule('required_parameters = ["y"]'))
    expect([{ x: 1 }, { y: 1 }, { x: 1, y: 1 }].map((body) => ask(required, 'update', 'a', { body }).allowed)).toEqual([false, false, true])
  })

  test('globs have their star at the ends', () => {
    const glob = (value: string, text: string): boolean =>
      ask(aclOf(`path "a" { capabilities = ["update"] allowed_parameters = { "x" = ["${value}"] } }`), 'update', 'a', { body: { x: text } })
        .allowed
    expect([
      glob('a*', 'ab'),
      glob('*b', 'ab'),
      glob('*a*', 'xax'),
      glob('a*b', 'axb'),
      glob('a*b', 'a*b'),
      glob('*', ''),
      glob('a', 'ab'),
    ]).toEqual([true, true, true, false, true, true, false])
  })
})

describe('wrapping', () => {
  test.each<[string, readonly boolean[]]>([
    ['min_wrapping_ttl = "10s"', [false, false, true, true]],
    ['max_wrapping_ttl = 60', [false, true, true, false]],
    ['min_wrapping_ttl = 10\nmax_wrapping_ttl = "1m"', [false, false, true, false]],
  ])('%s', (rule, expected) => {
    const acl = aclOf(`path "a" {\n capabilities = ["read"]\n ${rule}\n}`)
    expect([0, 5, 30, 90].map((wrapTtlSeconds) => ask(acl, 'read', 'a', { wrapTtlSeconds }).allowed)).toEqual(expected)
  })

  test('merging takes the lowest; limits that exclude each other let nothing pass', () => {
    const rule = (more: string): string => `path "a" { capabilities = ["read"] ${more} }`
    const lowest = aclOf(rule('max_wrapping_ttl = 60'), rule('max_wrapping_ttl = 30'), rule(''))
    expect([20, 40].map((wrapTtlSeconds) => ask(lowest, 'read', 'a', { wrapTtlSeconds }).allowed)).toEqual([true, false])
    const never = aclOf(rule('min_wrapping_ttl = 60'), rule('max_wrapping_ttl = 30'))
    expect([20, 40, 70].some((wrapTtlSeconds) => ask(never, 'read', 'a', { wrapTtlSeconds }).allowed)).toBe(false)
  })
})

describe('lists', () => {
  const rule = (more: string): string => `path "a/*" { capabilities = ["list", "scan"] pagination_limit = 10 ${more} }`
  test.each<[string | undefined, number | null]>([
    [undefined, 10],
    ['max', 10],
    ['0', 10],
    ['3', 3],
    ['10', 10],
    ['11', null],
    ['-1', null],
    ['x', null],
    ['1.5', null],
    ['', null],
  ])('limit %j gives %j', (limit, expected) => {
    const decision = ask(aclOf(rule('')), 'list', 'a/b/', { query: limit === undefined ? {} : { limit } })
    expect(decision.allowed ? decision.paginationLimit : null).toBe(expected)
  })

  test('a required limit must be named; `max` names it', () => {
    const acl = aclOf(rule('required_parameters = ["limit"]'))
    expect(ask(acl, 'scan', 'a/').allowed).toBe(false)
    expect(ask(acl, 'scan', 'a/', { query: { limit: 'max' } }).allowed).toBe(true)
  })

  test('the lowest limit and the first filter win', () => {
    const acl = aclOf(
      rule(''),
      rule('list_scan_response_keys_filter_path = "x/{{ .path }}{{ .key }}"').replace('= 10', '= 5'),
      rule('list_scan_response_keys_filter_path = "y"'),
    )
    expect(ask(acl, 'list', 'a/')).toMatchObject({ allowed: true, paginationLimit: 5, listFilter: 'x/{{ .path }}{{ .key }}' })
  })
})

describe('expiry and templates', () => {
  test('a rule that has expired is gone, also from policies compiled before', () => {
    const acl = aclOf('path "a" { capabilities = ["read"] expiration = "1970-01-01T00:01:00Z" } path "*" { capabilities = ["list"] }')
    expect([0, 59_999, 60_000, 70_000].map((nowMs) => ask(acl, 'read', 'a', { nowMs }).allowed)).toEqual([true, true, false, false])
    expect(ask(acl, 'list', 'a', { nowMs: 70_000 }).allowed).toBe(true)
  })

  test('a template without a value drops its rule; a value with a wildcard or slash counts as none (GHSA-59w7-v8rr-pr4p)', () => {
    const policy = parsePolicy('p', 'path "home/{{ identity.entity.name }}/*" { capabilities = ["read"] }')
    const reads = (name: string | null): boolean => ask(compileAcl([policy], { fillTemplate: () => name }), 'read', 'home/eve/x').allowed
    expect([
      reads('eve'),
      reads('bob'),
      reads(null),
      reads('+'),
      reads('*'),
      reads('e*'),
      reads('eve/x'),
      reads(''),
      reads('{{x}}'),
    ]).toEqual([true, false, false, false, false, false, false, false, false])
    expect(ask(compileAcl([policy]), 'read', 'home/{{ identity.entity.name }}/x').allowed).toBe(false)
  })
})
