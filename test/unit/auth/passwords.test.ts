import { describe, expect, test } from 'vitest'
import { bcryptHash, createPasswordHasher } from '#auth/passwords.ts'
import { systemRandom } from '#base/random.ts'
import { standingClock } from '#test/support/open-barrier.ts'

const cost = { memoryKib: 8, passes: 1, parallelism: 1 }
const hasher = (options = {}) => createPasswordHasher({ clock: standingClock(), random: systemRandom, atOnceMax: 2, cost, ...options })

describe('a password', () => {
  test('is kept as Argon2id with a salt of its own', async () => {
    const [one, two] = await Promise.all([hasher().hash('päss'), hasher().hash('päss')])
    expect(one).toMatchObject({ kind: 'argon2id', ...cost })
    expect(one).not.toEqual(two)
    expect(JSON.stringify(one)).not.toContain('päss')
    expect(await hasher().verify('päss', one)).toBe(true)
    expect(await hasher().verify('pass', one)).toBe(false)
  })

  test('is checked with the parameters that it was hashed with, whatever new ones get', async () => {
    const old = await hasher().hash('x')
    expect(await hasher({ cost: { memoryKib: 16, passes: 2, parallelism: 1 } }).verify('x', old)).toBe(true)
  })

  test('hashed by the reference implementation is the same', async () => {
    // From Python's argon2-cffi 25.1, which carries that implementation: RFC 9106's own vector has a key and associated data, which passwords have not.
    const stored = {
      kind: 'argon2id',
      memoryKib: 1_024,
      passes: 2,
      parallelism: 1,
      salt: Buffer.from('somesaltsomesalt').toString('base64'),
      hash: 'CKGe5/bX9YnCq2rxjW5yQXKxn31v1GKzhDCrMc6r6vA=',
    } as const
    expect(await hasher().verify('password', stored)).toBe(true)
  })

  test('of nobody fits nothing', async () => {
    for (const guess of ['', 'x', 'nobody']) expect(await hasher().verify(guess, null)).toBe(false)
  })

  test('is bounded in length', () => {
    const one = hasher()
    for (const call of [() => one.hash('x'.repeat(5_000)), () => one.verify('ä'.repeat(2_049), null)]) {
      expect(call).toThrow(/at most 4096 bytes/)
    }
  })

  test('waits its turn, and is refused when too many do', async () => {
    const one = hasher({ atOnceMax: 1, waitingMax: 2 })
    const stored = await one.hash('x')
    const tries = await Promise.allSettled(Array.from({ length: 8 }, (_, n) => one.verify('x', n % 2 === 0 ? stored : null)))
    expect(tries.filter(({ status }) => status === 'rejected')).toHaveLength(5)
    expect(one.queue.refused).toBe(5)
    expect([one.queue.running, one.queue.waiting]).toEqual([0, 0])
  })
})

test('a bcrypt hash is taken as it is, if it is one, and not too slow', () => {
  const hash = '$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy'
  expect(bcryptHash(hash)).toEqual({ kind: 'bcrypt', hash })
  for (const bad of ['', 'x', hash.slice(1), `${hash}x`, hash.replace('2b', '2c')])
    expect(() => bcryptHash(bad)).toThrow(/expected a bcrypt hash/)
  expect(() => bcryptHash(hash.replace('$10$', '$15$'))).toThrow(/cost of at most 14, got 15/)
})
