import { beforeEach, describe, expect, test } from 'vitest'
import { lockoutDefaults, UserLockout, type LockoutSubject } from '#core/lockout.ts'
import { newMount } from '#core/mounts.ts'
import { systemRandom } from '#base/random.ts'
import { MemoryBarrier } from '#test/support/memory-barrier.ts'

const mount = newMount(systemRandom, { path: 'userpass/', table: 'auth', type: 'userpass' })
const denied = { code: 'ERR_PERMISSION_DENIED', message: 'permission denied' }
let barrier: MemoryBarrier
let lockout: UserLockout
let term: number
beforeEach(() => {
  barrier = new MemoryBarrier()
  term = 1
  lockout = new UserLockout({ term: () => term })
})

const subject = (name = 'alice', on = lockout): LockoutSubject => on.subject(mount, name)!
const check = (name = 'alice', on = lockout) => barrier.read({ kind: 'linearizable' }, (view) => on.check(view, subject(name, on)))
/** As the core does it: the lock is laid down by the try that locks. */
async function fail(name = 'alice', nowMs = 1_000): Promise<boolean> {
  const locks = lockout.failed(subject(name), nowMs)
  if (locks) await barrier.transact((transaction) => lockout.lock(transaction, subject(name)))
  return locks
}
const listed = () => barrier.read({ kind: 'linearizable' }, (view) => lockout.list(view, 'root', null, 100))
/** All steps of one pass. */
async function sweep(accessors = [mount.accessor]): Promise<number> {
  let steps = 0
  for (let at: string | null = ''; at !== null && steps < 100; steps += 1) {
    const from: string = at
    at = await barrier.transact((transaction) => lockout.sweep(transaction, 'root', new Set(accessors), from))
  }
  return steps
}

describe('a lock', () => {
  test('is held by leaders to come, who know nothing of the tries', async () => {
    for (let n = 0; n < 4; n += 1) expect(await fail('alice', barrier.nowMs)).toBe(false)
    expect(await fail('alice', barrier.nowMs)).toBe(true)
    const next = new UserLockout({ term: () => 2 })
    await expect(check('alice', next)).rejects.toMatchObject(denied)
    await expect(check('bob', next)).resolves.toBeUndefined()
    barrier.nowMs += 901_000
    await expect(check('alice', next)).resolves.toBeUndefined()
  })

  test('holds at once, before it is laid down', () => {
    for (let n = 0; n < 5; n += 1) lockout.failed(subject(), 1_000)
    expect(() => lockout.checkMemory(subject(), 1_000)).toThrow(/permission denied/)
    expect(() => lockout.failed(subject(), 1_000)).toThrow(/permission denied/)
  })

  test('is not remembered in memory over a change of leader: another may have unlocked it', async () => {
    for (let n = 0; n < 5; n += 1) await fail('alice', barrier.nowMs)
    const other = new UserLockout({ term: () => 2 })
    await barrier.transact((transaction) => other.unlock(transaction, mount, 'alice'))
    term = 3
    await expect(check()).resolves.toBeUndefined()
  })

  test('is listed until it has ended, and swept then', async () => {
    for (const name of ['b', 'a/odd name', 'ü']) for (let n = 0; n < 5; n += 1) await fail(name, barrier.nowMs)
    expect(await listed()).toEqual([{ mountAccessor: mount.accessor, names: ['a/odd name', 'b', 'ü'] }])
    await sweep()
    expect(barrier.state.size).toBe(4) // Three locks and their count.
    barrier.nowMs += 901_000
    expect(await listed()).toEqual([])
    await sweep()
    expect(barrier.state.size).toBe(1)
  })

  test('that goes on keeps none behind it from being swept, however many there are', async () => {
    const lockAt = (on: typeof mount, name: string, seconds: number) =>
      barrier.transact((transaction) =>
        lockout.lock(transaction, { mount: on, name, settings: { ...lockoutDefaults, durationSeconds: seconds } }),
      )
    const [first, second] = [
      { ...mount, accessor: 'auth_userpass_a' },
      { ...mount, accessor: 'auth_userpass_b' },
    ]
    for (let n = 0; n < 1_100; n += 1) await lockAt(first, `long-${n}`, 86_400)
    for (const name of ['x', 'y']) await lockAt(second, name, 60)
    barrier.nowMs += 61_000
    expect(await sweep([first.accessor, second.accessor])).toBe(3)
    expect(barrier.state.size).toBe(1_101) // Those that go on, and their count.
  })

  test('keeps little of a name that is longer than any: who sends such fills no disks', async () => {
    const long = 'n'.repeat(200_000)
    for (let n = 0; n < 5; n += 1) await fail(long, barrier.nowMs)
    await expect(check(long)).rejects.toMatchObject(denied)
    await expect(check(`${long}n`)).resolves.toBeUndefined()
    await expect(check(long, new UserLockout({ term: () => 2 }))).rejects.toMatchObject(denied)
    const bytes = [...barrier.state.values()].reduce((sum, value) => sum + value.length, 0)
    expect(bytes).toBeLessThan(2_000)
    const [shown = ''] = (await listed())[0]?.names ?? []
    expect(shown).toMatch(/^n{512}\.{3}[\w-]{43}$/)
    // By what the list shows, which is all that an operator has.
    await barrier.transact((transaction) => lockout.unlock(transaction, mount, shown))
    expect(await listed()).toEqual([])
    await expect(check(long)).resolves.toBeUndefined()
  })

  test('of a mount that is gone is swept', async () => {
    for (let n = 0; n < 5; n += 1) await fail('alice', barrier.nowMs)
    await sweep([])
    expect(await listed()).toEqual([])
  })
})

describe('memory', () => {
  test('is bounded, and forgets who was tried longest ago', () => {
    lockout.failed(subject('victim'), 0)
    for (let n = 0; n < 70_000; n += 1) lockout.failed(subject(`nobody-${n}`), 0)
    expect(lockout.names).toBe(65_536)
  })

  test('of one mount is not to be had by flooding another, where a try costs nothing', () => {
    const cheap = newMount(systemRandom, { path: 'approle/', table: 'auth', type: 'approle' })
    for (let n = 0; n < 4; n += 1) expect(lockout.failed(subject('victim'), 0)).toBe(false)
    for (let n = 0; n < 70_000; n += 1) lockout.failed(lockout.subject(cheap, `nobody-${n}`)!, 0)
    expect(lockout.failed(subject('victim'), 0)).toBe(true)
    expect(lockout.names).toBeLessThanOrEqual(65_536)
  })
})

describe('settings', () => {
  test('are the tuning of the mount over the configuration', () => {
    const settingsFor = () => ({ ...lockoutDefaults, threshold: 9, durationSeconds: 60 })
    const configured = new UserLockout({ term: () => 1, settingsFor })
    const tuned = { ...mount, config: { ...mount.config, user_lockout_config: { lockout_threshold: 2 } } }
    expect(configured.settings(tuned)).toEqual({ disabled: false, threshold: 2, durationSeconds: 60, counterResetSeconds: 900 })
    expect(configured.settings(mount).threshold).toBe(9)
    const off = { ...mount, config: { ...mount.config, user_lockout_config: { lockout_disable: true } } }
    expect(configured.subject(off, 'alice')).toBeNull()
    expect(configured.subject(mount, null)).toBeNull()
  })
})
