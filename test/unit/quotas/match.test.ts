import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Matcher, sameScope, type Target } from '#quotas/match.ts'
import type { Scope } from '#quotas/types.ts'

type Named = Scope & { readonly name: string }
const quota = (name: string, over: Partial<Scope>): Named => ({
  name,
  namespaceId: 'root',
  mountUuid: null,
  suffix: '',
  role: '',
  inheritable: false,
  ...over,
})
const target = (over: Partial<Target>): Target => ({ namespaces: ['root'], mountUuid: null, rest: '', ...over })

test('the most specific quota counts, and no other', () => {
  const matcher = new Matcher([
    quota('root', { inheritable: true }),
    quota('team', { namespaceId: 'team' }),
    quota('kv', { mountUuid: 'kv' }),
    quota('glob', { mountUuid: 'kv', suffix: 'data/*' }),
    quota('longer', { mountUuid: 'kv', suffix: 'data/app/*' }),
    quota('exact', { mountUuid: 'kv', suffix: 'data/app/db' }),
    quota('logins', { mountUuid: 'approle', suffix: 'login' }),
    quota('web', { mountUuid: 'approle', role: 'web' }),
  ])
  const name = (over: Partial<Target>, role: string | null = null) => matcher.match(target(over), role)?.name
  expect(name({})).toBe('root')
  expect(name({ namespaces: ['team', 'root'] })).toBe('team')
  expect(name({ namespaces: ['other', 'root'] }), 'inherited').toBe('root')
  expect(name({ namespaces: ['app', 'team', 'root'] }), "a parent's that is not inheritable is passed over").toBe('root')
  expect(name({ mountUuid: 'kv', rest: 'config' })).toBe('kv')
  expect(name({ mountUuid: 'kv', rest: 'data/x' })).toBe('glob')
  expect(name({ mountUuid: 'kv', rest: 'data/app/x' })).toBe('longer')
  expect(name({ mountUuid: 'kv', rest: 'data/app/db' })).toBe('exact')
  expect(name({ mountUuid: 'kv', rest: 'data/app/db/' }), "a list's slash").toBe('exact')
  expect(name({ mountUuid: 'approle', rest: 'login' }, 'web'), 'a role stands above a path').toBe('web')
  expect(name({ mountUuid: 'approle', rest: 'login' }, 'batch')).toBe('logins')
  expect(name({ mountUuid: 'other', rest: 'login' }, 'web')).toBe('root')
  expect([matcher.asksRole('approle'), matcher.asksRole('kv'), matcher.asksRole(null)]).toEqual([true, false, false])
})

/** Twin: all that fit, by rank. */
function slow(quotas: readonly Named[], { namespaces, mountUuid, rest }: Target, role: string | null): string | undefined {
  const path = rest.replace(/\/$/, '')
  const ranked = quotas.flatMap((each) => {
    if (each.mountUuid !== null) {
      if (each.mountUuid !== mountUuid) return []
      if (each.role !== '') return each.role === role ? [{ each, rank: 10_000 }] : []
      if (each.suffix === '') return [{ each, rank: 1_000 }]
      if (!each.suffix.endsWith('*')) return each.suffix === path ? [{ each, rank: 5_000 }] : []
      return rest.startsWith(each.suffix.slice(0, -1)) ? [{ each, rank: 2_000 + each.suffix.length }] : []
    }
    const depth = namespaces.indexOf(each.namespaceId)
    return depth === 0 || (depth > 0 && each.inheritable) ? [{ each, rank: 100 - depth }] : []
  })
  return ranked.toSorted((a, b) => b.rank - a.rank)[0]?.each.name
}

test('a random set of quotas against its slow twin', () => {
  const some = <T>(...values: T[]) => fc.constantFrom(...values)
  const scope = fc
    .record({
      namespaceId: some('root', 'a', 'b'),
      mountUuid: some(null, 'm1', 'm2'),
      suffix: some('', '', 'x', 'x*', 'x/y', 'x/*', '*'),
      role: some('', '', 'r1', 'r2'),
      inheritable: fc.boolean(),
    })
    .map((each) => (each.mountUuid === null ? { ...each, suffix: '', role: '' } : each.role === '' ? each : { ...each, suffix: '' }))
  const targets = fc.record({
    namespaces: some(['root'], ['a', 'root'], ['b', 'a', 'root']),
    mountUuid: some(null, 'm1', 'm2', 'm3'),
    rest: some('', 'x', 'x/', 'xy', 'x/y', 'x/z', 'y'),
  })
  let matched = 0
  fc.assert(
    fc.property(fc.array(scope, { maxLength: 12 }), targets, some(null, 'r1', 'r3'), (scopes, at, role) => {
      const named = scopes.map((each, i) => ({ ...each, name: `q${i}` }))
      const quotas = named.filter((each, i) => !named.slice(0, i).some((other) => sameScopeOrMount(other, each)))
      const found = new Matcher(quotas).match(at, role)?.name
      if (found !== undefined) matched += 1
      return found === slow(quotas, at, role)
    }),
    { numRuns: 5_000 },
  )
  expect(matched).toBeGreaterThan(1_000)
})

/** A mount's uuid is in one namespace only. */
const sameScopeOrMount = (a: Scope, b: Scope): boolean =>
  sameScope(a, b) || (a.mountUuid !== null && sameScope({ ...a, namespaceId: '' }, { ...b, namespaceId: '' }))
