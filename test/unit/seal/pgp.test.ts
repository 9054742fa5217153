import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { encryptShares, readPgpKey, readPgpKeys } from '#seal/pgp.ts'
import { hex, pgpHolder } from '#test/support/share-cluster.ts'

const nowMs = Date.now()
const hasGpg = spawnSync('gpg', ['--version']).status === 0

test('a key is read from base64 and from armor, and names itself as the peers name it', async () => {
  for (const type of ['rsa', 'curve25519'] as const) {
    const holder = await pgpHolder('holder', { type })
    for (const text of [holder.armored, holder.base64, `${holder.base64.slice(0, 60)}\n${holder.base64.slice(60)}\n`]) {
      const key = await readPgpKey('pgp_keys', text, nowMs)
      expect(key.fingerprint).toBe(holder.fingerprint)
      expect(key.fingerprint).toMatch(/^[0-9a-f]{40}$/)
      expect(await holder.open(await key.encrypt(Buffer.from('for one')))).toBe('for one')
    }
  }
})

test('each share goes to its own key, as the hex of the share; without keys as it is', async () => {
  const holders = [await pgpHolder('one'), await pgpHolder('two')]
  const shares = [new Uint8Array(33).fill(1), new Uint8Array(33).fill(2)]
  const keys = await readPgpKeys(
    'pgp_keys',
    holders.map(({ base64 }) => base64),
    nowMs,
  )
  const sealed = await encryptShares(keys, shares)
  for (const [at, holder] of holders.entries()) expect(await holder.open(sealed[at]!)).toBe(hex(shares[at]))
  await expect(holders[0]!.open(sealed[1]!)).rejects.toThrow()
  expect(await encryptShares([], shares)).toBe(shares)
})

test('a key that can’t be used is refused by name and position, and never shown', async () => {
  const good = await pgpHolder('good')
  const expired = await pgpHolder('expired', { expires: 60 })
  const two = Buffer.concat([Buffer.from(good.base64, 'base64'), Buffer.from(good.base64, 'base64')]).toString('base64')
  for (const [text, message] of [
    ['', /got neither$/],
    ['keybase:somebody', /got neither$/],
    ['AAAA', /got something else$/],
    [good.base64.slice(0, 100), /got something else$|expected one PGP public key, got 0$|can encrypt now/],
    ['-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n', /got something else$/],
    [good.privateArmored, /expected a PGP public key, got a private one$/],
    [expired.base64, /expected a PGP key that can encrypt now, got one that is expired/],
    [two, /expected one PGP public key, got 2$/],
    ['A'.repeat(300_000), /of at most 262144 characters, got 300000$/],
  ] as const)
    await expect(readPgpKeys('pgp_keys', [good.base64, text], nowMs), text.slice(0, 40)).rejects.toMatchObject({
      code: 'ERR_BAD_REQUEST',
      message: expect.stringMatching(/^pgp_keys\[1\] /) as string,
      errors: [expect.stringMatching(message)],
    })
  await expect(
    readPgpKeys(
      'pgp_keys',
      Array.from({ length: 256 }, () => 'x'),
      nowMs,
    ),
  ).rejects.toThrow(/at most 255 PGP keys, got 256/)
  await expect(readPgpKey('root_token_pgp_key', 'x!', nowMs)).rejects.toThrow(/^root_token_pgp_key expected/)
})

// Where gpg is not installed, openpgp has read its own messages above.
test.runIf(hasGpg)('gpg reads what was encrypted to a key that gpg made', async () => {
  const home = mkdtempSync(join(tmpdir(), 'holdfast-gpg-'))
  const gpg = (args: readonly string[], input?: Uint8Array): Buffer =>
    execFileSync('gpg', ['--homedir', home, '--batch', '--quiet', '--pinentry-mode', 'loopback', '--passphrase', '', ...args], {
      ...(input === undefined ? {} : { input }),
      stdio: ['pipe', 'pipe', 'ignore'],
    })
  try {
    gpg(['--quick-generate-key', 'holder@example.com', 'default', 'default', 'never'])
    const exported = gpg(['--export', 'holder@example.com'])
    const key = await readPgpKey('pgp_keys', exported.toString('base64'), nowMs)
    expect(gpg(['--with-colons', '--fingerprint', 'holder@example.com']).toString().toLowerCase()).toContain(key.fingerprint)
    const [sealed] = await encryptShares([key], [new Uint8Array(33).fill(7)])
    expect(gpg(['--decrypt'], sealed).toString()).toBe('07'.repeat(33))
  } finally {
    spawnSync('gpgconf', ['--homedir', home, '--kill', 'gpg-agent'])
    rmSync(home, { recursive: true, force: true })
  }
})
