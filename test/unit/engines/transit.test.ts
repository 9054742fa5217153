import { gcm } from '@noble/ciphers/aes.js'
import { beforeEach, describe, expect, test } from 'vitest'
import { transit } from '#engines/transit/index.ts'
import { EngineBench } from '#test/support/engine-bench.ts'

const b64 = (text: string): string => Buffer.from(text).toString('base64')
const plaintext = b64('marked text')
let bench: EngineBench
beforeEach(async () => {
  bench = new EngineBench(transit)
  await bench.call('update', 'keys/seal')
})

const encrypt = async (body: Record<string, unknown> = { plaintext }) =>
  (await bench.data('update', 'encrypt/seal', { body })) as { ciphertext: string; key_version: number }
const decrypt = (ciphertext: unknown, more: Record<string, unknown> = {}) =>
  bench.data('update', 'decrypt/seal', { body: { ciphertext, ...more } })

test('a key is created, read and listed, and its material is in no answer', async () => {
  const created = await bench.call('update', 'keys/seal')
  expect(created?.warnings).toEqual(['key seal already existed'])
  const key = await bench.data('read', 'keys/seal')
  expect(key).toMatchObject({
    name: 'seal',
    type: 'aes256-gcm96',
    latest_version: 1,
    min_decryption_version: 1,
    min_encryption_version: 0,
    deletion_allowed: false,
    exportable: false,
    keys: { 1: Math.floor(bench.nowMs / 1_000) },
  })
  expect(await bench.data('list', 'keys')).toEqual({ keys: ['seal'] })
  expect(await bench.call('read', 'keys/none')).toBeNull()
  const stored = JSON.parse(Buffer.from(bench.storage.values.get('key/seal') ?? []).toString()) as { versions: { 1: { key: string } } }
  expect(JSON.stringify(key)).not.toContain(stored.versions[1].key)
})

test('what is encrypted is the field’s own format, and opens by an independent AES-GCM', async () => {
  const { ciphertext, key_version } = await encrypt({ plaintext, associated_data: b64('place') })
  expect([ciphertext, key_version]).toEqual([expect.stringMatching(/^vault:v1:[A-Za-z0-9+/]+=*$/), 1])
  const stored = JSON.parse(Buffer.from(bench.storage.values.get('key/seal') ?? []).toString()) as { versions: { 1: { key: string } } }
  const sealed = Buffer.from(ciphertext.split(':')[2] ?? '', 'base64')
  const key = Uint8Array.from(Buffer.from(stored.versions[1].key, 'base64'))
  const opened = gcm(key, Uint8Array.from(sealed.subarray(0, 12)), Uint8Array.from(Buffer.from('place'))).decrypt(
    Uint8Array.from(sealed.subarray(12)),
  )
  expect(Buffer.from(opened).toString()).toBe('marked text')
  expect(await decrypt(ciphertext, { associated_data: b64('place') })).toEqual({ plaintext })
  await expect(decrypt(ciphertext)).rejects.toThrow('invalid ciphertext: unable to decrypt')
  await expect(decrypt(ciphertext, { associated_data: b64('elsewhere') })).rejects.toThrow('unable to decrypt')
  expect((await encrypt()).ciphertext).not.toBe((await encrypt()).ciphertext)
})

test('a rotated key encrypts by its new version and decrypts by the old; rewrap brings a ciphertext along', async () => {
  const old = await encrypt()
  expect(await bench.data('update', 'keys/seal/rotate')).toMatchObject({ latest_version: 2 })
  expect((await encrypt()).key_version).toBe(2)
  expect((await encrypt({ plaintext, key_version: 1 })).ciphertext).toMatch(/^vault:v1:/)
  expect(await decrypt(old.ciphertext)).toEqual({ plaintext })
  const again = await bench.data('update', 'rewrap/seal', { body: { ciphertext: old.ciphertext } })
  expect(again).toEqual({ ciphertext: expect.stringMatching(/^vault:v2:/), key_version: 2 })
  expect(await bench.data('update', 'keys/seal/config', { body: { min_decryption_version: 2 } })).toMatchObject({
    keys: { 2: expect.any(Number) },
  })
  await expect(decrypt(old.ciphertext)).rejects.toThrow('ciphertext or signature version is disallowed by policy (too old)')
  await expect(encrypt({ plaintext, key_version: 1 })).rejects.toThrow('less than the minimum')
  expect(await decrypt(again['ciphertext'])).toEqual({ plaintext })
})

test('a key is deleted only where its config allows it', async () => {
  await expect(bench.call('delete', 'keys/seal')).rejects.toThrow('deletion is not allowed for this key')
  await bench.call('update', 'keys/seal/config', { body: { deletion_allowed: true } })
  expect(await bench.call('delete', 'keys/seal')).toBeNull()
  expect(await bench.call('read', 'keys/seal')).toBeNull()
})

test('an item of a batch that is wrong spoils no other; one that has only such is a 400', async () => {
  const body = { batch_input: [{ plaintext, reference: 'a' }, { plaintext: '%' }, 7] }
  const answer = await bench.call('update', 'encrypt/seal', { body })
  expect([answer?.status, answer?.data]).toEqual([
    undefined,
    {
      batch_results: [
        { ciphertext: expect.stringMatching(/^vault:v1:/), key_version: 1, reference: 'a' },
        { error: 'failed to base64-decode plaintext' },
        { error: 'expected an object' },
      ],
    },
  ])
  expect((await bench.call('update', 'decrypt/seal', { body: { batch_input: [{ ciphertext: 'vault:v1:AAAA' }] } }))?.status).toBe(400)
  const many = Array.from({ length: 1_001 }, () => ({ plaintext }))
  await expect(bench.call('update', 'encrypt/seal', { body: { batch_input: many } })).rejects.toThrow('at most 1000')
})

test('encrypting by a key that is missing makes it, for who may create', async () => {
  expect(await bench.data('update', 'encrypt/fresh', { body: { plaintext } })).toMatchObject({ key_version: 1 })
  expect(await bench.data('read', 'keys/fresh')).toMatchObject({ latest_version: 1 })
})

describe('refused', () => {
  test.each([
    ['encrypt/seal', {}, 'missing plaintext to encrypt'],
    ['encrypt/seal', { plaintext: 'not base64!' }, 'failed to base64-decode plaintext'],
    ['encrypt/seal', { plaintext, context: b64('c') }, 'context expected none'],
    ['encrypt/seal', { plaintext, nonce: b64('n') }, 'nonce expected none'],
    ['encrypt/seal', { plaintext, key_version: 9 }, 'higher than the latest key version'],
    ['decrypt/seal', {}, 'missing ciphertext to decrypt'],
    ['decrypt/seal', { ciphertext: 'nonsense' }, 'invalid ciphertext: no prefix'],
    ['decrypt/seal', { ciphertext: 'vault:v1' }, 'wrong number of fields'],
    ['decrypt/seal', { ciphertext: 'vault:v0:AAAA' }, 'version 0'],
    ['decrypt/seal', { ciphertext: 'vault:v7:AAAA' }, 'version is too new'],
    ['decrypt/seal', { ciphertext: 'vault:v1:AAAA' }, 'unable to decrypt'],
    ['decrypt/none', { ciphertext: 'vault:v1:AAAA' }, 'encryption key not found'],
    ['keys/rsa', { type: 'rsa-4096' }, 'type expected aes256-gcm96'],
    ['keys/open', { exportable: true }, 'exportable expected false'],
    ['keys/none/config', {}, 'no existing key named none'],
    ['keys/none/rotate', {}, 'encryption key not found'],
    ['keys/seal/config', { min_decryption_version: 2 }, 'latest key version is 1'],
    ['keys/seal/config', { min_encryption_version: -1 }, 'cannot be negative'],
  ])('%s %j', async (path, body, message) => {
    await expect(bench.call('update', path, { body })).rejects.toMatchObject({
      code: 'ERR_BAD_REQUEST',
      message: expect.stringContaining(message),
    })
  })
})
