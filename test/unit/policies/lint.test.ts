import { lintPolicies } from '#policies/lint.ts'
import { covers, matches, parsePattern } from '#policies/pattern.ts'
import { defaultPolicyText } from '#policies/builtin.ts'
import fc from 'fast-check'
import { expect, test } from 'vitest'

const nowMs = Date.parse('2026-11-23T09:00:00Z')
const lint = (...texts: string[]) =>
  lintPolicies(
    texts.map((text, i) => ({ name: `p${i}`, text })),
    nowMs,
  )
const said = (...texts: string[]): string[] =>
  lint(...texts).map(({ policy, line, level, message }) => `${policy}:${line} ${level} ${message}`)
const rule = (path: string, more = 'capabilities = ["read"]'): string => `path "${path}" { ${more} }`

test.each<[why: string, text: string, finding: string | null]>([
  ['nothing', rule('secret/data/x'), null],
  ['the built-in default', defaultPolicyText, null],
  ['an unknown key', rule('a', 'capabilties = ["read"]'), 'expected a key that a path can have, got "capabilties"'],
  ['an unknown capability', rule('a', 'capabilities = ["reed", "list"]'), 'got capability "reed"'],
  ['another top-level key', 'paths "a" {}', 'expected "path" or "name", got key "paths"'],
  ['broken syntax', 'path "a" {', "expected '}', got the end of the text"],
  [
    'a condition that is none',
    rule('a', 'capabilities = ["read"] conditions { tme = "08:00-18:00" }'),
    'expected a key that conditions can have, got "tme"',
  ],
  ['the version in the path', rule('v1/secret/x'), 'path "v1/secret/x" can never match: requests are matched without /v1/'],
  ['an empty path', rule(''), 'path "" can never match: no request has an empty path'],
  ['an empty segment', rule('a//b'), `path "a//b" can never match: no request has an empty segment ('//')`],
  ['dots', rule('a/../b'), `path "a/../b" can never match: requests with '.' or '..' as a segment are refused`],
  [
    'a template that is none',
    rule('a/{{identity.entity.nme}}'),
    'path "a/{{identity.entity.nme}}" can never match: {{identity.entity.nme}} is no template',
  ],
  ['a template', rule('a/{{identity.groups.names.dev.id}}/*'), null],
  ['a slash at the end of what is read', rule('a/'), 'path "a/" can never match: only lists and scans end in a slash'],
  ['a slash at the end of what is listed', rule('a/', 'capabilities = ["list"]'), null],
  ['a star in the middle', rule('a/*/b'), `path "a/*/b" has a '*' that is not its last character: it stands for itself`],
  ['a plus in a segment', rule('a/b+'), `path "a/b+" has a '+' that is not a whole segment: it stands for itself`],
  ['expired', rule('a', 'capabilities = ["read"] expiration = "2026-11-23T08:59:59Z"'), 'path "a" can never match: it has expired'],
  ['not expired yet', rule('a', 'capabilities = ["read"] expiration = "2026-11-23T09:00:01Z"'), null],
  ['no capabilities', rule('a', ''), 'path "a" grants nothing: it has no capabilities'],
  [
    'deny with conditions',
    rule('a', 'capabilities = ["deny"] conditions { time = "08:00-18:00" }'),
    'path "a" has conditions that do nothing: a deny is there whatever they say',
  ],
  [
    'a page limit without a list',
    rule('a', 'capabilities = ["read"] pagination_limit = 5'),
    'path "a" has a pagination_limit, and neither list nor scan',
  ],
  [
    'a filter without a list',
    rule('a', 'capabilities = ["read"] list_scan_response_keys_filter_path = "x"'),
    'path "a" has a list filter, and neither list nor scan',
  ],
  [
    'parameters without a use',
    rule('a', 'capabilities = ["delete"] allowed_parameters = { "x" = [] }'),
    'path "a" has parameters, and none of create, read, update, patch',
  ],
  [
    'required and denied',
    rule('a', 'capabilities = ["read"] required_parameters = ["x"] denied_parameters = { "X" = [] }'),
    'path "a" can never be used: it requires the parameter "x" and refuses it',
  ],
  [
    'required and not allowed',
    rule('a', 'capabilities = ["read"] required_parameters = ["x"] allowed_parameters = { "y" = [] }'),
    'path "a" can never be used: it requires the parameter "x" and refuses it',
  ],
  [
    'required, and all others allowed',
    rule('a', 'capabilities = ["read"] required_parameters = ["x"] allowed_parameters = { "*" = [] }'),
    null,
  ],
  [
    'allowed and denied',
    rule('a', 'capabilities = ["read"] allowed_parameters = { "x" = ["ab"] } denied_parameters = { "x" = ["a*"] }'),
    'path "a" allows values of "x" that it denies',
  ],
  [
    'twice',
    `${rule('a')}\n${rule('a', 'capabilities = ["list"]')}`,
    'path "a" is there a second time (line 1): both are merged into one rule',
  ],
  ['denied beside', `${rule('a')}\n${rule('a', 'capabilities = ["deny"]')}`, 'path "a" is shadowed: the same path is denied (line 2)'],
  [
    'shadowed',
    `${rule('a/+/*')}\n${rule('a/+/+/*', 'capabilities = ["deny"]')}`,
    'path "a/+/+/*" is shadowed: "a/+/*" (line 1) matches all that it matches, and goes first',
  ],
  ['not shadowed', `${rule('a/*')}\n${rule('a/+')}\n${rule('a/b/*')}`, null],
  [
    'conditions that a wider rule undoes',
    `${rule('a/*')}\n${rule('a/b', 'capabilities = ["read", "list"] conditions { time = "08:00-18:00" }')}`,
    'path "a/b" when its conditions fail, "a/*" (line 1) decides and grants read',
  ],
  [
    'conditions that nothing undoes',
    `${rule('a/*', 'capabilities = ["list"]')}\n${rule('a/b', 'capabilities = ["read"] conditions { time = "08:00-18:00" }')}`,
    null,
  ],
])('%s', (_, text, finding) => {
  const found = lint(text)
  expect(found.map(({ message }) => message).join('\n')).toContain(finding ?? '')
  expect(found).toHaveLength(finding === null ? 0 : 1)
})

test('all faults of a text at once, each at its line, with what may have been meant', () => {
  const text = 'path "a" {\n  capabilities = ["raed",\n    "lst", "read"]\n  polici = "x"\n}\npath "b/+*" {}\nname = 5'
  expect(lint(text).map(({ line, level, hint }) => [line, level, hint])).toEqual([
    [2, 'error', 'did you mean "read"?'],
    [3, 'error', 'did you mean "list"?'],
    [4, 'error', 'did you mean "policy"?'],
    [6, 'error', "write '+/*' for everything below one segment"],
    [7, 'error', undefined],
  ])
})

test('several texts are one token: what another one denies is said where it is granted', () => {
  expect(said(rule('a/*'), rule('a/*', 'capabilities = ["deny"]'))).toEqual([
    'p0:1 warning path "a/*" is shadowed: the same path is denied (p1, line 1)',
  ])
})

test('what covers another pattern matches all that it matches', () => {
  const segment = fc.constantFrom('a', 'b', '+', '')
  const pattern = fc
    .tuple(fc.array(segment, { minLength: 1, maxLength: 4 }), fc.constantFrom('', '*', '/*', '/a*'))
    .map(([segments, end]) => segments.join('/') + end)
    .filter((text) => !text.includes('+*') && (text.includes('*') || text.split('/').includes('+')))
  const path = fc.array(fc.constantFrom('a', 'b', 'ab', ''), { minLength: 1, maxLength: 5 }).map((segments) => segments.join('/'))
  let covered = 0
  fc.assert(
    fc.property(pattern, pattern, fc.array(path, { minLength: 8, maxLength: 8 }), (wide, narrow, paths) => {
      const [over, under] = [parsePattern(wide), parsePattern(narrow)]
      if (!covers(over, under)) return true
      covered += 1
      return paths.every((one) => !matches(under, one) || matches(over, one))
    }),
    { numRuns: 5_000 },
  )
  expect(covered).toBeGreaterThan(200)
})
