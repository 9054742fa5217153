/**
 * `node scripts/make-vectors.ts`: makes test/fixtures/vectors anew, in Wycheproof's form, for clones that have no published vectors beside them. Everything is drawn
 * from hashes of fixed words, so that it gives the same files each time; nothing is written on whose verdict the implementations differ.
 */
import { createHash, createHmac, createPrivateKey, createPublicKey, hkdfSync, sign } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { aessiv, gcm, gcmsiv } from '@noble/ciphers/aes.js'
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js'
import { suites } from '#test/support/vector-suites.ts'
import { committedFolder, type Vector, type VectorFile, type VectorGroup } from '#test/support/vectors.ts'

/** `length` bytes that only `words` give. */
function drawn(words: string, length: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, i) =>
    createHash('sha256').update(`holdfast vectors, ${words}, ${i}`).digest(),
  )
  return Buffer.concat(blocks).subarray(0, length)
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

function flip(bytes: Uint8Array, bit: number): Buffer {
  const out = Buffer.from(bytes)
  out[bit >> 3] = (out[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return out
}

type Draft = Omit<Vector, 'tcId'>
type Group = Omit<VectorGroup, 'tests'> & { readonly tests: readonly Draft[] }

/** Lengths of message and associated data: around the block, empty where it may be. */
const lengths = [
  [0, 20],
  [1, 0],
  [16, 16],
  [17, 33],
  [64, 80],
] as const

interface AeadPlan {
  readonly keyBits: number
  readonly ivBits: number
  readonly seal: (key: Uint8Array, iv: Uint8Array, aad: Uint8Array, msg: Uint8Array) => Uint8Array
  /** SIV has its tag before the ciphertext, in one field. */
  readonly tagFirst?: boolean
}

function aeadGroup(name: string, { keyBits, ivBits, seal, tagFirst }: AeadPlan): Group {
  const tests = lengths.flatMap(([msgBytes, aadBytes]): Draft[] => {
    const from = (what: string, length: number): Buffer => drawn(`${name} ${keyBits} ${msgBytes} ${what}`, length)
    const [key, iv, aad, msg] = [from('key', keyBits / 8), from('iv', ivBits / 8), from('aad', aadBytes), from('msg', msgBytes)]
    const sealed = Buffer.from(seal(key, iv, aad, msg))
    const vector = (
      comment: string,
      result: 'valid' | 'invalid',
      over: { key?: Buffer; iv?: Buffer; aad?: Buffer; sealed?: Buffer } = {},
    ): Draft => {
      const whole = over.sealed ?? sealed
      const split = whole.length - 16
      const parts = tagFirst === true ? { ct: hex(whole) } : { ct: hex(whole.subarray(0, split)), tag: hex(whole.subarray(split)) }
      const nonce = ivBits === 0 ? {} : { iv: hex(over.iv ?? iv) }
      return {
        comment: `${comment}, ${msgBytes} bytes`,
        result,
        key: hex(over.key ?? key),
        ...nonce,
        aad: hex(over.aad ?? aad),
        msg: hex(msg),
        ...parts,
      }
    }
    return [
      vector('as it should be', 'valid'),
      vector('first bit flipped', 'invalid', { sealed: flip(sealed, 0) }),
      vector('last bit flipped', 'invalid', { sealed: flip(sealed, sealed.length * 8 - 1) }),
      vector('another key', 'invalid', { key: flip(key, 7) }),
      vector('more associated data', 'invalid', { aad: Buffer.concat([aad, Buffer.from([0])]) }),
      ...(ivBits === 0 ? [] : [vector('another nonce', 'invalid', { iv: flip(iv, 1) })]),
      ...(msgBytes < 16 ? [] : [vector('cut by a byte', 'invalid', { sealed: sealed.subarray(0, -1) })]),
    ]
  })
  return { keySize: keyBits, ...(ivBits === 0 ? {} : { ivSize: ivBits, tagSize: 128 }), tests }
}

function hmacGroups(): Group[] {
  return [128, 256, 520].map((keyBits) => ({
    keySize: keyBits,
    tagSize: 256,
    tests: [0, 1, 64, 65].flatMap((length): Draft[] => {
      const [key, msg] = [drawn(`hmac key ${keyBits} ${length}`, keyBits / 8), drawn(`hmac msg ${keyBits} ${length}`, length)]
      const tag = createHmac('sha256', key).update(msg).digest()
      const vector = (comment: string, result: 'valid' | 'invalid', made: Buffer): Draft => ({
        comment,
        result,
        key: hex(key),
        msg: hex(msg),
        tag: hex(made),
      })
      return [
        vector('as it should be', 'valid', tag),
        vector('a bit flipped', 'invalid', flip(tag, 77)),
        vector('all zero', 'invalid', Buffer.alloc(32)),
      ]
    }),
  }))
}

function hkdfGroup(): Group {
  const tests = [
    [0, 0, 32],
    [0, 40, 64],
    [16, 10, 16],
    [80, 80, 82],
    [0, 25, 1_000],
  ].flatMap(([saltBytes = 0, infoBytes = 0, size = 0]): Draft[] => {
    const from = (what: string, length: number): Buffer => drawn(`hkdf ${what} ${size}`, length)
    const [ikm, salt, info] = [from('ikm', 32), from('salt', saltBytes), from('info', infoBytes)]
    const okm = Buffer.from(hkdfSync('sha256', ikm, salt, info, size))
    const vector = (result: 'valid' | 'invalid', made: Buffer): Draft => ({
      comment: `${size} bytes`,
      result,
      ikm: hex(ikm),
      salt: hex(salt),
      info: hex(info),
      size,
      okm: hex(made),
    })
    return [vector('valid', okm), vector('invalid', flip(okm, 3))]
  })
  const ikm = hex(drawn('hkdf too long', 32))
  return {
    keySize: 256,
    tests: [...tests, { comment: 'more than 255 blocks', result: 'invalid', ikm, salt: '', info: '', size: 8_161, okm: '' }],
  }
}

function ed25519Groups(): Group[] {
  return [0, 1, 2].map((which) => {
    const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), drawn(`ed25519 ${which}`, 32)])
    const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    const pk = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(12)
    const order = BigInt('0x1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed')
    const tests = [0, 1, 64, 300].flatMap((length): Draft[] => {
      const msg = drawn(`ed25519 msg ${which} ${length}`, length)
      const sig = sign(null, msg, key)
      const vector = (comment: string, result: 'valid' | 'invalid', made: Buffer, said = msg): Draft => ({
        comment,
        result,
        msg: hex(said),
        sig: hex(made),
      })
      const s = BigInt(`0x${hex(Buffer.from(sig.subarray(32)).reverse())}`) + order
      const raised = Buffer.from(s.toString(16).padStart(64, '0'), 'hex').reverse()
      return [
        vector('as it should be', 'valid', sig),
        vector('R flipped', 'invalid', flip(sig, 9)),
        vector('S flipped', 'invalid', flip(sig, 300)),
        vector('S plus the order: malleable', 'invalid', Buffer.concat([sig.subarray(0, 32), raised])),
        vector('cut by a byte', 'invalid', sig.subarray(0, 63)),
        vector('another message', 'invalid', sig, Buffer.concat([msg, Buffer.from([0])])),
      ]
    })
    return { publicKey: { pk: hex(pk) }, tests }
  })
}

const aead: Readonly<Record<string, readonly AeadPlan[]>> = {
  'AES-GCM': [128, 192, 256].map((keyBits) => ({ keyBits, ivBits: 96, seal: (key, iv, aad, msg) => gcm(key, iv, aad).encrypt(msg) })),
  'AES-SIV': [256, 384, 512].map((keyBits) => ({
    keyBits,
    ivBits: 0,
    tagFirst: true,
    seal: (key, _iv, aad, msg) => aessiv(key, aad).encrypt(msg),
  })),
  'AES-GCM-SIV': [128, 256].map((keyBits) => ({ keyBits, ivBits: 96, seal: (key, iv, aad, msg) => gcmsiv(key, iv, aad).encrypt(msg) })),
  'XChaCha20-Poly1305': [{ keyBits: 256, ivBits: 192, seal: (key, iv, aad, msg) => xchacha20poly1305(key, iv, aad).encrypt(msg) }],
}

function groupsOf(algorithm: string): readonly Group[] {
  const plans = aead[algorithm]
  if (plans !== undefined) return plans.map((plan) => aeadGroup(algorithm, plan))
  if (algorithm === 'HMAC-SHA-256') return hmacGroups()
  if (algorithm === 'HKDF-SHA-256') return [hkdfGroup()]
  if (algorithm === 'Ed25519') return ed25519Groups()
  throw new Error(`expected to know how vectors of ${algorithm} are made`)
}

mkdirSync(committedFolder, { recursive: true })
for (const { algorithm, file, implementations } of suites) {
  let tcId = 0
  const testGroups: VectorGroup[] = groupsOf(algorithm).map((group) => ({
    ...group,
    tests: group.tests.map((test) => ({ tcId: (tcId += 1), ...test }) as Vector),
  }))
  for (const group of testGroups)
    for (const vector of group.tests)
      for (const each of implementations)
        if (each.takes(vector, group) && each.accepts(vector, group) !== (vector.result === 'valid'))
          throw new Error(`${algorithm} ${vector.tcId} (${vector.comment}): expected ${each.name} to find it ${vector.result}`)
  const made: VectorFile = { algorithm, numberOfTests: tcId, testGroups }
  // A vector a line: a change shows as what it is.
  writeFileSync(new URL(file, committedFolder), `${JSON.stringify(made).replaceAll('{"tcId"', '\n{"tcId"')}\n`)
  process.stdout.write(`${algorithm}: ${tcId} vectors\n`)
}
