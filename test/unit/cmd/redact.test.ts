import { expect, test } from 'vitest'
import { glance, type Member } from '#cmd/commands/operator/members.ts'
import { newId, newSecret, printKey } from '#auth/apikey/shape.ts'
import type { RandomSource } from '#base/random.ts'
import { redact, redacted, redactText } from '#cmd/commands/debug/redact.ts'
import { makeJoinToken } from '#transport/join.ts'

/** The same names of tests in each run. */
const sevens: RandomSource = { bytes: (length) => new Uint8Array(length).fill(7) }

test.each([
  's.ABCDEFGHIJKLMNOPQRSTUVWX',
  makeJoinToken(sevens).token,
  printKey({ id: newId(sevens), secret: newSecret(sevens) }),
  `hvo_secret_${'aB3'.repeat(21)}x`,
  'eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ',
  'hvs.CAESIABCDEFGHIJKLMNOPQRSTUVWXYZ',
  'b.AAAAAQLABCDEFGHIJKLMNOPQRSTUVWXYZ-_abc',
  '-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----',
  '-----BEGIN PRIVATE KEY-----\ncut off',
])('what looks like a token or a key is taken out of any text: %s', (secret) => {
  expect(redactText(`before ${secret} after`)).not.toContain(secret.slice(10, 20))
  expect(JSON.stringify(redact({ deep: [{ note: `x ${secret}` }] }))).toContain(redacted)
  expect(JSON.stringify(redact({ [secret]: 1 }))).not.toContain(secret.slice(0, 20))
})

test('a password in a URL goes, the host stays', () => {
  expect(redactText('postgres://app:hunter2@db:5432/x')).toBe(`postgres://app:${redacted}@db:5432/x`)
})

test.each([
  'token',
  'client_token',
  'aws_secret_access_key',
  'password',
  'unseal_key',
  'Authorization',
  'keys',
  'root_token',
  'private_key',
])('the value of %s goes, whatever it is', (name) => {
  const value = redact({ [name]: { inside: 'text' }, other: 'stays' }) as Record<string, unknown>
  if (name !== 'keys') expect(value[name]).toBe(redacted)
  expect(value['other']).toBe('stays')
})

test('counts stay, and what is empty', () => {
  const counts = { num_tokens: 7, token_type: 'service', secret_shares: 5, token: '', password: null, keys: ['1.0', '1.1'] }
  expect(redact(counts)).toEqual(counts)
})

test('one line says who leads, who lags, who is sealed and who is silent', () => {
  const plain = (_: string, text: string): string => text
  const member = (node: string, more: Partial<Member> = {}): Member => ({
    node,
    role: 'follower',
    address: '',
    cluster_address: '',
    sealed: false,
    applied_index: 1,
    applied_lag: 0,
    format_levels: '1',
    ...more,
  })
  expect(glance([member('a', { role: 'leader' }), member('b', { applied_lag: 99 })], plain)).toBe(
    '2 node(s): a leads; all open and up to date',
  )
  const bad = [member('b', { sealed: true }), member('c', { sealed: null, applied_lag: null }), member('d', { applied_lag: 100 })]
  expect(glance(bad, plain)).toBe('3 node(s): nobody leads; sealed: b; no answer: c; lagging: d')
})
