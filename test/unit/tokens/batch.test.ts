/** Batch tokens: the format, held against another implementation of its primitives, and against one that was written down. */
import { gcm } from '@noble/ciphers/aes.js'
import { createHmac } from 'node:crypto'
import { systemRandom } from '#base/random.ts'
import { BatchTokens, batchEntryOf, batchTokenCharsMax, type BatchEntry } from '#tokens/batch.ts'
import fc from 'fast-check'
import { expect, test } from 'vitest'

const key = Uint8Array.from({ length: 32 }, (_, i) => i)
const claims: BatchEntry = {
  parentHash: null,
  policies: ['default', 'team'],
  path: 'auth/userpass/login/alice',
  meta: { username: 'alice' },
  displayName: 'userpass-alice',
  entityId: 'e-1',
  creationTimeMs: 1_700_000_000_000,
  creationTtlSeconds: 3_600,
  boundCidrs: ['10.0.0.0/8'],
  mountUuid: 'm-1',
  namespaceId: 'root',
}

const recorded =
  'b.AQAAAAEEcm9vdAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHB3ifd7kfu7_YAan85mBtSPuOCgD7PSrcZi35uwWDtTQUy5Z-Z8dhkdBo-U1af3tAunu7dgkKVLSt47nD3vHHoW_8CiYRkC-RMkWoPlR4ZXV9k5NuVMIP_cmzDtJS' +
  'kDqBePOkTcHauS9dqBqWmSaYpUKhFQjBXu0OqSgu6mhx5GoNtW5vV4gltGjcu_O7Hf1-5_RIbSa0WLpwcq9O9kwXHA0aw_HaOFi5szVBL4WDqsw_IN-m0d5PSQx_tjactZzeMy0AZyiqe4kJTrD8XklJdJ7qNexJcTkvhd2Q0uJW' +
  'pp6qjOvDyUAcdnigLCD9-7gbrr3Es-YOD43L1qsFY_j_N9l8ktIpAdA7NfvSfHKVhEXl0-pRegpt_Q'

function open(incarnation = 1, random = systemRandom): BatchTokens {
  const tokens = new BatchTokens({ random, incarnation: () => incarnation })
  tokens.setKey(key)
  return tokens
}

/** RFC 5869, written out. */
function hkdf(ikm: Uint8Array, salt: Uint8Array, info: string | Uint8Array, length: number): Uint8Array {
  const pseudorandom = createHmac('sha256', salt.length === 0 ? new Uint8Array(32) : salt)
    .update(ikm)
    .digest()
  let [block, all] = [Buffer.alloc(0), Buffer.alloc(0)]
  for (let i = 1; all.length < length; i += 1) {
    block = createHmac('sha256', pseudorandom).update(block).update(info).update(Buffer.of(i)).digest()
    all = Buffer.concat([all, block])
  }
  return new Uint8Array(all.subarray(0, length))
}

/** The documented format, by other primitives. */
function openByNoble(token: string): unknown {
  const bytes = Buffer.from(token.slice(2), 'base64url')
  const saltAt = 6 + bytes[5]!
  const header = bytes.subarray(0, saltAt + 24)
  const batchKey = hkdf(key, new Uint8Array(0), 'holdfast batch tokens v1', 32)
  const info = Buffer.concat([Buffer.from('holdfast batch token v1'), bytes.subarray(0, saltAt)])
  const derived = hkdf(batchKey, header.subarray(saltAt), info, 44)
  const plain = gcm(derived.subarray(0, 32), derived.subarray(32), header).decrypt(bytes.subarray(header.length))
  return { ...(JSON.parse(Buffer.from(plain).toString()) as object), namespaceId: bytes.subarray(6, saltAt).toString() }
}

test('what is sealed opens, here and by the other implementation, and says nothing to anybody else', () => {
  const token = open().seal(claims)
  expect(token).toMatch(/^b\.[0-9A-Za-z_-]{24,}$/)
  expect(open().open(token)).toEqual(claims)
  expect(openByNoble(token)).toEqual(claims)
  expect(Buffer.from(token.slice(2), 'base64url').toString('latin1')).not.toContain('alice')
  expect(open().seal(claims)).not.toBe(token)
})

test('the one that was written down still opens', () => {
  const random = { bytes: (length: number) => new Uint8Array(length).fill(7) }
  expect(open(1, random).seal(claims)).toBe(recorded)
  expect(open().open(recorded)).toEqual(claims)
})

test('any change of it is none of ours: a bit, its length, its spelling, its key, its incarnation', () => {
  const token = open().seal(claims)
  const bytes = Buffer.from(token.slice(2), 'base64url')
  const tokens = open()
  fc.assert(
    fc.property(fc.nat({ max: bytes.length * 8 - 1 }), (bit) => {
      const changed = Buffer.from(bytes)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      return tokens.open(`b.${changed.toString('base64url')}`) === null
    }),
    { numRuns: 500 },
  )
  for (let length = 0; length < bytes.length; length += 1)
    expect(tokens.open(`b.${bytes.subarray(0, length).toString('base64url')}`)).toBeNull()
  for (const other of [`${token}=`, `${token} `, token.replace('b.', 's.'), `b.${bytes.toString('base64')}==`])
    expect(tokens.open(other)).toBeNull()
  expect(open(2).open(token)).toBeNull()
  const stranger = new BatchTokens({ random: systemRandom, incarnation: () => 1 })
  stranger.setKey(new Uint8Array(32))
  expect(stranger.open(token)).toBeNull()
  stranger.setKey(null)
  expect(() => stranger.open(token)).toThrow('Vault is sealed')
  expect(() => stranger.seal(claims)).toThrow('Vault is sealed')
})

test('is bounded, and ends by its time', () => {
  expect(() => open().seal({ ...claims, policies: Array.from({ length: 200 }, (_, i) => `${'p'.repeat(60)}${i}`) })).toThrow(
    `batch token expected at most ${batchTokenCharsMax} characters`,
  )
  expect(open().open(`b.${'A'.repeat(batchTokenCharsMax)}`)).toBeNull()
  expect(batchEntryOf('h', claims)).toMatchObject({
    type: 'batch',
    accessor: '',
    renewable: false,
    orphan: true,
    numUses: 0,
    expireTimeMs: claims.creationTimeMs + 3_600_000,
    login: { mountUuid: 'm-1' },
  })
})
