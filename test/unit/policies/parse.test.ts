import { isHoldfastError } from '#base/errors.ts'
import { defaultPolicyText, responseWrappingPolicyText } from '#policies/builtin.ts'
import { parsePolicy } from '#policies/parse.ts'
import { expect, test } from 'vitest'

function errorOf(text: string): string {
  try {
    parsePolicy('p', text)
  } catch (error) {
    if (isHoldfastError(error, 'ERR_POLICY_SYNTAX')) return error.message
    throw error
  }
  return 'no error'
}

const full = {
  comment: 'why',
  capabilities: ['create', 'read', 'create'],
  allowed_parameters: { A: ['x', 1], b: [] },
  denied_parameters: { c: 'one' },
  required_parameters: ['D'],
  min_wrapping_ttl: '1m',
  max_wrapping_ttl: 3600,
  pagination_limit: 100,
  expiration: '2030-01-01T00:00:00Z',
  list_scan_response_keys_filter_path: '{{ .path }}{{.key}}',
}

test('every key, in JSON and in HCL, with the line of each rule', () => {
  const expected = {
    path: 'secret/*',
    capabilities: ['create', 'read'],
    allowedParameters: { a: ['x', 1], b: [] },
    deniedParameters: { c: ['one'] },
    requiredParameters: ['d'],
    minWrappingTtlSeconds: 60,
    maxWrappingTtlSeconds: 3_600,
    paginationLimit: 100,
    expirationMs: Date.parse('2030-01-01T00:00:00Z'),
    listFilter: '{{ .path }}{{.key}}',
    conditions: null,
    comment: 'why',
  }
  const json = parsePolicy('P', JSON.stringify({ name: 'ignored', path: { '/secret/*': full } }))
  expect(json.name).toBe('p')
  expect(json.rules).toEqual([{ ...expected, line: 1 }])
  const hcl = `name = "ignored"
# a comment
path "secret/*" {
  comment = "why"
  capabilities = ["create", "read", "create"]
  allowed_parameters = { "A" = ["x", 1], b = [] }
  denied_parameters { c = "one" }
  required_parameters = ["D"]
  min_wrapping_ttl = "1m"
  max_wrapping_ttl = 3600
  pagination_limit = 100
  expiration = "2030-01-01T00:00:00Z"
  list_scan_response_keys_filter_path = "{{ .path }}{{.key}}"
}`
  expect(parsePolicy('p', hcl).rules).toEqual([{ ...expected, line: 3 }])
})

test.each<[string, string, string[]]>([
  ['deny', 'HCL', ['deny']],
  ['read', 'HCL', ['read', 'list']],
  ['write', 'HCL', ['create', 'read', 'update', 'delete', 'list']],
  ['sudo', 'HCL', ['create', 'read', 'update', 'delete', 'list', 'sudo']],
])('the old word %s', (word, _, capabilities) => {
  expect(parsePolicy('p', `path "a" { policy = "${word}" }`).rules[0]?.capabilities).toEqual(capabilities)
})

test('deny erases what stands beside it', () => {
  expect(parsePolicy('p', 'path "a" { capabilities = ["read", "deny", "sudo"] }').rules[0]?.capabilities).toEqual(['deny'])
})

test.each([
  ['path "a" {\n  capabilties = ["read"]\n}', 'line 2, column 3: expected a key that a path can have, got "capabilties"'],
  ['\npaths "a" {}', 'line 2, column 1: expected "path" or "name", got key "paths"'],
  [
    'path "a" { capabilities = ["reed"] }',
    'line 1, column 28: expected one of create, read, update, patch, delete, list, scan, sudo, deny, got capability "reed"',
  ],
  ['path "a" { capabilities = "read" }', 'line 1, column 27: expected a list of strings for "capabilities", got a string'],
  ['path "a" { capabilities = [1] }', 'line 1, column 28: expected a string in "capabilities", got a number'],
  ['path "a" { policy = "reed" }', 'line 1, column 21: expected policy "deny", "read", "write" or "sudo", got "reed"'],
  ['path "a" { policy = "constructor" }', 'line 1, column 21: expected policy "deny", "read", "write" or "sudo", got "constructor"'],
  ['path "a/+*" {}', "line 1, column 1: expected '+' to stand for one whole segment, got '+*' in path \"a/+*\""],
  [
    'path "a" { min_wrapping_ttl = 9\n max_wrapping_ttl = 5 }',
    'line 1, column 1: expected max_wrapping_ttl >= min_wrapping_ttl, got 5s < 9s',
  ],
  ['path "a" { min_wrapping_ttl = "x" }', 'line 1, column 31: expected a duration for "min_wrapping_ttl", got a string that is none'],
  [
    'path "a" { pagination_limit = -1 }',
    'line 1, column 31: expected a whole number >= 0 for "pagination_limit", got a number that is none',
  ],
  ['path "a" { expiration = "soon" }', 'line 1, column 25: expected an RFC 3339 time for "expiration", got a string that is none'],
  [
    'path "a" { list_scan_response_keys_filter_path = "{{ .keys }}" }',
    'line 1, column 50: expected {{ .path }} and {{ .key }} as the only templates, got another',
  ],
  ['path "a" {\n capabilities = []\n capabilities = ["deny"] }', 'line 3, column 2: expected "capabilities" once, got it a second time'],
  ['path "a" { allowed_parameters = { "x" = [], "X" = ["1"] } }', 'line 1, column 45: expected parameter "X" once, got it a second time'],
  ['path "a" { allowed_parameters = ["x"] }', 'line 1, column 33: expected an object for "allowed_parameters", got a list'],
  ['path "a" { mfa_methods = ["x"] }', 'line 1, column 12: expected only keys that this server enforces, got "mfa_methods"'],
  ['path "a" { control_group = {} }', 'line 1, column 12: expected only keys that this server enforces, got "control_group"'],
  ['path "a" "b" {}', 'line 1, column 1: expected 1 labels after "path", got 2'],
  ['path {', "line 1, column 7: expected '}', got the end of the text"],
  ['{"path": {"a": {"capabilities": ["read"], "x": 1}}}', 'line 1, column 43: expected a key that a path can have, got "x"'],
  ['path "a" { capabilities "b" { } }', 'line 1, column 12: expected \'=\' after "capabilities", got a label'],
])('%s', (text, message) => {
  expect(errorOf(text)).toBe(`failed to parse policy: ${message}`)
})

test('an empty text is a policy without rules', () => {
  expect(parsePolicy('p', '').rules).toEqual([])
  expect(parsePolicy('p', '{}').rules).toEqual([])
})

test('the built-in texts parse, and grant what a token needs for itself', () => {
  expect(parsePolicy('response-wrapping', responseWrappingPolicyText).rules.map((rule) => rule.path)).toEqual([
    'cubbyhole/response',
    'sys/wrapping/unwrap',
    'auth/token/revoke-self',
  ])
  const paths = parsePolicy('default', defaultPolicyText).rules.map((rule) => rule.path)
  for (const path of [
    'auth/token/lookup-self',
    'auth/token/renew-self',
    'sys/capabilities-self',
    'cubbyhole/*',
    'sys/leases/renew',
    'sys/wrapping/unwrap',
  ]) {
    expect(paths).toContain(path)
  }
})

test('ERR_POLICY_SYNTAX: with the line, and a hint', () => {
  expect(() => parsePolicy('p', 'path "a" { capabilities = ["raed"] }')).toThrow(
    expect.objectContaining({ code: 'ERR_POLICY_SYNTAX', hint: expect.any(String) }),
  )
})
