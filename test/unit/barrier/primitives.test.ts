import { aessiv } from '@noble/ciphers/aes.js'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sivOpen, sivSeal } from '#barrier/siv.ts'

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
