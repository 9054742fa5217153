import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import type { SealBlock } from '#config/types.ts'
import { chooseSeals } from '#node/seal-choice.ts'

const dir = mkdtempSync(join(tmpdir(), 'holdfast-choice-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const key = join(dir, 'seal.key')
writeFileSync(key, systemRandom.bytes(32))
const env = { KEY: Buffer.from(systemRandom.bytes(32)).toString('base64') }
const tools = { clock: systemClock, random: systemRandom, env, log: silentLogger }
const choose = (...blocks: readonly SealBlock[]) => chooseSeals(blocks, tools)
const block = (kind: SealBlock['kind'], options: Record<string, string>, disabled = false): SealBlock => ({ kind, disabled, options })
const goodStatic = block('static', { current_key_id: 'a', current_key: `file://${key}` })
const goodTransit = block('transit', { address: 'http://127.0.0.1:1', key_name: 'k', token: 'env://KEY' })
const kindsOf = ({ active, retired }: ReturnType<typeof choose>) => [active?.kind ?? null, retired?.kind ?? null]

test('which seal is in use, and which one a migration comes from', () => {
  expect(kindsOf(choose())).toEqual([null, null])
  expect(kindsOf(choose(block('shamir', {})))).toEqual([null, null])
  expect(kindsOf(choose(goodStatic))).toEqual(['static', null])
  expect(kindsOf(choose({ ...goodStatic, disabled: true }, goodTransit))).toEqual(['transit', 'static'])
  expect(kindsOf(choose({ ...goodStatic, disabled: true }))).toEqual([null, 'static'])
  expect(kindsOf(choose(block('awskms', { kms_key_id: 'alias/x' })))).toEqual(['awskms', null])
  expect(kindsOf(choose(block('pkcs11', { lib: '/x', token_label: 't', key_label: 'k', pin: '1' })))).toEqual(['pkcs11', null])
  expect(() => choose(goodStatic, { ...goodStatic, disabled: true })).toThrow(/another kind than static/)
})

test.each([
  [
    block('static', { current_key_id: 'a', current_key: 'file:///nowhere/key' }),
    /seal\.static\.current_key expected a readable file, got ENOENT/,
  ],
  [block('static', { current_key_id: 'a', current_key: 'env://NOT_SET' }), /NOT_SET, which is not/],
  [block('static', { current_key_id: 'a', current_key: 'marked-secret' }), /32 bytes, as they are, in hex or in base64/],
  [
    block('static', { current_key_id: 'a', current_key: `file://${key}`, previous_key_id: 'b' }),
    /previous_key and previous_key_id together/,
  ],
  [block('awskms', { kms_key_id: 'k', access_key: 'marked-secret' }), /access_key and secret_key together/],
  [block('awskms', { kms_key_id: 'k', region: 'not a region' }), /regions such as eu-central-1/],
  [block('pkcs11', { lib: '/x', key_label: 'k', pin: 'marked-secret' }), /token_label expected a label, or slot/],
  [block('pkcs11', { lib: '/x', key_label: 'k', token_label: 't' }), /pin expected a PIN/],
  [
    block('pkcs11', { lib: '/x', key_label: 'k', token_label: 't', pin: 'marked-secret', mechanism: 'CKM_AES_CBC' }),
    /CKM_AES_GCM or CKM_RSA/,
  ],
  [block('pkcs11', { lib: '/x', key_label: 'k', token_label: 't', pin: '1', rsa_oaep_hash: 'md5' }), /one of sha1, sha256/],
  [block('transit', { address: 'http://x', key_name: '../sys' }), /key_name expected letters/],
  [block('transit', { address: 'http://x', key_name: 'k' }), /token expected a token/],
  [block('transit', { address: 'http://x', key_name: 'k', token: 't', mount_path: 'a/../b c' }), /mount_path expected/],
  [block('transit', { address: 'http://x', key_name: 'k', token: 't', tls_ca_cert: '/nowhere' }), /tls_ca_cert expected a readable file/],
] as const)('a block that can not work is refused at the start, without showing what is secret (%#)', (wrong, message) => {
  expect(() => choose(wrong)).toThrow(expect.objectContaining({ code: 'ERR_CONFIG', message: expect.stringMatching(message) }))
  expect(() => choose(wrong)).not.toThrow(/marked-secret/)
})

test('a key as raw bytes, base64 or hex is the same key', async () => {
  const bytes = systemRandom.bytes(32)
  const forms = [Buffer.from(bytes).toString('base64'), `${Buffer.from(bytes).toString('hex')}\n`]
  const path = join(dir, 'another.key')
  writeFileSync(path, bytes)
  const sealOf = (source: string) => choose(block('static', { current_key_id: 'a', current_key: source })).active
  const wrapped = await sealOf(`file://${path}`)?.wrap(new Uint8Array(32).fill(3), 'p')
  for (const form of forms) {
    writeFileSync(path, form)
    expect(await sealOf(`file://${path}`)?.unwrap(wrapped ?? new Uint8Array(0), 'p')).toEqual(new Uint8Array(32).fill(3))
    expect(await sealOf(form.trim())?.unwrap(wrapped ?? new Uint8Array(0), 'p')).toEqual(new Uint8Array(32).fill(3))
  }
})
