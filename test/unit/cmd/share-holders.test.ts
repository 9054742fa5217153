/** What holders of shares type: init with PGP keys, operator rekey, operator generate-root. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand, temporaryHome, type RunOptions } from '#test/support/cli.ts'
import { pgpHolder, type PgpHolder } from '#test/support/share-cluster.ts'
import { StubServer, type Reply } from '#test/support/stub-server.ts'

let home = ''
let holder: PgpHolder
beforeAll(async () => {
  home = temporaryHome()
  holder = await pgpHolder('ann')
  writeFileSync(join(home, 'ann.pgp'), Buffer.from(holder.base64, 'base64'))
  writeFileSync(join(home, 'ann.asc'), holder.armored)
  writeFileSync(join(home, 'ann.b64'), `${holder.base64.slice(0, 64)}\n${holder.base64.slice(64)}\n`)
  writeFileSync(join(home, 'private.asc'), holder.privateArmored)
})
afterAll(() => rmSync(home, { recursive: true, force: true }))

async function against(replies: Readonly<Record<string, Reply>>, line: string | readonly string[], options: RunOptions = {}) {
  await using stub = await StubServer.start(({ method, path }) => replies[`${method} ${path}`] ?? { status: 404, json: { errors: [] } })
  const ran = await runCommand(line, { address: stub.address, home, ...options })
  return { ...ran, asked: stub.asked, last: stub.asked.at(-1) }
}

const sealStatus = { 'GET sys/seal-status': { json: { recovery_seal: false } } }
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
const begun = { ...idle, nonce: 'n-1', started: true, t: 3, n: 5 }

test('init sends PGP keys from binary, armored and base64 files as the same base64', async () => {
  const made = { keys: ['aa'], keys_base64: ['qg=='], root_token: 'c2VhbGVk' }
  const files = ['ann.pgp', 'ann.asc', 'ann.b64'].map((name) => join(home, name))
  const line = `operator init -key-shares=3 -key-threshold=2 -pgp-keys=${files.join(',')} -root-token-pgp-key=${files[1]}`
  const ran = await against({ 'POST sys/init': { json: made } }, line)
  expect(ran.last?.body).toEqual({
    secret_shares: 3,
    secret_threshold: 2,
    pgp_keys: [holder.base64, holder.base64, holder.base64],
    root_token_pgp_key: holder.base64,
  })
  expect(ran.out).toContain('gpg --decrypt')
  for (const [key, words] of [
    ['keybase:ann', /got a name at Keybase/],
    [join(home, 'private.asc'), /expected an armored PGP public key, got another block/],
    [`@${join(home, 'missing')}`, /could not read file/],
  ] as const) {
    const refused = await against(sealStatus, `operator init -pgp-keys=${key}`)
    expect([refused.code, refused.err]).toEqual([1, expect.stringMatching(words)])
  }
})

describe('rekey', () => {
  test('begins with what was asked for, and says what comes next', async () => {
    const routes = { ...sealStatus, 'POST sys/rekey/init': { json: begun } }
    const ran = await against(
      routes,
      `operator rekey -init -verify -backup -pgp-keys=${join(home, 'ann.pgp')} -key-shares=1 -key-threshold=1`,
    )
    expect(ran.last?.body).toEqual({
      secret_shares: 1,
      secret_threshold: 1,
      pgp_keys: [holder.base64],
      backup: true,
      require_verification: true,
    })
    expect(ran.out).toMatch(/Nonce +n-1\n/)
    expect(ran.out).not.toContain('-verify waits')
    const plain = await against(routes, 'operator rekey -init')
    expect([plain.last?.body, plain.out]).toEqual([{ secret_shares: 5, secret_threshold: 3 }, expect.stringContaining('-verify waits')])
    const auto = await against({ ...routes, 'GET sys/seal-status': { json: { recovery_seal: true } } }, 'operator rekey -init')
    expect(auto.last?.body).toEqual({ secret_shares: 1, secret_threshold: 1 })
  })

  test('a key goes with the nonce given, or with the one that the server names and that is shown', async () => {
    const routes = { 'GET sys/rekey/init': { json: begun }, 'POST sys/rekey/update': { json: { ...begun, progress: 1 } } }
    const named = await against(routes, 'operator rekey -nonce=n-7 thekey')
    expect([named.asked.length, named.last?.body]).toEqual([1, { nonce: 'n-7', key: 'thekey' }])
    const asked = await against(routes, 'operator rekey', { stdin: 'thekey\n' })
    expect([asked.last?.body, asked.err]).toEqual([{ nonce: 'n-1', key: 'thekey' }, 'Operation nonce: n-1\n'])
    expect(asked.out).toMatch(/Rekey Progress +1\/2\n/)
    const none = await against({ 'GET sys/rekey/init': { json: idle } }, 'operator rekey', { stdin: 'thekey\n' })
    expect([none.code, none.err]).toEqual([2, expect.stringContaining('no rekey is in progress')])
  })

  test('the last key prints the new ones; with verification what is to be done with them', async () => {
    const made = {
      nonce: 'n-1',
      complete: true,
      keys: ['aa'],
      keys_base64: ['qg=='],
      pgp_fingerprints: ['f00'],
      backup: false,
      verification_required: false,
    }
    const ran = await against({ 'POST sys/rekey/update': { json: made } }, 'operator rekey -nonce=n-1 k')
    expect(ran.out).toContain('Key 1 fingerprint: f00; value: qg==\n')
    expect(ran.out).toContain('those of before are void')
    const waits = { ...made, pgp_fingerprints: null, verification_required: true, verification_nonce: 'v-1' }
    const verified = await against(
      { 'POST sys/rekey-recovery-key/update': { json: waits } },
      'operator rekey -target=recovery -nonce=n-1 k',
    )
    expect(verified.out).toContain('operator rekey -verify -target=recovery -nonce=v-1')
    const json = await against({ 'POST sys/rekey/update': { json: made } }, 'operator rekey -format=json -nonce=n-1 k')
    expect(JSON.parse(json.out)).toEqual(made)
  })

  test('verification, cancelling, status, kept copies', async () => {
    const done = await against(
      { 'POST sys/rekey/verify': { json: { nonce: 'v-1', complete: true } } },
      'operator rekey -verify -nonce=v-1 k',
    )
    expect([done.last?.body, done.out]).toEqual([{ nonce: 'v-1', key: 'k' }, expect.stringContaining('verified and hold')])
    const cancelled = await against({ 'DELETE sys/rekey/init': {} }, 'operator rekey -cancel -nonce=n-1')
    expect([cancelled.code, cancelled.last?.query]).toEqual([0, { nonce: 'n-1' }])
    expect((await against({ 'DELETE sys/rekey/verify': { json: begun } }, 'operator rekey -cancel -verify')).out).toContain('begins anew')
    const status = await against(
      { 'GET sys/rekey-recovery-key/init': { json: { ...begun, verification_required: true } } },
      'operator rekey -status -target=recovery',
    )
    expect(status.out).toMatch(/New Threshold +3\nVerification Required +true\n/)
    const kept = { data: { nonce: 'n-1', keys: { f00: ['aa'] }, keys_base64: { f00: ['qg=='] } } }
    expect((await against({ 'GET sys/rekey/backup': { json: kept } }, 'operator rekey -backup-retrieve')).out).toContain('f00')
    expect((await against({ 'DELETE sys/rekey/backup': {} }, 'operator rekey -backup-delete')).code).toBe(0)
    for (const line of ['operator rekey -init -cancel', 'operator rekey -target=all -status'])
      expect((await against({}, line)).code).toBe(1)
  })
})

describe('generate-root', () => {
  const idleRoot = {
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
  const attempt = 'sys/generate-root/attempt'

  test('begins under a pad or for a PGP key', async () => {
    const routes = { [`POST ${attempt}`]: { json: { ...idleRoot, started: true, nonce: 'n-1', otp: 'pad' } } }
    const ran = await against(routes, 'operator generate-root -init')
    expect([ran.last?.body, ran.out]).toEqual([{}, expect.stringMatching(/OTP +pad\n/)])
    expect((await against(routes, 'operator generate-root -init -otp=mine')).last?.body).toEqual({ otp: 'mine' })
    const pgp = await against(routes, `operator generate-root -init -pgp-key=${join(home, 'ann.asc')}`)
    expect(pgp.last?.body).toEqual({ pgp_key: holder.base64 })
    for (const line of ['-init -otp=a -pgp-key=b', '-init -cancel', '-status -decode=x'])
      expect((await against(routes, `operator generate-root ${line}`)).code).toBe(1)
  })

  test('a key, the end, and the token by the pad, which leaves this machine nowhere', async () => {
    const ended = { ...idleRoot, started: true, nonce: 'n-1', progress: 2, complete: true, encoded_token: 'AAA', encoded_root_token: 'AAA' }
    const routes = {
      [`GET ${attempt}`]: { json: { ...idleRoot, started: true, nonce: 'n-1' } },
      'POST sys/generate-root/update': { json: ended },
    }
    const ran = await against(routes, 'operator generate-root', { stdin: 'k\n' })
    expect([ran.last?.body, ran.err]).toEqual([{ nonce: 'n-1', key: 'k' }, 'Operation nonce: n-1\n'])
    expect(ran.out).toMatch(/Encoded Token +AAA\n/)
    const token = 's.abcdefghijklmnopqrstuvwx'
    const otp = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
    const encoded = Buffer.from(Buffer.from(token).map((byte, at) => byte ^ otp.charCodeAt(at)))
      .toString('base64')
      .replace(/=+$/, '')
    const shown = await against({}, `operator generate-root -decode=${encoded} -otp=${otp}`)
    expect([shown.out, shown.asked]).toEqual([`${token}\n`, []])
    expect((await against({}, `operator generate-root -decode=${encoded}`, { stdin: `${otp}\n` })).out).toBe(`${token}\n`)
    expect((await against({}, `operator generate-root -decode=${encoded} -otp=short`)).code).toBe(1)
  })

  test('a pad of the length that the server wants; status; cancelling', async () => {
    const routes = { [`GET ${attempt}`]: { json: { ...idleRoot, otp_length: 28 } }, [`DELETE ${attempt}`]: {} }
    expect((await against(routes, 'operator generate-root -generate-otp')).out).toMatch(/^[0-9A-Za-z]{28}\n$/)
    expect((await against(routes, 'operator generate-root -status')).out).toMatch(/Progress +0\/2\n/)
    expect((await against(routes, 'operator generate-root -cancel -nonce=n')).last?.query).toEqual({ nonce: 'n' })
    expect((await against(routes, 'operator generate-root', { stdin: 'k\n' })).err).toContain('no root generation is in progress')
  })
})

test('rotate -root replaces the root key', async () => {
  const ran = await against({ 'POST sys/rotate/root': {} }, 'operator rotate -root')
  expect([ran.asked.map(({ path }) => path), ran.out]).toEqual([['sys/rotate/root'], expect.stringContaining('root key is another one')])
})
