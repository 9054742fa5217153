/**
 * Advisories of the peers, each as a class of faults that must not be here. Those whose subject has tests of its own are named there; docs/internals/advisories.md
 * says where, and which wait for what is not built. A test there holds the table against the tests' names.
 */
import { beforeEach, expect, test } from 'vitest'
import { createPasswordHasher } from '#auth/passwords.ts'
import { isHoldfastError } from '#base/errors.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import type { EngineDef, LogicalResponse } from '#core/types.ts'
import { checkPath, parseTarget } from '#http/target.ts'
import { makeChallenge } from '#transport/join-challenge.ts'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'
import { standingClock } from '#test/support/open-barrier.ts'

const noTokenParams = {
  policies: ['app'],
  ttlSeconds: 0,
  maxTtlSeconds: 0,
  explicitMaxTtlSeconds: 0,
  periodSeconds: 0,
  numUses: 0,
  boundCidrs: [],
  noDefaultPolicy: false,
  type: 'default',
} as const
const whoever = { alias: null, displayName: 'x', metadata: {}, token: noTokenParams }

/** A method whose login says at once that somebody is let in and that something is wrong. */
const undecided: EngineDef = {
  type: 'undecided',
  kind: 'auth',
  description: 'says yes and no',
  paths: () => [
    {
      pattern: 'login',
      fields: {},
      unauthenticated: true,
      help: { synopsis: '', description: '' },
      operations: {
        update: {
          summary: '',
          writes: true,
          login: { aliasOf: () => null },
          handler: async (): Promise<LogicalResponse> => ({ login: whoever, status: 400, data: { error: 'no' } }),
        },
      },
    },
  ],
}

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
beforeEach(async () => {
  house = await openHouse(1, [undecided])
  node = house.node
})
const tokens = async (): Promise<number> => (await node.list('auth/token/accessors')).body.data.keys.length

test('CVE-2026-46405: a login that says yes and no makes no token', async () => {
  await node.write('sys/auth/undecided', { type: 'undecided' })
  const before = await tokens()
  const { status, body } = await node.ask({ operation: 'update', method: 'POST', path: 'auth/undecided/login', token: null })
  expect(status).toBeGreaterThanOrEqual(400)
  expect(body.auth ?? null).toBeNull()
  expect(await tokens()).toBe(before)
})

test('GHSA-rh46-vc3j-w2w3: no header logs in within another request, and no client asks for an operation that is the core’s own', async () => {
  await node.write('sys/auth/userpass', { type: 'userpass' })
  await node.write('auth/userpass/users/alice', { password: 'right', token_policies: 'root-like' })
  const before = await tokens()
  const headers = {
    'x-vault-inline-auth-path': 'auth/userpass/login/alice',
    'x-vault-inline-auth-operation': 'create',
    'x-vault-inline-auth-parameter-password': 'right',
  }
  expect((await node.ask({ path: 'auth/token/lookup-self', token: null, headers })).status).toBe(403)
  for (const operation of ['renew', 'revoke', 'rollback', 'alias-lookahead', 'resolve-role'] as unknown as 'read'[])
    expect(
      (await node.ask({ operation, path: 'auth/userpass/login/alice', token: null, body: { password: 'right' } })).status,
    ).toBeGreaterThanOrEqual(400)
  expect(await tokens()).toBe(before)
})

test('CVE-2026-5807: nobody without a token cancels a rekey or the making of a root token', async () => {
  for (const path of ['sys/rekey/init', 'sys/generate-root/attempt', 'sys/rekey/verify', 'sys/rekey-recovery-key/init']) {
    const { status } = await node.ask({ operation: 'delete', method: 'DELETE', path, token: null })
    expect([path, status]).toEqual([path, 403])
  }
})

test('CVE-2026-3605: a path with dots in it leads nowhere, however it is written', () => {
  for (const path of ['secret/../sys/raw', '..', 'a/./b', 'a/%2e%2e/b', 'a/%2E./b', 'a/.%2e', './a']) {
    const read = (): unknown => {
      const target = parseTarget(`/v1/${path}`)
      return target === null ? null : checkPath(target.path)
    }
    let outcome: unknown
    try {
      outcome = read()
    } catch (error) {
      outcome = isHoldfastError(error, 'ERR_RELATIVE_PATH') ? 'refused' : error
    }
    expect([path, outcome]).toEqual([path, 'refused'])
  }
})

test('CVE-2025-4166, CVE-2025-52893: what can’t be read is told by its field’s name, never by its value', async () => {
  await node.write('sys/auth/userpass', { type: 'userpass' })
  for (const body of [
    { password: 'x', token_ttl: 'marked-secret' },
    { password: { marked: 'marked-secret' } },
    { password: 'x', token_policies: { 'marked-secret': 1 } },
    { password: 'x', token_num_uses: 'marked-secret' },
  ]) {
    const { status, text } = await node.write('auth/userpass/users/alice', body)
    expect(status).toBe(400)
    expect(text).not.toContain('marked')
  }
})

test('CVE-2025-64761: no letter case of root gets through a group’s or an entity’s policies', async () => {
  for (const policies of [['ROOT'], ['app', ' Root'], 'rOOT']) {
    expect((await node.write('identity/group', { name: 'g', policies })).status).toBe(400)
    expect((await node.write('identity/entity', { name: 'e', policies })).status).toBe(400)
  }
})

test('CVE-2025-6011: of nobody a password is checked too, in the same queue', async () => {
  const hasher = createPasswordHasher({
    clock: standingClock(),
    random: systemRandom,
    atOnceMax: 1,
    cost: { memoryKib: 8, passes: 1, parallelism: 1 },
  })
  const stored = await hasher.hash('right')
  const checks = [hasher.verify('right', null), hasher.verify('right', stored), hasher.verify('wrong', stored)]
  expect([hasher.queue.running, hasher.queue.waiting]).toEqual([1, 2])
  expect(await Promise.all(checks)).toEqual([false, true, false])
})

test('CVE-2025-6004: letter case gives no further tries', async () => {
  await node.write('sys/auth/userpass', { type: 'userpass' })
  await node.write('auth/userpass/users/alice', { password: 'right' })
  const login = (name: string, password: string) =>
    node.ask({ operation: 'update', method: 'POST', path: `auth/userpass/login/${name}`, token: null, body: { password } })
  for (const name of ['alice', 'ALICE', 'Alice', 'aLICE', 'alicE']) await login(name, 'wrong')
  for (const name of ['alice', 'ALICE', 'alIce']) expect((await login(name, 'right')).status).toBe(403)
})

test('CVE-2024-8185: challenges of strangers are kept nowhere: each carries all that its answer is checked by', () => {
  const secret = (fill: number): SecretBytes => new SecretBytes(new Uint8Array(32).fill(fill))
  const make = (nodeNumber: number): string =>
    makeChallenge({ processKey: secret(1), rootKey: secret(2), serverId: `n${nodeNumber}`, nowMs: 0, random: systemRandom })
  const made = new Set(Array.from({ length: 1_000 }, (_, at) => make(at)))
  expect(made.size).toBe(1_000)
  // A function of its arguments alone: there is no place where they could pile up.
  expect(makeChallenge.length).toBe(1)
})
