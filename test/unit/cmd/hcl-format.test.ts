import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatHcl } from '#cmd/cli/hcl-format.ts'
import { parsePolicy } from '#policies/parse.ts'

const meaning = (text: string) => parsePolicy('p', text).rules.map((rule) => ({ ...rule, line: 0 }))

test('lays out blocks, keys and lists; comments stay with what they are about', () => {
  const before = `# mine = { [

# of a
path "a/{{identity.entity.id}}/*" { # why a
capabilities=["list",
      "read", "list"]


      /* block {
    stays */
  // line }
 allowed_parameters = { k=["}"], "l" = [] } # behind
comment = <<EOT
   keep { this
EOT
# the last word
}
path = {
  # of b
  b = { policy: "read" }
  "c" { capabilities = ["deny" # never
 ] conditions = { time="08:00-18:00", weekdays = ["mon",] } } }
# the end`
  const after = `# mine = { [

# of a
path "a/{{identity.entity.id}}/*" {
  # why a
  capabilities = ["read", "list"]

  /* block {
    stays */
  // line }
  allowed_parameters = {
    "k" = ["}"]
    "l" = []
  } # behind
  comment = <<EOT
   keep { this
EOT
  # the last word
}

# of b
path "b" {
  policy = "read"
}

path "c" {
  capabilities = [
    "deny", # never
  ]
  conditions {
    time = "08:00-18:00"
    weekdays = ["mon"]
  }
}
# the end
`
  expect(formatHcl(before)).toBe(after)
  expect(formatHcl(after)).toBe(after)
  expect(meaning(before).map(sorted)).toEqual(meaning(after).map(sorted))
})

test('JSON becomes HCL', () => {
  const json = JSON.stringify({
    path: { 'a\b/"x"': { capabilities: ['sudo', 'read'], denied_parameters: { 'p.q': [{ deep: [1, null, true] }] } }, b: {} },
  })
  expect(formatHcl(json)).toBe(`path "a\\u0008/\\"x\\"" {
  capabilities = ["read", "sudo"]
  denied_parameters = {
    "p.q" = [
      {
        "deep" = [1, null, true]
      },
    ]
  }
}

path "b" {}
`)
  expect(meaning(formatHcl(json)).map(sorted)).toEqual(meaning(json).map(sorted))
  expect(meaning(formatHcl('{"path": [{"a": {"policy": "read"}}, {"a": {"policy": "deny"}}]}'))).toHaveLength(2)
})

test('a long list is a line an entry', () => {
  const names = Array.from({ length: 20 }, (_, i) => `parameter_${i}`)
  const text = formatHcl(`path "a" { required_parameters = ${JSON.stringify(names)} }`)
  expect(text.split('\n')).toHaveLength(20 + 5)
  expect(formatHcl(text)).toBe(text)
})

test.each([
  ['', ''],
  ['\n\n# only this\n\n', '# only this\n'],
  ['path "a" {}', 'path "a" {}\n'],
  ['path "a" {\n\n # x\n\n}', 'path "a" {\n  # x\n}\n'],
  ['name="n"\npath "a" {}', 'name = "n"\n\npath "a" {}\n'],
  ['path "a" { capabilities = # odd\n ["read"] }', 'path "a" {\n  # odd\n  capabilities = ["read"]\n}\n'],
])('%j gives %j', (before, after) => {
  expect(formatHcl(before)).toBe(after)
  expect(formatHcl(after)).toBe(after)
})

describe('properties', () => {
  const gap = fc.constantFrom(' ', '\n', '\n\n\n', ' # note\n', '\n// note\n', ' /* note */ ', '\t')
  const string = fc.constantFrom('"a"', '"x y"', '"\\"{"', '"# no"', '"a/*"', '"\\u00e9"')
  const scalar = fc.oneof(string, fc.constantFrom('1', '-2.5', 'true', 'null'))
  const list = fc.array(fc.tuple(scalar, gap, gap), { maxLength: 4 }).map((all) => `[${all.map(([one, a, b]) => a + one + b).join(',')}]`)
  const parameters = fc
    .uniqueArray(fc.tuple(fc.constantFrom('p', '"q.r"', '"*"'), gap, list, gap), { selector: ([key]) => key, maxLength: 3 })
    .map((all) => `{${all.map(([key, a, value, b]) => `${a}${key} = ${value}${b}`).join('\n')}}`)
  const capabilities = fc
    .array(fc.tuple(fc.constantFrom('"read"', '"list"', '"sudo"', '"create"'), gap), { maxLength: 4 })
    .map((all) => `capabilities = [${all.map(([name, a]) => a + name).join(',')}]`)
  const key = fc.oneof(
    capabilities,
    parameters.map((value) => `allowed_parameters = ${value}`),
    parameters.map((value) => `denied_parameters ${value}`),
    fc.constant('comment = <<END\n  some { text\nEND'),
    fc.constant('pagination_limit = 5'),
    fc.constant('conditions { time = "08:00-18:00" weekdays = ["mon", "fri"] }'),
  )
  const body = fc
    .uniqueArray(fc.tuple(gap, key), { selector: ([, text]) => text.slice(0, 6), maxLength: 4 })
    .map((all) => `{${all.map(([a, text]) => `${a}${text}\n`).join('')}}`)
  const block = fc.oneof(
    fc.tuple(string, gap, body).map(([path, a, text]) => `path ${path}${a}${text}`),
    fc
      .array(fc.tuple(gap, string, body), { maxLength: 2 })
      .map((all) => `path = {${all.map(([a, path, text]) => `${a}${path} = ${text}\n`).join('')}}`),
  )
  const policy = fc.array(fc.tuple(gap, block), { maxLength: 4 }).map((all) => all.map(([a, text]) => `${a}${text}\n`).join(''))
  const count = (text: string): number => text.split('note').length

  test('what it means stays, every comment stays, and a second time changes nothing', () => {
    fc.assert(
      fc.property(policy, (text) => {
        const once = formatHcl(text)
        expect(meaning(once).map(sorted)).toEqual(meaning(text).map(sorted))
        expect(count(once)).toBe(count(text))
        expect(formatHcl(once)).toBe(once)
      }),
      { numRuns: 500 },
    )
  })
})

const sorted = <T extends { capabilities: readonly string[] }>(rule: T): T => ({ ...rule, capabilities: rule.capabilities.toSorted() })
