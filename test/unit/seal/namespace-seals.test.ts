import { describe, expect, test, vi } from 'vitest'
import type { Ring } from '#barrier/ring.ts'
import { Rings } from '#barrier/rings.ts'
import type { BarrierControl } from '#barrier/types.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { parseNamespaceSeal } from '#seal/namespace-config.ts'
import { createNamespaceSeals, type NamespaceSeals } from '#seal/namespace-seals.ts'
import { openBarriers } from '#test/support/open-barrier.ts'

vi.setConfig({ testTimeout: 60_000 })

const linear = { kind: 'linearizable' } as const
const hex = (share: Uint8Array): string => Buffer.from(share).toString('hex')
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'fine',
    (error: unknown) => (isHoldfastError(error) ? `${error.code}: ${error.message}` : String(error)),
  )

async function world(shares = 3, threshold = 2) {
  const opened = await openBarriers(2)
  const { barrier, cluster, clock } = opened
  const sealsOf = (each: BarrierControl, at: number): NamespaceSeals =>
    createNamespaceSeals({ barrier: each, replica: cluster.node(at), clock, random: systemRandom, log: silentLogger })
  const seals = sealsOf(barrier, 0)
  const made = await seals.make({ shares, threshold, pgpKeys: [] })
  await barrier.transact(async (tx) => {
    tx.keyrings?.create('own', 'root', made.seal)
    tx.put({ namespace: 'own', mount: 'kv' }, 'a', Buffer.from('kept'))
  })
  made[Symbol.dispose]()
  const setSealed = (sealed: boolean): Promise<void> => barrier.transact(async ({ keyrings }) => keyrings?.setSealed('own', sealed))
  const value = (each: BarrierControl = barrier): Promise<string> =>
    each.read(linear, async (view) => Buffer.from((await view.get({ namespace: 'own', mount: 'kv' }, 'a')) ?? []).toString())
  return { ...opened, seals, other: sealsOf(opened.at(1), 1), keys: made.keys.map(hex), setSealed, value }
}

describe('shares of a namespace', () => {
  test('unseal it: progress, nonce, reset, the same share twice, a wrong one by name', async () => {
    const { seals, keys, setSealed, value, barrier } = await world()
    expect(seals.status('own')).toMatchObject({ sealed: false, threshold: 2, shares: 3, progress: 0, nonce: '' })
    expect(await seals.unseal('own', { key: keys[0]!, reset: false })).toEqual({ opened: false }) // Open already.
    await setSealed(true)
    expect(await codeOf(value())).toContain('ERR_NAMESPACE_SEALED')
    expect(await seals.unseal('own', { key: keys[0]!, reset: false })).toEqual({ opened: false })
    const { nonce } = seals.status('own')!
    expect(nonce).not.toBe('')
    await seals.unseal('own', { key: Buffer.from(keys[0]!, 'hex').toString('base64'), reset: false })
    expect(seals.status('own')).toMatchObject({ progress: 1, nonce })
    expect(await codeOf(seals.unseal('own', { key: 'ab'.repeat(33), reset: false }))).toContain("not one of this namespace's")
    expect(await codeOf(seals.unseal('own', { key: null, reset: false }))).toContain('ERR_BAD_REQUEST')
    expect(await seals.unseal('own', { key: null, reset: true })).toEqual({ opened: false })
    expect(seals.status('own')).toMatchObject({ progress: 0, nonce: '' })
    await seals.unseal('own', { key: keys[2]!, reset: false })
    expect(await seals.unseal('own', { key: keys[1]!, reset: false })).toEqual({ opened: true })
    await setSealed(false)
    expect(await value()).toBe('kept')
    expect(seals.status('own')).toMatchObject({ sealed: false, progress: 0 })
    expect(barrier.sealed).toBe(false)
  })

  test('every two of three do, one does not; the shares of another namespace, and of the cluster, do not', async () => {
    const { seals, keys, setSealed, value, barrier } = await world()
    const twin = await seals.make({ shares: 1, threshold: 1, pgpKeys: [] })
    await barrier.transact(async ({ keyrings }) => keyrings?.create('twin', 'root', twin.seal))
    for (const [a, b] of [
      [0, 1],
      [0, 2],
      [1, 2],
    ] as const) {
      await setSealed(true)
      await seals.unseal('own', { key: keys[a]!, reset: false })
      expect(seals.status('own')?.sealed).toBe(true)
      expect(await codeOf(seals.unseal('own', { key: hex(twin.keys[0]!), reset: false }))).toContain('ERR_BAD_SHARE')
      expect(await seals.unseal('own', { key: keys[b]!, reset: false })).toEqual({ opened: true })
      await setSealed(false)
      expect(await value()).toBe('kept')
    }
  })

  describe('whose commit fails', () => {
    /** The keyring that shares have opened, and whether anything of its key is left. */
    async function opened() {
      const made = await world()
      const { seals, keys, setSealed } = made
      await setSealed(true)
      const rings: Ring[] = []
      // oxlint-disable-next-line typescript/unbound-method -- called with the barrier's own below
      const original = Rings.prototype.open
      const spy = vi.spyOn(Rings.prototype, 'open').mockImplementation(function (this: Rings, ...given) {
        const ring = original.call(this, ...given)
        rings.push(ring)
        return ring
      })
      await seals.unseal('own', { key: keys[0]!, reset: false })
      expect(await seals.unseal('own', { key: keys[1]!, reset: false })).toEqual({ opened: true })
      spy.mockRestore()
      const [ring] = rings
      const wiped = (): boolean => ring!.closed && ring!.rootKey.every((byte) => byte === 0)
      expect(wiped()).toBe(false)
      return { ...made, wiped }
    }
    const lost = (): Error => new HoldfastError('ERR_OUTCOME_UNKNOWN', 'the leader fell')

    test('the key does not stay open: half a minute later it is wiped, and its shares open it again', async () => {
      const { replica, setSealed, wiped, clock, value, seals, keys } = await opened()
      replica.failNextPropose = lost()
      expect(await codeOf(setSealed(false))).toContain('ERR_OUTCOME_UNKNOWN')
      expect(seals.status('own')?.sealed).toBe(true)
      clock.advance(29_000)
      expect(wiped()).toBe(false)
      clock.advance(1_000)
      expect(wiped()).toBe(true)
      for (const key of keys.slice(0, 2)) await seals.unseal('own', { key, reset: false })
      await setSealed(false)
      expect(await value()).toBe('kept')
    })

    test('sealing it, although it is sealed, wipes the key at once', async () => {
      const { replica, setSealed, wiped } = await opened()
      replica.failNextPropose = lost()
      expect(await codeOf(setSealed(false))).toContain('ERR_OUTCOME_UNKNOWN')
      await setSealed(true)
      expect(wiped()).toBe(true)
    })

    test('committed, it stays open; a node that is sealed or stopped meanwhile is left alone', async () => {
      const { setSealed, wiped, clock, value, barrier, seals } = await opened()
      await setSealed(false)
      clock.advance(60_000)
      expect(wiped()).toBe(false)
      expect(await value()).toBe('kept')
      const other = await opened()
      other.barrier.seal()
      expect(other.wiped()).toBe(true)
      other.clock.advance(60_000)
      seals.close()
      expect(barrier.sealed).toBe(false)
    })
  })

  test('are collected by the leader, and forgotten with its leadership', async () => {
    const { seals, other, keys, setSealed, cluster } = await world()
    await setSealed(true)
    expect(await codeOf(other.unseal('own', { key: keys[0]!, reset: false }))).toContain('ERR_NOT_LEADER')
    await seals.unseal('own', { key: keys[0]!, reset: false })
    cluster.elect('node-2')
    expect(seals.status('own')).toMatchObject({ progress: 0, nonce: '' })
  })

  test('rekey, with verification: until its last step the present shares hold, from then on they are refused by name', async () => {
    const { seals, keys, setSealed, value, at, cluster } = await world()
    const rekey = seals.rekey('own')
    const begun = await rekey.init('root', { shares: 2, threshold: 2, pgpKeys: [], backup: false, requireVerification: true })
    const { nonce } = begun
    await rekey.update('root', nonce, keys[0]!)
    const result = await rekey.update('root', nonce, keys[1]!)
    const fresh = 'keys' in result ? result.keys.map(hex) : []
    expect(fresh).toHaveLength(2)
    const verification = (await rekey.verificationStatus('root')).nonce
    await rekey.verify('root', verification, fresh[0]!)
    expect((await rekey.verify('root', verification, fresh[1]!)).status).toBeNull()
    expect(await value()).toBe('kept')
    await setSealed(true)
    expect(await codeOf(seals.unseal('own', { key: keys[0]!, reset: false }))).toContain('replaced by a rekey')
    for (const key of fresh) await seals.unseal('own', { key, reset: false })
    await setSealed(false)
    expect(await value()).toBe('kept')
    await cluster.node(1).appliedUpTo(cluster.log.length)
    expect(await codeOf(value(at(1)))).toContain('ERR_NAMESPACE_SEALED')
  })

  test('who has none is told so', async () => {
    const { seals, barrier } = await world()
    await barrier.transact(async (tx) => tx.put({ namespace: 'plain', mount: 'kv' }, 'a', Buffer.from('1')))
    expect(seals.status('plain')).toBeNull()
    expect(await codeOf(seals.unseal('plain', { key: 'ab'.repeat(33), reset: false }))).toContain('seal of its own')
    expect(await codeOf(barrier.transact(async ({ keyrings }) => keyrings?.setSealed('plain', true)))).toContain('ERR_BAD_REQUEST')
    expect(() => seals.rekey('plain')).toThrow('seal of its own')
  })
})

describe('the seal that is asked for', () => {
  test.each([
    ['seal "shamir" { shares = 5 threshold = 3 }', { shares: 5, threshold: 3, pgpKeys: [] }],
    [
      '{"seal": {"shamir": {"shares": 3, "threshold": 2, "pgp_keys": ["a", "b", "c"]}}}',
      { shares: 3, threshold: 2, pgpKeys: ['a', 'b', 'c'] },
    ],
    ['seal "shamir" { secret_shares = "1" secret_threshold = 1 }', { shares: 1, threshold: 1, pgpKeys: [] }],
  ])('%s', (text, spec) => {
    expect(parseNamespaceSeal(text)).toEqual(spec)
  })

  test.each([
    '',
    'seal "awskms" { shares = 1 threshold = 1 }',
    'seal "shamir" { shares = 3 }',
    'seal "shamir" { shares = 3 threshold = 4 }',
    'seal "shamir" { shares = 3 threshold = 1 }',
    'seal "shamir" { shares = 3 threshold = 2 other = 1 }',
    'seal "shamir" { shares = 1 threshold = 1 }\nlistener "tcp" {}',
    'seal "shamir" { shares = 1 threshold = 1 }\nseal "shamir" { shares = 1 threshold = 1 }',
    'seal "shamir" { shares = 3 threshold = 2 pgp_keys = "a" }',
    'seal "shamir"',
    '{',
  ])('refused: %s', (text) => {
    expect(() => parseNamespaceSeal(text)).toThrow(expect.objectContaining({ code: 'ERR_BAD_REQUEST' }))
  })
})
