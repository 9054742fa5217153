import { describe, expect, test } from 'vitest'
import { createBarrier } from '#barrier/barrier.ts'
import { deriveJoinKey } from '#barrier/aead.ts'
import type { BarrierControl, Section } from '#barrier/types.ts'
import { HoldfastError } from '#base/errors.ts'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { parseSealConfig } from '#seal/config.ts'
import { createSealManager } from '#seal/manager.ts'
import { SealFault } from '#seal/faults.ts'
import { guardSeal } from '#seal/guard.ts'
import { createStaticSeal } from '#seal/static.ts'
import type { AutoSeal, SealBackend, SealInitOptions, SealManager } from '#seal/types.ts'
import { FakeCluster } from '#test/support/fake-replica.ts'
import { standingClock } from '#test/support/open-barrier.ts'

const kv: Section = { namespace: 'root', mount: 'kv' }
const linear = { kind: 'linearizable' } as const
const asked: SealInitOptions = {
  secretShares: 5,
  secretThreshold: 3,
  recoveryShares: 0,
  recoveryThreshold: 0,
  pgpKeys: [],
  recoveryPgpKeys: [],
  rootTokenPgpKey: '',
}
const hex = (share: Uint8Array | undefined): string => Buffer.from(share ?? new Uint8Array(0)).toString('hex')
const base64 = (share: Uint8Array | undefined): string => Buffer.from(share ?? new Uint8Array(0)).toString('base64')

interface Node {
  readonly barrier: BarrierControl
  readonly seal: SealManager
}

function cluster(nodes = 1, autoSeal?: AutoSeal) {
  const clock = standingClock()
  const fake = new FakeCluster({ ids: Array.from({ length: nodes }, (_, i) => `node-${i + 1}`) })
  const made: Node[] = fake.nodes.map((replica) => {
    const barrier = createBarrier({ replica, clock, random: systemRandom, log: silentLogger })
    const options = { barrier, replica, random: systemRandom, log: silentLogger, clusterName: 'test' }
    return { barrier, seal: createSealManager(autoSeal === undefined ? options : { ...options, autoSeal }) }
  })
  const at = (i: number): Node => made[i] ?? { barrier: made[0]!.barrier, seal: made[0]!.seal }
  const populate = async (): Promise<string> => {
    await at(0).barrier.transact(async (tx) => tx.put(kv, 'root-token', Buffer.from('entry')))
    return 'token'
  }
  return { clock, fake, at, populate, ...at(0) }
}

const unseal = (seal: SealManager, key: string) => seal.unseal({ key, reset: false })

test('before init: not initialised, sealed, and a share has nothing to open', async () => {
  const { seal } = cluster()
  expect(seal.status()).toEqual({
    type: 'shamir',
    initialized: false,
    sealed: true,
    t: 0,
    n: 0,
    progress: 0,
    nonce: '',
    recoverySeal: false,
    migration: false,
    clusterName: 'test',
    clusterId: 'fake-cluster',
  })
  await expect(unseal(seal, '00'.repeat(33))).rejects.toMatchObject({
    code: 'ERR_NOT_INITIALIZED',
    message: 'server is not yet initialized',
  })
  expect(seal.records()).toBeNull()
})

test('before there is a replica at all the status can be asked', () => {
  const { fake, clock } = cluster()
  const replica = fake.node(0)
  replica.view = () => {
    throw new HoldfastError('ERR_NOT_INITIALIZED', 'planted')
  }
  const barrier = createBarrier({ replica, clock, random: systemRandom, log: silentLogger })
  const seal = createSealManager({ barrier, replica, random: systemRandom, log: silentLogger })
  expect(seal.status()).toMatchObject({ initialized: false, sealed: true, clusterName: null })
})

test('init, then the shares open it: progress and nonce go along, hex and base64 both', async () => {
  const { seal, barrier, populate } = cluster()
  const { keys, value } = await seal.init(asked, populate)
  expect([keys.length, value]).toEqual([5, 'token'])
  expect(seal.status()).toMatchObject({ initialized: true, sealed: true, t: 3, n: 5, progress: 0, nonce: '' })

  const first = await unseal(seal, hex(keys[4]))
  expect(first).toMatchObject({ sealed: true, progress: 1 })
  expect(first.nonce).toMatch(/^[0-9a-f]{8}-/)
  expect(await unseal(seal, base64(keys[4]))).toEqual(first) // The same share again is not counted.
  expect(await unseal(seal, base64(keys[0]))).toMatchObject({ progress: 2, nonce: first.nonce })
  expect(await unseal(seal, hex(keys[2]))).toMatchObject({ sealed: false, progress: 0, nonce: '' })
  expect(await barrier.read(linear, async (view) => (await view.get(kv, 'root-token')) !== null)).toBe(true)
  expect(await unseal(seal, hex(keys[1]))).toMatchObject({ sealed: false, progress: 0 }) // Open already: nothing to do.

  seal.seal()
  expect(seal.status()).toMatchObject({ initialized: true, sealed: true })
})

test('every 2 of 3 shares open, one does not', async () => {
  const { seal, populate } = cluster()
  const { keys } = await seal.init({ ...asked, secretShares: 3, secretThreshold: 2 }, populate)
  for (const [a, b] of [
    [0, 1],
    [0, 2],
    [1, 2],
    [2, 0],
  ] as const) {
    expect((await unseal(seal, hex(keys[a]))).sealed).toBe(true)
    expect((await unseal(seal, hex(keys[b]))).sealed).toBe(false)
    seal.seal()
  }
})

test('one share of one', async () => {
  const { seal, populate } = cluster()
  const { keys } = await seal.init({ ...asked, secretShares: 1, secretThreshold: 1 }, populate)
  expect(keys.map(({ length }) => length)).toEqual([33])
  expect((await unseal(seal, base64(keys[0]))).sealed).toBe(false)
})

test('a wrong share is named at once, is a 400, and does not spoil the others', async () => {
  const { seal, populate } = cluster()
  const { keys } = await seal.init(asked, populate)
  await unseal(seal, hex(keys[0]))
  const wrong = 'ab'.repeat(33)
  const refused = unseal(seal, wrong)
  await expect(refused).rejects.toMatchObject({
    code: 'ERR_BAD_SHARE',
    status: 400,
    message: expect.stringMatching(/^invalid key: failed to decrypt keys from storage/),
  })
  await refused.catch((error: unknown) => expect(JSON.stringify(error) + String(error)).not.toContain(wrong))
  await expect(unseal(seal, 'zz')).rejects.toMatchObject({ status: 400, message: "'key' must be a valid hex or base64 string" })
  await expect(unseal(seal, 'abcd')).rejects.toMatchObject({ status: 400, message: expect.stringMatching(/^invalid key: key is shorter/) })
  await expect(seal.unseal({ key: null, reset: false })).rejects.toMatchObject({
    message: "'key' must be specified in request body as JSON, or 'reset' set to true",
  })
  expect(seal.status().progress).toBe(1)
  await unseal(seal, hex(keys[1]))
  expect((await unseal(seal, hex(keys[2]))).sealed).toBe(false)
})

test('reset forgets, and the next attempt has another nonce', async () => {
  const { seal, populate } = cluster()
  const { keys } = await seal.init(asked, populate)
  const { nonce } = await unseal(seal, hex(keys[0]))
  expect(await seal.unseal({ key: null, reset: true })).toMatchObject({ progress: 0, nonce: '' })
  expect((await unseal(seal, hex(keys[0]))).nonce).not.toBe(nonce)
})

test('shares that come at the same moment are taken one by one', async () => {
  const { seal, populate } = cluster()
  const { keys } = await seal.init(asked, populate)
  const answers = await Promise.all(keys.map((key) => unseal(seal, hex(key))))
  expect(answers.map(({ progress, sealed }) => [progress, sealed])).toEqual([
    [1, true],
    [2, true],
    [0, false],
    [0, false],
    [0, false],
  ])
  const flood = await Promise.allSettled(Array.from({ length: 50 }, () => unseal(seal, hex(keys[0]))))
  expect(flood.filter(({ status }) => status === 'rejected')).toHaveLength(18)
})

test('each node is unsealed by itself, also one that only follows', async () => {
  const { at, populate, fake } = cluster(3)
  const { keys } = await at(0).seal.init(asked, populate)
  await fake.node(2).appliedUpTo(fake.log.length)
  for (const i of [2, 0]) for (const key of keys.slice(0, 3)) await unseal(at(i).seal, hex(key))
  expect([0, 1, 2].map((i) => at(i).seal.status().sealed)).toEqual([false, true, false])
  expect(at(1).seal.status()).toMatchObject({ initialized: true, t: 3, n: 5, progress: 0 })
  expect(await at(2).barrier.read(linear, async (view) => (await view.get(kv, 'root-token')) !== null)).toBe(true)
})

test('init happens once, and refuses what it can not do', async () => {
  const { seal, populate } = cluster()
  for (const [options, message] of [
    [{ secretShares: 3, secretThreshold: 1 }, /threshold must be greater than one/],
    [{ pgpKeys: ['x'] }, /incorrect number of PGP keys: expected one a share, 5, got 1/],
  ] as const)
    await expect(seal.init({ ...asked, ...options }, populate)).rejects.toMatchObject({
      status: 400,
      message: expect.stringMatching(message),
    })
  expect(seal.status().initialized).toBe(false)
  const [first, second] = await Promise.allSettled([seal.init(asked, populate), seal.init(asked, populate)])
  expect([first?.status, second?.status]).toEqual(['fulfilled', 'rejected'])
  await expect(seal.init(asked, populate)).rejects.toMatchObject({
    code: 'ERR_ALREADY_INITIALIZED',
    message: 'Vault is already initialized',
  })
})

test('an init that fails half-way can be done again, and its keys open nothing', async () => {
  const { seal, barrier, populate } = cluster()
  const failing = seal.init(asked, async () => {
    await populate()
    throw new HoldfastError('ERR_INTERNAL', 'planted')
  })
  await expect(failing).rejects.toThrow('planted')
  expect(seal.status()).toMatchObject({ initialized: false, sealed: true })
  expect(barrier.sealed).toBe(true)
  const { keys } = await seal.init(asked, populate)
  for (const key of keys.slice(1, 4)) await unseal(seal, hex(key))
  expect(barrier.sealed).toBe(false)
})

test('the stored records hold no key and no share', async () => {
  const { seal, populate, fake } = cluster()
  const { keys } = await seal.init(asked, populate)
  const disk = Buffer.concat(fake.node(0).dump().flat())
  for (const share of keys) {
    expect(disk.includes(Buffer.from(share).subarray(0, 32))).toBe(false)
    expect(disk.includes(hex(share))).toBe(false)
  }
  const config = parseSealConfig(seal.records()?.sealConfig ?? new Uint8Array(0))
  expect(config).toMatchObject({ type: 'shamir', secret: { shares: 5, threshold: 3 } })
})

test.each(['garbage', '{}', '{"version":1,"type":"shamir","secret_shares":3,"secret_threshold":4}', 'null'])(
  'a damaged seal configuration (%s) is said to be one',
  (record) => {
    expect(() => parseSealConfig(Buffer.from(record))).toThrow(expect.objectContaining({ code: 'ERR_STORE_CORRUPT' }))
  },
)

test('a seal configuration of another version is not one that is damaged', () => {
  const record = Buffer.from('{"version":2,"type":"shamir"}')
  expect(() => parseSealConfig(record)).toThrow(expect.objectContaining({ code: 'ERR_UPGRADE_REQUIRED' }))
})

describe('joining', () => {
  test('the shares of the cluster give the key that proves so, and the barrier opens when the keyring arrives', async () => {
    const home = cluster()
    const { keys } = await home.seal.init(asked, home.populate)
    const joiner = cluster()
    const records = home.seal.records()
    if (records === null) throw new Error('records expected')
    const opened = joiner.seal.openForJoin(records)
    expect(joiner.seal.status()).toMatchObject({ initialized: true, sealed: true, t: 3, n: 5 })
    for (const key of keys.slice(0, 3)) await unseal(joiner.seal, hex(key))
    const joinKey = await opened
    expect(joinKey.length).toBe(32)
    expect(joiner.barrier.sealed).toBe(true) // Has no state yet.
    expect(await unseal(joiner.seal, hex(keys[3]))).toMatchObject({ sealed: true, progress: 0 }) // Not needed any more.

    for (const [key, value] of home.fake.node(0).dump()) joiner.fake.append([{ key, value }], 0)
    await joiner.fake.node(0).appliedUpTo(joiner.fake.log.length)
    expect(joiner.barrier.sealed).toBe(false)
    expect(joiner.seal.status()).toMatchObject({ initialized: true, sealed: false })
  })

  test('a second attempt ends the first; closing ends the second', async () => {
    const home = cluster()
    await home.seal.init(asked, home.populate)
    const joiner = cluster()
    const records = home.seal.records()
    if (records === null) throw new Error('records expected')
    const first = joiner.seal.openForJoin(records)
    const second = joiner.seal.openForJoin(records)
    await expect(first).rejects.toMatchObject({ code: 'ERR_SHUTTING_DOWN' })
    joiner.seal.close()
    await expect(second).rejects.toMatchObject({ code: 'ERR_SHUTTING_DOWN' })
    await expect(joiner.seal.openForJoin({ ...records, sealConfig: Buffer.from('{}') })).rejects.toMatchObject({
      code: 'ERR_STORE_CORRUPT',
    })
  })

  test('a join that failed after its shares does not stand in the way of the next one', async () => {
    const home = cluster()
    const { keys } = await home.seal.init(asked, home.populate)
    const joiner = cluster()
    const records = home.seal.records()
    if (records === null) throw new Error('records expected')
    for (let attempt = 0; attempt < 2; attempt++) {
      const opened = joiner.seal.openForJoin(records)
      for (const key of keys.slice(0, 3)) await unseal(joiner.seal, hex(key))
      expect((await opened).length).toBe(32) // And the member then refuses: nothing arrives.
    }
  })

  test('join keys differ by root key, and are not the root key', () => {
    const key = systemRandom.bytes(32)
    expect(deriveJoinKey(key)).toEqual(deriveJoinKey(key))
    expect(deriveJoinKey(key)).not.toEqual(deriveJoinKey(systemRandom.bytes(32)))
    expect(deriveJoinKey(key)).not.toEqual(key)
  })
})

describe('auto seal', () => {
  const staticSeal = (id: string, fill: number, previous?: readonly [string, number], kind = 'static'): AutoSeal => {
    const backend = createStaticSeal({
      current: { id, key: new SecretBytes(new Uint8Array(32).fill(fill)) },
      ...(previous ? { previous: { id: previous[0], key: new SecretBytes(new Uint8Array(32).fill(previous[1])) } } : {}),
      random: systemRandom,
    })
    return guardSeal({ ...backend, kind }, { clock: systemClock, random: systemRandom })
  }
  const withRecovery = { ...asked, secretShares: 0, secretThreshold: 0, recoveryShares: 3, recoveryThreshold: 2 }

  test('opens by itself, without shares; recovery shares are made when asked for', async () => {
    const { seal, barrier, populate } = cluster(1, staticSeal('k1', 1))
    const { keys, recoveryKeys } = await seal.init({ ...asked, recoveryShares: 3, recoveryThreshold: 2 }, populate)
    expect([keys.length, recoveryKeys?.length]).toEqual([0, 3])
    expect(seal.status()).toMatchObject({ type: 'static', initialized: true, sealed: false, recoverySeal: true, t: 2, n: 3 })
    expect(seal.wantsToOpen).toBe(false)
    seal.seal()
    expect(seal.wantsToOpen).toBe(false) // Somebody meant it.
    expect(await seal.autoUnseal()).toBe(true)
    expect(barrier.sealed).toBe(false)
  })

  test('in the process that replaces a sealed one it waits as before: the auto seal is not asked', async () => {
    const { seal, barrier, fake, clock, populate } = cluster(1, staticSeal('k1', 1))
    const { recoveryKeys = [] } = await seal.init(withRecovery, populate)
    seal.seal()
    expect(seal.status().warnings).toEqual([expect.stringMatching(/^sealed by an operator/)])
    for (const held of [true, false]) {
      const next = createBarrier({ replica: fake.nodes[0]!, clock, random: systemRandom, log: silentLogger })
      const options = { barrier: next, replica: fake.nodes[0]!, random: systemRandom, log: silentLogger, autoSeal: staticSeal('k1', 1) }
      const again = createSealManager({ ...options, held })
      expect(again.wantsToOpen).toBe(!held)
      expect(again.status().warnings ?? []).toHaveLength(held ? 1 : 0)
      await unseal(again, hex(recoveryKeys[0]))
      expect(await unseal(again, hex(recoveryKeys[1]))).toMatchObject({ sealed: false })
      expect(again.status().warnings).toBeUndefined()
      again.close()
      next.close()
    }
    barrier.close()
  })

  test('sealed by an operator it waits for recovery shares, or a restart', async () => {
    const { seal, barrier, populate } = cluster(1, staticSeal('k1', 1))
    const { recoveryKeys = [] } = await seal.init(withRecovery, populate)
    seal.seal()
    await expect(unseal(seal, 'ab'.repeat(33))).rejects.toMatchObject({ code: 'ERR_BAD_SHARE' })
    expect(await unseal(seal, hex(recoveryKeys[2]))).toMatchObject({ sealed: true, progress: 1 })
    expect(await unseal(seal, base64(recoveryKeys[0]))).toMatchObject({ sealed: false, progress: 0 })
    expect(barrier.sealed).toBe(false)
    const none = cluster(1, staticSeal('k1', 1))
    await none.seal.init({ ...withRecovery, recoveryShares: 0, recoveryThreshold: 0 }, none.populate)
    none.seal.seal()
    await expect(unseal(none.seal, 'ab'.repeat(33))).rejects.toThrow(/made without/)
  })

  test('a seal that does not open is said in the status, and gone from it when it does', async () => {
    let broken = false
    const whole = createStaticSeal({ current: { id: 'k1', key: new SecretBytes(new Uint8Array(32)) }, random: systemRandom })
    const unwrap: SealBackend['unwrap'] = (...given) =>
      broken ? Promise.reject(new SealFault('throttled', 'planted: too many')) : whole.unwrap(...given)
    const seal = guardSeal({ ...whole, unwrap }, { clock: systemClock, random: systemRandom, attemptsMax: 1 })
    const node = cluster(1, seal)
    await node.seal.init(withRecovery, node.populate)
    node.barrier.seal() // As a restart leaves it.
    expect(node.seal.wantsToOpen).toBe(true)
    broken = true
    await expect(node.seal.autoUnseal()).rejects.toMatchObject({ fault: 'throttled' })
    expect(node.seal.status().warnings).toEqual(['the seal does not open: planted: too many'])
    broken = false
    expect(await node.seal.autoUnseal()).toBe(true)
    expect(node.seal.status().warnings).toBeUndefined()
  })

  test('a changed key is seen, and the root key is wrapped anew by the present one', async () => {
    const { fake, clock, seal, populate } = cluster(1, staticSeal('k1', 1))
    await seal.init(withRecovery, populate)
    seal.close()
    const replica = fake.node(0)
    const again = (autoSeal: AutoSeal) => {
      const barrier = createBarrier({ replica, clock, random: systemRandom, log: silentLogger })
      return createSealManager({ barrier, replica, random: systemRandom, log: silentLogger, autoSeal })
    }
    const changed = again(staticSeal('k2', 2, ['k1', 1]))
    expect(await changed.autoUnseal()).toBe(true)
    expect(changed.outdated).toBe(true)
    await changed.rewrap()
    expect(changed.outdated).toBe(false)
    changed.close()
    expect(await again(staticSeal('k2', 2)).autoUnseal()).toBe(true)
    await expect(again(staticSeal('k1', 1)).autoUnseal()).rejects.toMatchObject({ fault: 'key' })
  })

  test('from shares to an auto seal, to another, and back to shares: the same shares, the same root key', async () => {
    const first = cluster()
    const { keys } = await first.seal.init({ ...asked, secretShares: 3, secretThreshold: 2 }, first.populate)
    first.seal.close()
    const replica = first.fake.node(0)
    const restart = (autoSeal?: AutoSeal, retiredSeal?: AutoSeal) => {
      const barrier = createBarrier({ replica, clock: first.clock, random: systemRandom, log: silentLogger })
      const seal = createSealManager({
        barrier,
        replica,
        random: systemRandom,
        log: silentLogger,
        ...(autoSeal ? { autoSeal } : {}),
        ...(retiredSeal ? { retiredSeal } : {}),
      })
      return { barrier, seal }
    }
    const migrate = async ({ seal, barrier }: ReturnType<typeof restart>, from: string, to: string): Promise<void> => {
      expect(seal.status()).toMatchObject({ type: from, sealed: true, migration: true, t: 2, n: 3 })
      expect(seal.wantsToOpen).toBe(false)
      await expect(unseal(seal, hex(keys[0]))).rejects.toThrow('migrate option not provided and seal migration is pending')
      await seal.unseal({ key: hex(keys[0]), reset: false, migrate: true })
      expect(await seal.unseal({ key: hex(keys[2]), reset: false, migrate: true })).toMatchObject({
        type: to,
        sealed: false,
        migration: false,
      })
      expect(await barrier.read(linear, async (view) => (await view.get(kv, 'root-token')) !== null)).toBe(true)
      seal.close()
    }
    const [one, two] = [staticSeal('k1', 1, undefined, 'one'), staticSeal('k2', 2, undefined, 'two')]
    await migrate(restart(one), 'shamir', 'one')
    const opened = restart(one)
    expect(await opened.seal.autoUnseal()).toBe(true)
    await expect(opened.seal.unseal({ key: hex(keys[0]), reset: false, migrate: true })).resolves.toMatchObject({ sealed: false })
    opened.seal.close()
    expect(restart(one).seal.status()).toMatchObject({ type: 'one', migration: false, recoverySeal: true })
    await expect(restart(two).seal.autoUnseal()).rejects.toThrow(/seal expected one, got two/)
    await migrate(restart(two, one), 'one', 'two')
    await migrate(restart(undefined, two), 'two', 'shamir')
    const back = restart()
    expect(back.seal.status()).toMatchObject({ type: 'shamir', migration: false, recoverySeal: false, t: 2, n: 3 })
    await expect(back.seal.unseal({ key: hex(keys[0]), reset: false, migrate: true })).rejects.toThrow(/no migration seal found/)
    await unseal(back.seal, hex(keys[1]))
    expect(await unseal(back.seal, hex(keys[2]))).toMatchObject({ sealed: false })
  })

  test('a follower that migrates waits until it leads; one that finds it done forgets it', async () => {
    const { at, fake, clock, populate } = cluster(2)
    const { keys } = await at(0).seal.init({ ...asked, secretShares: 1, secretThreshold: 1 }, populate)
    await unseal(at(0).seal, hex(keys[0]))
    const replica = fake.node(1)
    await replica.appliedUpTo(fake.log.length)
    const barrier = createBarrier({ replica, clock, random: systemRandom, log: silentLogger })
    const seal = createSealManager({ barrier, replica, random: systemRandom, log: silentLogger, autoSeal: staticSeal('k1', 1) })
    expect(await seal.unseal({ key: hex(keys[0]), reset: false, migrate: true })).toMatchObject({
      type: 'shamir',
      sealed: false,
      migration: true,
    })
    fake.elect('node-2')
    await replica.appliedUpTo(fake.log.length)
    await seal.settleMigration()
    expect(seal.status()).toMatchObject({ type: 'static', sealed: false, migration: false })
  })

  test('a seal that wraps but does not unwrap is found out before the one of before is given up', async () => {
    const first = cluster()
    const { keys } = await first.seal.init({ ...asked, secretShares: 1, secretThreshold: 1 }, first.populate)
    first.seal.close()
    const replica = first.fake.node(0)
    const whole = createStaticSeal({ current: { id: 'k1', key: new SecretBytes(new Uint8Array(32)) }, random: systemRandom })
    for (const unwrap of [
      () => Promise.reject(new SealFault('credentials', 'planted: may not decrypt')),
      async () => new Uint8Array(32).fill(1),
    ]) {
      const barrier = createBarrier({ replica, clock: first.clock, random: systemRandom, log: silentLogger })
      const autoSeal = guardSeal({ ...whole, unwrap }, { clock: systemClock, random: systemRandom })
      const seal = createSealManager({ barrier, replica, random: systemRandom, log: silentLogger, autoSeal })
      await expect(seal.unseal({ key: hex(keys[0]), reset: false, migrate: true })).rejects.toThrow(
        /may not decrypt|expected back what it wrapped/,
      )
      expect(seal.status()).toMatchObject({ type: 'shamir', sealed: true, migration: true, progress: 0 })
      seal.close()
    }
  })

  test('a migration that the root key has moved on from is given up, not written over it', async () => {
    const { at, fake, clock, populate } = cluster(2)
    const { keys } = await at(0).seal.init({ ...asked, secretShares: 1, secretThreshold: 1 }, populate)
    await unseal(at(0).seal, hex(keys[0]))
    const replica = fake.node(1)
    await replica.appliedUpTo(fake.log.length)
    const barrier = createBarrier({ replica, clock, random: systemRandom, log: silentLogger })
    const seal = createSealManager({ barrier, replica, random: systemRandom, log: silentLogger, autoSeal: staticSeal('k1', 1) })
    await seal.unseal({ key: hex(keys[0]), reset: false, migrate: true })
    const moved = new Uint8Array(61).fill(9)
    await at(0).barrier.writeBare({ 'core/root-key': moved })
    fake.elect('node-2')
    await replica.appliedUpTo(fake.log.length)
    await seal.settleMigration()
    expect(seal.status()).toMatchObject({ type: 'shamir', migration: false })
    expect(seal.records()?.rootKey).toEqual(moved)
  })

  test('a node joins by the seal of before while the cluster is about to change over', async () => {
    const home = cluster(1, staticSeal('k1', 1, undefined, 'one'))
    await home.seal.init(withRecovery, home.populate)
    const records = home.seal.records()
    if (records === null) throw new Error('records expected')
    const joiner = cluster(1, staticSeal('k2', 2, undefined, 'two'))
    await expect(joiner.seal.openForJoin(records)).rejects.toThrow(/seal expected one, got two/)
    const replica = joiner.fake.node(0)
    const barrier = createBarrier({ replica, clock: joiner.clock, random: systemRandom, log: silentLogger })
    const seals = { autoSeal: staticSeal('k2', 2, undefined, 'two'), retiredSeal: staticSeal('k1', 1, undefined, 'one') }
    const seal = createSealManager({ barrier, replica, random: systemRandom, log: silentLogger, ...seals })
    expect((await seal.openForJoin(records)).length).toBe(32)
  })

  test('another key does not open it, the previous one does', async () => {
    const wrapped = await staticSeal('k1', 1).wrap(new Uint8Array(32).fill(5), 'p')
    expect(await staticSeal('k2', 2, ['k1', 1]).unwrap(wrapped, 'p')).toEqual(new Uint8Array(32).fill(5))
    for (const [seal, place] of [
      [staticSeal('k2', 2), 'p'],
      [staticSeal('k1', 2), 'p'],
      [staticSeal('k1', 1), 'elsewhere'],
    ] as const)
      await expect(seal.unwrap(wrapped, place)).rejects.toMatchObject({ code: 'ERR_DECRYPT' })
    expect(() => createStaticSeal({ current: { id: '', key: new SecretBytes(new Uint8Array(32)) }, random: systemRandom })).toThrow(
      /id of 1 to 255/,
    )
  })

  test('a seal that can not wrap leaves nothing behind', async () => {
    const whole = createStaticSeal({ current: { id: 'k1', key: new SecretBytes(new Uint8Array(32)) }, random: systemRandom })
    const wrap = async () => Promise.reject(new HoldfastError('ERR_UPSTREAM', 'planted'))
    const failing = guardSeal({ ...whole, wrap }, { clock: systemClock, random: systemRandom })
    const { seal, populate, fake } = cluster(1, failing)
    await expect(seal.init(asked, populate)).rejects.toMatchObject({ code: 'ERR_UPSTREAM' })
    expect([seal.status().initialized, fake.log.length]).toEqual([false, 0])
  })

  test('shares are not asked of a cluster with an auto seal, nor the other way round', async () => {
    const { seal, populate } = cluster()
    expect(await seal.autoUnseal()).toBe(false)
    await seal.init(asked, populate)
    expect(await seal.autoUnseal()).toBe(false)
  })
})
