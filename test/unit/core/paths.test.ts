import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compilePaths } from '#core/paths.ts'
import type { PathDef } from '#core/types.ts'

const def = (pattern: string): PathDef => ({ pattern, fields: {}, operations: {}, help: { synopsis: '', description: '' } })
const matcher = (...patterns: string[]) => {
  const table = compilePaths(patterns.map(def))
  return (path: string) => {
    const found = table.match(path)
    return found && [found.def.pattern, { ...found.params }]
  }
}

describe('a path', () => {
  const match = matcher(
    'config',
    'data/:path*',
    'roles',
    'roles/:name',
    'roles/:name/id',
    'any/:path*?',
    'mounts/:path*',
    'mounts/:path*/tune',
    'mounts/fixed',
  )

  test.each([
    ['config', 'config', {}],
    ['config/', 'config', {}],
    ['data/a', 'data/:path*', { path: 'a' }],
    ['data/a/b/c', 'data/:path*', { path: 'a/b/c' }],
    ['roles/', 'roles', {}],
    ['roles/x', 'roles/:name', { name: 'x' }],
    ['roles/x/id', 'roles/:name/id', { name: 'x' }],
    ['any', 'any/:path*?', { path: '' }],
    ['any/x/', 'any/:path*?', { path: 'x' }],
    ['mounts/a/b/tune', 'mounts/:path*/tune', { path: 'a/b' }],
    ['mounts/tune', 'mounts/:path*', { path: 'tune' }],
    ['mounts/fixed', 'mounts/fixed', {}],
    ['mounts/fixed/tune', 'mounts/:path*/tune', { path: 'fixed' }],
  ])('%s is %s', (path, pattern, params) => {
    expect(match(path)).toEqual([pattern, params])
  })

  test.each(['data', 'data/', 'roles/x/y', 'nothing', '', 'configs', 'roles//id'])('%j is none', (path) => {
    expect(match(path)).toBeNull()
  })

  test('a literal wins over a name, and a dead end goes back without its captures', () => {
    const both = matcher('a/:x/end', 'a/b/:y/other', ':p/:q/end')
    expect(both('a/b/end')).toEqual(['a/:x/end', { x: 'b' }])
    expect(both('a/b/c/other')).toEqual(['a/b/:y/other', { y: 'c' }])
    expect(both('z/b/end')).toEqual([':p/:q/end', { p: 'z', q: 'b' }])
  })

  test('names of the prototype are names like any other', () => {
    const match = matcher(':name', 'x/:path*')
    expect(match('__proto__')).toEqual([':name', { name: '__proto__' }])
    expect(match('x/constructor')).toEqual(['x/:path*', { path: 'constructor' }])
  })
})

test('a table with the same pattern twice, or a malformed one, does not load', () => {
  expect(() => matcher('a/:x', 'a/:x')).toThrow('twice')
  expect(() => matcher('a/:x*', 'a/:y*')).toThrow('twice')
  expect(() => matcher('a//b')).toThrow('malformed')
  expect(() => matcher('a/:x*/:y')).toThrow('literals')
})

/** Oracle: each pattern as a regular expression; among those that fit, the best by the rule "literal, name, rest" at each segment. */
function matchSlow(patterns: readonly string[], path: string): string | null {
  const fitting = patterns.filter((pattern) => {
    const source = pattern
      .split('/')
      .map((segment) => (/^:\w+\*$/.test(segment) ? '.+' : segment.startsWith(':') ? '[^/]+' : segment))
      .join('/')
    return new RegExp(`^${source}$`).test(path)
  })
  const rank = (pattern: string): string =>
    pattern
      .split('/')
      .map((segment) => (segment.endsWith('*') ? '2' : segment.startsWith(':') ? '1' : '0'))
      .join('')
  return fitting.toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1))[0] ?? null
}

test('the trie agrees with its oracle', () => {
  const segment = fc.constantFrom('a', 'b', ':x')
  const pattern = fc
    .tuple(fc.array(segment, { minLength: 1, maxLength: 3 }), fc.boolean())
    .map(([segments, rest]) => [...segments, ...(rest ? [':rest*'] : [])].join('/'))
  const patterns = fc.uniqueArray(pattern, { minLength: 1, maxLength: 6 })
  const path = fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 5 }).map((parts) => parts.join('/'))
  fc.assert(
    fc.property(patterns, path, (defs, asked) => {
      const found = compilePaths(defs.map(def)).match(asked)?.def.pattern ?? null
      return found === matchSlow(defs, asked)
    }),
    { numRuns: 20_000 },
  )
})
