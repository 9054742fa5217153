import { addressAllowed, parseCidr } from '#tokens/cidr.ts'
import { lifetimeSeconds } from '#tokens/lifetime.ts'
import { authResponse, lookupData } from '#tokens/shapes.ts'
import { grantTtl } from '#tokens/ttl.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { describe, expect, test } from 'vitest'

const nowMs = Date.parse('2026-08-01T10:00:00Z')
const entry: TokenEntry = {
  idHash: 'h',
  accessor: 'acc',
  parentHash: null,
  policies: ['app', 'default'],
  path: 'auth/token/create',
  meta: null,
  displayName: 'token',
  type: 'service',
  namespaceId: 'root',
  entityId: '',
  numUses: 0,
  creationTimeMs: nowMs - 1_500,
  creationTtlSeconds: 60,
  explicitMaxTtlSeconds: 0,
  periodSeconds: 0,
  renewable: true,
  orphan: true,
  expireTimeMs: nowMs + 58_500,
  lastRenewalTimeMs: null,
  boundCidrs: [],
}

test.each([
  ['of a record of before the longest was kept, its creation', {}, 60],
  ['of such a one that was renewed, the longer of both', { lastRenewalTimeMs: nowMs - 1_500, expireTimeMs: nowMs + 118_500 }, 120],
  ['the longest that was ever given', { longestGrantSeconds: 7_200, lastRenewalTimeMs: nowMs - 1_500 }, 7_200],
  ['none where it never ends', { expireTimeMs: null, creationTtlSeconds: 0 }, null],
] as const)('the lifetime of a token is %s', (_, change, seconds) => {
  expect(lifetimeSeconds({ ...entry, ...change })).toBe(seconds)
})

test("lookup data has the field's names", () => {
  expect(lookupData(entry, nowMs, 's.x')).toEqual({
    id: 's.x',
    accessor: 'acc',
    policies: ['app', 'default'],
    path: 'auth/token/create',
    meta: null,
    display_name: 'token',
    num_uses: 0,
    orphan: true,
    creation_time: 1_785_578_398,
    creation_ttl: 60,
    expire_time: '2026-08-01T10:00:58.5Z',
    ttl: 59,
    explicit_max_ttl: 0,
    entity_id: '',
    type: 'service',
    renewable: true,
    issue_time: '2026-08-01T09:59:58.5Z',
  })
  const rare = { ...entry, role: 'r', periodSeconds: 9, boundCidrs: ['10.0.0.1'], lastRenewalTimeMs: nowMs }
  expect(lookupData(rare, nowMs)).toMatchObject({
    id: '',
    role: 'r',
    period: 9,
    bound_cidrs: ['10.0.0.1'],
    last_renewal: '2026-08-01T10:00:00Z',
    last_renewal_time: 1_785_578_400,
  })
  const root = lookupData({ ...entry, expireTimeMs: null }, nowMs)
  expect(root).toMatchObject({ expire_time: null, ttl: 0 })
  expect(root).not.toHaveProperty('renewable')
})

test('the auth part', () => {
  expect(authResponse(entry, 's.x', nowMs)).toEqual({
    client_token: 's.x',
    accessor: 'acc',
    policies: ['app', 'default'],
    token_policies: ['app', 'default'],
    metadata: null,
    lease_duration: 59,
    renewable: true,
    entity_id: '',
    token_type: 'service',
    orphan: true,
    mfa_requirement: null,
    num_uses: 0,
  })
})

describe('grantTtl', () => {
  const limits = { defaultTtlSeconds: 100, maxTtlSeconds: 1_000 }
  test.each<[ttl: number, period: number, max: number, granted: number, warnings: number]>([
    [0, 0, 0, 100, 0],
    [50, 0, 0, 50, 0],
    [2_000, 0, 0, 1_000, 1],
    [500, 0, 200, 200, 1],
    [0, 30, 0, 30, 0],
    [500, 30, 0, 30, 0],
    [0, 5_000, 0, 1_000, 1],
    [0, 30, 20, 20, 1],
    [0, 0, 5_000, 100, 1],
  ])('ttl %d, period %d, explicit max %d: %d', (ttlSeconds, periodSeconds, explicitMaxTtlSeconds, granted, warnings) => {
    const result = grantTtl({ ttlSeconds, periodSeconds, explicitMaxTtlSeconds }, limits)
    expect([result.ttlSeconds, result.warnings.length]).toEqual([granted, warnings])
    expect(result.explicitMaxTtlSeconds).toBeLessThanOrEqual(1_000)
  })
})

describe('addresses', () => {
  test.each<[readonly string[], string, boolean]>([
    [[], 'nonsense', true],
    [['10.0.0.0/8'], '10.1.2.3', true],
    [['10.0.0.0/8'], '11.1.2.3', false],
    [['10.0.0.0/8'], '::ffff:10.1.2.3', true],
    [['10.0.0.0/8'], '::1', false],
    [['10.0.0.0/8'], '', false],
    [['10.0.0.0/8'], 'localhost', false],
    [['192.168.0.1'], '192.168.0.1', true],
    [['192.168.0.1'], '192.168.0.2', false],
    [['fd00::/8', '10.0.0.0/8'], 'fd12::1', true],
    [['::/0'], '10.0.0.1', false],
    [['0.0.0.0/0'], '10.0.0.1', true],
  ])('%j, %s: %s', (boundCidrs, address, allowed) => {
    expect(addressAllowed({ ...entry, boundCidrs }, address)).toBe(allowed)
  })

  test('a root token that never expires is bound to none', () => {
    const root = { ...entry, policies: ['root'], boundCidrs: ['10.0.0.0/8'] }
    expect([addressAllowed(root, '1.1.1.1'), addressAllowed({ ...root, expireTimeMs: null }, '1.1.1.1')]).toEqual([false, true])
  })

  test.each(['', 'x', '10.0.0.0/33', '10.0.0/8/8', '::1/129', '10.0.0.0/'])('%j is no CIDR', (text) => {
    expect(() => parseCidr(text)).toThrow('bound CIDR expected')
  })
})
