/** The routes of rekeys and root tokens: shapes, who may, and what strangers are shown. What they do is tested in test/unit/seal. */
import { beforeEach, expect, test } from 'vitest'
import type { OpenRoutes } from '#core/types.ts'
import { bareNames } from '#barrier/bare.ts'
import { systemRandom } from '#base/random.ts'
import { sealBox } from '#barrier/aead.ts'
import { encodeSealConfig } from '#seal/config.ts'
import { shareSet, splitKey } from '#seal/shamir.ts'
import { openHouse, type Answer, type HouseNode } from '#test/support/core-house.ts'
import { testRootKey } from '#test/support/open-barrier.ts'

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
let keys: string[]

beforeEach(async () => {
  house = await openHouse(2)
  ;({ node } = house)
  const unsealKey = systemRandom.bytes(32)
  const shares = await splitKey(unsealKey, 3, 2)
  keys = shares.map((share) => Buffer.from(share).toString('base64'))
  await house.at(0).writeBare({
    [bareNames.rootKey]: sealBox(unsealKey, bareNames.rootKey, testRootKey().reveal(), systemRandom),
    [bareNames.sealConfig]: encodeSealConfig({ type: 'shamir', secret: shareSet(shares, 2, systemRandom) }),
  })
})

const init = { secret_shares: 2, secret_threshold: 2 }

test('a rekey by the older names: bare answers, as its clients read them', async () => {
  const idle = {
    nonce: '',
    started: false,
    t: 0,
    n: 0,
    progress: 0,
    required: 2,
    pgp_fingerprints: null,
    backup: false,
    verification_required: false,
  }
  expect((await node.read('sys/rekey/init')).body).toEqual(idle)
  const begun = (await node.write('sys/rekey/init', { ...init, require_verification: true })).body
  expect(begun).toEqual({ ...idle, nonce: begun.nonce, started: true, t: 2, n: 2, verification_required: true })
  expect((await node.write('sys/rekey/init', init)).body).toMatchObject({ errors: ['rekey already in progress'] })
  expect((await node.write('sys/rekey/update', { nonce: begun.nonce, key: keys[0] })).body).toMatchObject({ progress: 1, started: true })
  const made = (await node.write('sys/rekey/update', { nonce: begun.nonce, key: keys[1] })).body
  expect(made).toEqual({
    nonce: begun.nonce,
    complete: true,
    keys: made.keys_base64.map((key: string) => Buffer.from(key, 'base64').toString('hex')),
    keys_base64: [expect.any(String), expect.any(String)],
    pgp_fingerprints: null,
    backup: false,
    verification_required: true,
    verification_nonce: expect.any(String) as string,
  })
  const { verification_nonce: nonce } = made
  expect((await node.read('sys/rekey/verify')).body).toEqual({ nonce, started: true, t: 2, n: 2, progress: 0 })
  const again = (await node.remove('sys/rekey/verify')).body
  expect([again.nonce === nonce, again.progress]).toEqual([false, 0])
  expect((await node.write('sys/rekey/verify', { nonce: again.nonce, key: made.keys[0] })).body).toMatchObject({ progress: 1 })
  expect((await node.write('sys/rekey/verify', { nonce: again.nonce, key: made.keys[1] })).body).toEqual({
    nonce: again.nonce,
    complete: true,
  })
  expect((await node.read('sys/rekey/verify')).body).toMatchObject({ errors: ['no rekey in progress'] })
  expect((await node.read('sys/rekey/init')).body).toEqual(idle)
})

test('the same by the newer names, in envelopes, and on whichever node is asked', async () => {
  const follower = house.house[1]!
  const begun = (await follower.write('sys/rotate/root/init', init)).body.data
  expect((await follower.read('sys/rotate/root/init')).body.data).toEqual(begun)
  expect((await node.read('sys/rekey/init')).body).toEqual(begun)
  await follower.write('sys/rotate/root/update', { nonce: begun.nonce, key: keys[2] })
  expect((await follower.remove('sys/rotate/root/init')).status).toBe(204)
  expect((await node.read('sys/rotate/root/init')).body.data.started).toBe(false)
  for (const path of ['sys/rotate/recovery/init', 'sys/rekey-recovery-key/init'])
    expect((await node.write(path, init)).body).toMatchObject({ errors: ['recovery rekeying not supported'] })
  for (const path of [
    'sys/rekey/backup',
    'sys/rekey/recovery-key-backup',
    'sys/rekey-recovery-key/backup',
    'sys/rotate/root/backup',
    'sys/rotate/recovery/backup',
  ]) {
    expect((await node.read(path)).body).toMatchObject({ errors: ['no backed-up keys found'] })
    expect((await node.remove(path)).status).toBe(204)
  }
  expect((await node.write('sys/rotate/root')).body.errors[0]).toMatch(/expected an auto seal, got shares/)
})

test('a root token by the older and the newer names; the token works, and is nowhere in the clear', async () => {
  const idle = {
    nonce: '',
    started: false,
    progress: 0,
    required: 2,
    complete: false,
    encoded_token: '',
    encoded_root_token: '',
    pgp_fingerprint: '',
    otp: '',
    otp_length: 26,
  }
  expect((await node.read('sys/generate-root/attempt')).body).toEqual(idle)
  const begun = (await node.write('sys/generate-root/attempt')).body
  expect(begun).toEqual({ ...idle, nonce: begun.nonce, started: true, otp: expect.stringMatching(/^[0-9A-Za-z]{26}$/) as string })
  await node.write('sys/generate-root/update', { nonce: begun.nonce, key: keys[0] })
  const done = (await node.write('sys/generate-root-token/update', { nonce: begun.nonce, key: keys[1] })).body.data
  expect(done).toMatchObject({ complete: true, progress: 2, encoded_token: done.encoded_root_token, otp: '' })
  const decoded = await node.write('sys/decode-token', { encoded_token: done.encoded_token, otp: begun.otp }, null)
  const { token } = decoded.body.data as { token: string }
  const self = (await node.read('auth/token/lookup-self', token)).body.data
  expect(self).toMatchObject({ policies: ['root'], path: 'auth/token/root', display_name: 'root', ttl: 0, orphan: true })
  expect((await node.remove('sys/generate-root-token/attempt')).status).toBe(204)
})

const routes = [
  ['sys/rekey/init', 'rekey'],
  ['sys/rekey-recovery-key/init', 'rekey'],
  ['sys/generate-root/attempt', 'generate-root'],
] as const

test.each(routes)('%s needs a token that may, unless the listener opens it; the newer names always do', async (path, opens) => {
  const ask = (over: object): Promise<Answer> => node.ask({ path, operation: 'read', token: null, ...over })
  expect((await ask({})).status).toBe(403)
  expect((await ask({ openRoutes: [opens === 'rekey' ? 'generate-root' : 'rekey'] })).status).toBe(403)
  expect((await ask({ openRoutes: [opens] })).status).not.toBe(403)
  // One that is there decides: it would be shown more than strangers are.
  const weak = (await node.write('auth/token/create', { policies: ['default'] })).body.auth.client_token as string
  expect((await ask({ token: weak, openRoutes: [opens] })).status).toBe(403)
  for (const newer of [
    'sys/rotate/root/init',
    'sys/rotate/recovery/init',
    'sys/generate-root-token/attempt',
    'sys/rekey/backup',
    'sys/rotate/root',
  ])
    expect(
      (await ask({ path: newer, operation: newer === 'sys/rotate/root' ? 'update' : 'read', openRoutes: ['rekey', 'generate-root'] }))
        .status,
      newer,
    ).toBe(403)
})

test('where a listener opens them a stranger neither learns an attempt’s name nor cancels it; who began may', async () => {
  const openRoutes: OpenRoutes[] = ['rekey', 'generate-root']
  const open = (path: string, operation: 'read' | 'update' | 'delete', extra: object = {}): Promise<Answer> =>
    node.ask({ path, operation, token: null, openRoutes, ...extra })
  for (const [path, body] of [
    ['sys/rekey/init', init],
    ['sys/generate-root/attempt', {}],
  ] as const) {
    const { nonce } = (await open(path, 'update', { body })).body as { nonce: string }
    expect(nonce).toMatch(/^[0-9a-f-]{36}$/)
    expect((await open(path, 'read')).body).toMatchObject({ started: true, nonce: '' })
    expect((await open(path, 'delete')).body.errors).toEqual(["'nonce' must be specified in request body as JSON"])
    expect((await open(path, 'delete', { query: { nonce: 'guess' } })).body.errors).toEqual(['incorrect nonce supplied'])
    expect((await node.read(path)).body.nonce).toBe(nonce)
    expect((await open(path, 'delete', { query: { nonce } })).status).toBe(204)
    await open(path, 'update', { body })
    expect((await node.remove(path)).status).toBe(204)
  }
})
