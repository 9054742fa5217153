import { fillTemplates, isKnownTemplate, templatesOf, templateValue } from '#policies/templates.ts'
import type { IdentityRecord } from '#policies/types.ts'
import { expect, test } from 'vitest'

export const alice: IdentityRecord = {
  entity: {
    id: 'e-1',
    name: 'alice',
    metadata: { team: 'red', 'a.b': 'dotted', empty: '', slash: 'x/y', star: 'x*' },
    aliases: [
      { id: 'a-1', name: 'alice@example.org', mountAccessor: 'auth_userpass_1', metadata: { uid: '7' }, customMetadata: { desk: '3' } },
    ],
  },
  groups: [
    { id: 'g-1', name: 'ops.eu', metadata: { region: 'eu' } },
    { id: 'g-2', name: 'dev', metadata: {} },
  ],
  policies: [],
}

test.each<[string, string | null]>([
  ['identity.entity.id', 'e-1'],
  ['identity.entity.name', 'alice'],
  ['identity.entity.metadata.team', 'red'],
  ['identity.entity.metadata.a.b', 'dotted'],
  ['identity.entity.metadata.none', null],
  ['identity.entity.metadata.constructor', null],
  ['identity.entity.aliases.auth_userpass_1.id', 'a-1'],
  ['identity.entity.aliases.auth_userpass_1.name', 'alice@example.org'],
  ['identity.entity.aliases.auth_userpass_1.metadata.uid', '7'],
  ['identity.entity.aliases.auth_userpass_1.custom_metadata.desk', '3'],
  ['identity.entity.aliases.auth_ldap_9.name', null],
  ['identity.groups.ids.g-1.name', 'ops.eu'],
  ['identity.groups.ids.g-1.metadata.region', 'eu'],
  ['identity.groups.ids.g-9.name', null],
  ['identity.groups.names.dev.id', 'g-2'],
  ['identity.groups.names.ops.eu.id', 'g-1'],
  ['identity.groups.names.ops.eu.metadata.region', 'eu'],
  ['identity.groups.names.other.id', null],
])('%s is %s', (expression, value) => {
  expect(isKnownTemplate(expression)).toBe(true)
  expect(templateValue(expression, alice)).toBe(value)
  expect(templateValue(expression, null)).toBeNull()
})

test.each([
  '',
  'identity.entity',
  'identity.entity.',
  'identity.entity.nme',
  'identity.entity.metadata.',
  'identity.entity.aliases.x',
  'identity.entity.aliases.x.metadata',
  'identity.groups.ids.x.id',
  'identity.groups.names.x.name',
  'identity.groups.names.x',
  'time.now',
])('%j can never be filled', (expression) => {
  expect(isKnownTemplate(expression)).toBe(false)
  expect(templateValue(expression, alice)).toBeNull()
})

test('filling: a value that would widen the rule counts as none, and one that is missing drops it (GHSA-59w7-v8rr-pr4p)', () => {
  const fill = (path: string): string | null => fillTemplates(path, (expression) => templateValue(expression, alice))
  expect(fill('home/{{identity.entity.name}}/{{ identity.entity.metadata.team }}/*')).toBe('home/alice/red/*')
  for (const key of ['slash', 'star', 'empty', 'none']) expect(fill(`home/{{identity.entity.metadata.${key}}}`), key).toBeNull()
  expect(fill('home/plain')).toBe('home/plain')
})

test('braces must pair', () => {
  expect(templatesOf('a/{{ x }}/{{x}}/{{y}}')).toEqual(['x', 'y'])
  expect(templatesOf('a/b')).toEqual([])
  for (const broken of ['a/{{x', 'a/x}}', 'a/{{x}}/{{']) expect(templatesOf(broken), broken).toBeNull()
})
