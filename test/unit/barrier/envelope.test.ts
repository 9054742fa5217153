import { createHash, createHmac } from 'node:crypto'
import { gcm } from '@noble/ciphers/aes.js'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isHoldfastError } from '#base/errors.ts'
import { systemRandom } from '#base/random.ts'
import { Envelope, envelopeBytes, envelopeTerm } from '#barrier/envelope.ts'
import { Keyring } from '#barrier/keyring.ts'

const nodeId = 'node-1'
const keyring = Keyring.create(systemRandom, 0)
const envelope = new Envelope({ random: systemRandom, nodeId })

const keys = fc.uint8Array({ minLength: 1, maxLength: 60 })
const values = fc.uint8Array({ maxLength: 300 })

function refused(open: () => unknown): boolean {
  try {
    open()
    return false
  } catch (error) {
    return isHoldfastError(error, 'ERR_DECRYPT')
  }
}

/** RFC 5869 written out, for one block: independent of hkdfSync. */
function hkdfByHand(ikm: Uint8Array, info: Uint8Array): Buffer {
  const prk = createHmac('sha256', Buffer.alloc(32)).update(ikm).digest()
  return createHmac('sha256', prk)
    .update(info)
    .update(Buffer.from([1]))
    .digest()
}

test('a sealed value opens at its place, and an independent implementation opens it too', () => {
  const raftTerms = fc.integer({ min: 1, max: 2 ** 48 - 1 })
  fc.assert(
    fc.property(keys, values, raftTerms, fc.integer({ min: 0, max: 2 ** 32 - 1 }), (key, value, raftTerm, incarnation) => {
      const record = envelope.seal(keyring, incarnation, raftTerm, key, value)
      expect(record.length).toBe(envelopeBytes + value.length)
      expect(envelopeTerm(record)).toBe(keyring.activeTerm)
      expect(Buffer.from(envelope.open(keyring, key, record))).toEqual(Buffer.from(value))

      const view = new DataView(record.buffer)
      expect([view.getUint32(5), view.getUint16(9) * 2 ** 32 + view.getUint32(11)]).toEqual([incarnation, raftTerm])
      expect(Buffer.from(record.subarray(17, 25))).toEqual(createHash('sha256').update(nodeId).digest().subarray(0, 8))
      const info = Buffer.concat([Buffer.from('holdfast value v1'), record.subarray(5, 25)])
      const sealingKey = hkdfByHand(keyring.termKey(1) ?? new Uint8Array(0), info)
      const twin = gcm(sealingKey, record.subarray(25, 37), Buffer.concat([record.subarray(0, 25), key]))
      expect(Buffer.from(twin.decrypt(record.subarray(37)))).toEqual(Buffer.from(value))
    }),
    { numRuns: 200 },
  )
})

test('a record does not open when a bit is flipped, bytes are missing or added, or it lies elsewhere', () => {
  fc.assert(
    fc.property(keys, values, fc.nat(), keys, (key, value, at, elsewhere) => {
      const record = envelope.seal(keyring, 1, 1, key, value)
      const flipped = record.slice()
      const bit = at % (record.length * 8)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const moved = Buffer.compare(key, elsewhere) === 0 ? Buffer.concat([key, Buffer.from([0])]) : elsewhere
      const attempts: [Uint8Array, Uint8Array][] = [
        [key, flipped],
        [key, record.subarray(0, at % record.length)],
        [key, Buffer.concat([record, Buffer.from([0])])],
        [moved, record],
        [Buffer.concat([key, Buffer.from([0])]), record],
      ]
      for (const [place, bytes] of attempts) expect(refused(() => envelope.open(keyring, place, bytes))).toBe(true)
    }),
    { numRuns: 500 },
  )
})

test('two values can not be swapped, nor an older one of the same place told from its bytes', () => {
  const a = envelope.seal(keyring, 1, 1, Buffer.from('a'), Buffer.from('value of a'))
  const b = envelope.seal(keyring, 1, 1, Buffer.from('b'), Buffer.from('value of b'))
  expect(refused(() => envelope.open(keyring, Buffer.from('a'), b))).toBe(true)
  expect(refused(() => envelope.open(keyring, Buffer.from('b'), a))).toBe(true)
  expect(Buffer.from(a).equals(Buffer.from(envelope.seal(keyring, 1, 1, Buffer.from('a'), Buffer.from('value of a'))))).toBe(false)
})

test('the error names neither place nor content', () => {
  const record = envelope.seal(keyring, 1, 1, Buffer.from('the-place'), Buffer.from('the-content'))
  record[40] = (record[40] ?? 0) ^ 1
  let text = ''
  try {
    envelope.open(keyring, Buffer.from('the-place'), record)
  } catch (error) {
    text = `${String(error)} ${JSON.stringify(error)}`
  }
  expect(text).toMatch(/expected to open/)
  expect(text).not.toMatch(/the-place|the-content/)
})

test('each (incarnation, Raft term, keyring term, node) seals under a key of its own, and none comes back within a Raft term', () => {
  const fresh = new Envelope({ random: systemRandom, nodeId: 'node-2' })
  const rotated = keyring.rotated(systemRandom, 1)
  const header = (ring: Keyring, incarnation: number, raftTerm: number): string =>
    Buffer.from(fresh.seal(ring, incarnation, raftTerm, Buffer.from('k'), Buffer.from('v')).subarray(0, 25)).toString('hex')
  const first = header(keyring, 1, 5)
  expect(header(keyring, 1, 5)).toBe(first)
  const others = [header(rotated, 1, 5), header(keyring, 1, 5), header(keyring, 1, 6), header(keyring, 2, 6)]
  expect(new Set([first, ...others]).size).toBe(5)
  expect(fresh.seals).toBe(6)
})

test('nonces do not repeat over many draws', () => {
  const seen = new Set<string>()
  for (let i = 0; i < 5_000; i++) {
    const record = envelope.seal(keyring, 1, 9, Buffer.from('k'), new Uint8Array(0))
    seen.add(Buffer.from(record.subarray(25, 37)).toString('hex'))
  }
  expect(seen.size).toBe(5_000)
})

test('keyring: what is written under a root key opens under that key only, with all its terms', () => {
  const rootKey = systemRandom.bytes(32)
  const ring = keyring.rotated(systemRandom, 123).rotated(systemRandom, 456)
  const record = ring.encode(rootKey, systemRandom)
  const back = Keyring.decode(record, rootKey)
  expect([back.version, back.activeTerm, back.activeSinceMs]).toEqual([3, 3, 456])
  for (const term of [1, 2, 3]) expect(Buffer.from(back.termKey(term) ?? '')).toEqual(Buffer.from(ring.termKey(term) ?? 'none'))
  expect(back.derived('audit').reveal()).toEqual(keyring.derived('audit').reveal())
  expect(back.derived('audit').reveal()).not.toEqual(keyring.derived('other').reveal())
  expect(refused(() => Keyring.decode(record, systemRandom.bytes(32)))).toBe(true)
  expect(refused(() => Keyring.decode(record.subarray(0, -1), rootKey))).toBe(true)
  back.wipe()
  expect(Buffer.from(back.termKey(1) ?? '')).toEqual(Buffer.alloc(32))
})

test('keyring: old values open after a rotation; new ones do not under the old keyring', () => {
  const old = envelope.seal(keyring, 1, 1, Buffer.from('k'), Buffer.from('old'))
  const rotated = keyring.rotated(systemRandom, 1)
  const young = envelope.seal(rotated, 1, 1, Buffer.from('k'), Buffer.from('young'))
  expect(Buffer.from(envelope.open(rotated, Buffer.from('k'), old)).toString()).toBe('old')
  const other = new Envelope({ random: systemRandom, nodeId: 'node-2' }) // Has derived no key yet.
  expect(Buffer.from(other.open(rotated, Buffer.from('k'), young)).toString()).toBe('young')
  const third = new Envelope({ random: systemRandom, nodeId: 'node-3' })
  expect(refused(() => third.open(keyring, Buffer.from('k'), young))).toBe(true)
})
