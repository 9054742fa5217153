import { hkdfSync } from 'node:crypto'
import { aessiv } from '@noble/ciphers/aes.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { gcmOpen, gcmSealInto } from '#barrier/aead.ts'
import { sivOpen, sivSeal } from '#barrier/siv.ts'
import { vectorGroups } from '#test/support/vectors.ts'

const hex = (text: string | undefined): Buffer => Buffer.from(text ?? '', 'hex')

const sivGroups = vectorGroups('aes_siv_cmac_test.json')
const gcmGroups = vectorGroups('aes_gcm_test.json')
const hkdfGroups = vectorGroups('hkdf_sha256_test.json')

describe.skipIf(sivGroups === null || gcmGroups === null || hkdfGroups === null)('published vectors (beside the checkout)', () => {
  test('AES-256-SIV', () => {
    const vectors = (sivGroups ?? []).filter(({ keySize }) => keySize === 512).flatMap(({ tests }) => tests)
    let valid = 0
    for (const { key, aad, msg, ct, result, comment } of vectors) {
      if (msg === '') continue // No segment is empty: pathSegments refuses it.
      const opened = sivOpen(hex(key), hex(aad), hex(ct))
      if (result === 'valid') {
        valid++
        expect(Buffer.from(sivSeal(hex(key), hex(aad), hex(msg))).toString('hex'), comment).toBe(ct)
        expect(opened?.toString('hex'), comment).toBe(msg)
      } else expect(opened, comment).toBeNull()
    }
    expect(valid).toBeGreaterThan(20)
  })

  test('AES-256-GCM with 96-bit nonces and whole tags', () => {
    const fits = (gcmGroups ?? []).filter(({ keySize, ivSize, tagSize }) => keySize === 256 && ivSize === 96 && tagSize === 128)
    let valid = 0
    for (const { key, iv, aad, msg, ct, tag, result, comment } of fits.flatMap(({ tests }) => tests)) {
      const opened = gcmOpen(hex(key), hex(iv), [hex(aad)], hex(`${ct}${tag}`))
      if (result !== 'valid') {
        expect(opened, comment).toBeNull()
        continue
      }
      valid++
      const sealed = new Uint8Array(hex(msg).length + 16)
      gcmSealInto(sealed, 0, hex(key), hex(iv), [hex(aad)], hex(msg))
      expect(Buffer.from(sealed).toString('hex'), comment).toBe(`${ct}${tag}`)
      expect(Buffer.from(opened ?? '').toString('hex'), comment).toBe(msg)
    }
    expect(valid).toBeGreaterThan(20)
  })

  test('HKDF-SHA256', () => {
    let valid = 0
    for (const vector of (hkdfGroups ?? []).flatMap(({ tests }) => tests)) {
      if (vector.result !== 'valid') continue
      valid++
      const okm = hkdfSync('sha256', hex(vector.ikm), hex(vector.salt), hex(vector.info), Number(vector.size))
      expect(Buffer.from(okm).toString('hex')).toBe(vector.okm)
    }
    expect(valid).toBeGreaterThan(20)
  })
})

test('AES-SIV agrees with an independent implementation', () => {
  const key = fc.uint8Array({ minLength: 64, maxLength: 64 })
  const some = fc.uint8Array({ minLength: 1, maxLength: 80 })
  fc.assert(
    fc.property(key, some, some, (k, aad, plaintext) => {
      const sealed = sivSeal(k, aad, plaintext)
      const twin = aessiv(k, aad)
      expect(Buffer.from(sealed)).toEqual(Buffer.from(twin.encrypt(plaintext)))
      expect(Buffer.from(twin.decrypt(sealed))).toEqual(Buffer.from(plaintext))
      expect(sivOpen(k, aad, sealed)).toEqual(Buffer.from(plaintext))
    }),
    { numRuns: 300 },
  )
})
