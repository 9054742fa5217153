/** What the driver owes the core's leases: the time of now, and a doubt where the machine slept. */
import { afterEach, describe, expect, test } from 'vitest'
import { systemClock, type Clock } from '#base/clock.ts'
import { settingsFrom } from '#replica/options.ts'
import { SleepWatch } from '#replica/sleepwatch.ts'
import type { StartedReplica } from '#replica/index.ts'
import { read, TestCluster, write } from './cluster.ts'

/** Real time, and leaps on top of it. */
class LeapClock implements Clock {
  monotonicLeapMs = 0
  wallLeapMs = 0
  nowMs = (): number => systemClock.nowMs() + this.wallLeapMs
  monotonicMs = (): number => systemClock.monotonicMs() + this.monotonicLeapMs
  setTimer = systemClock.setTimer.bind(systemClock)
}

describe('a leader with lease reads', () => {
  let cluster: TestCluster | null = null
  afterEach(async () => {
    await cluster?.end()
  })

  async function lead(clock: Clock): Promise<StartedReplica> {
    cluster = new TestCluster({ leaseReads: true, tickMs: 50 })
    const first = await cluster.start('a', true, { clock })
    await cluster.ready(first)
    for (const id of ['b', 'c']) {
      await cluster.start(id)
      await first.addMember(cluster.member(id))
      await expect.poll(() => cluster?.voters(first), { timeout: 5_000, interval: 10 }).toContain(id)
    }
    await write(first, { color: 'blue' })
    await expect
      .poll(
        async () => {
          const before = first.status().readsConfirmed.byLease
          await read(first, 'color')
          return first.status().readsConfirmed.byLease > before
        },
        { timeout: 5_000, interval: 20 },
      )
      .toBe(true)
    return first
  }

  /** What a read at the leader did, and at a follower. */
  async function confirmed(leader: StartedReplica, reader = leader): Promise<'by lease' | 'by round'> {
    const before = leader.status().readsConfirmed
    expect(await read(reader, 'color')).toBe('blue')
    const after = leader.status().readsConfirmed
    expect(after.byLease + after.byRound).toBe(before.byLease + before.byRound + 1)
    return after.byLease > before.byLease ? 'by lease' : 'by round'
  }

  test('answers its own reads and those of followers without a round', async () => {
    const leader = await lead(systemClock)
    await expect.poll(() => confirmed(leader), { timeout: 5_000 }).toBe('by lease')
    const follower = cluster?.node('b') ?? leader
    await expect.poll(() => confirmed(leader, follower), { timeout: 5_000 }).toBe('by lease')
  })

  test('reads its clock after a read came: one that comes after a stall finds the lease over', async () => {
    const clock = new LeapClock()
    const leader = await lead(clock)
    // Nothing of this process ran meanwhile, no tick either: as after a stall, or a pause of the whole process.
    clock.monotonicLeapMs += 60_000
    clock.wallLeapMs += 60_000
    expect(await confirmed(leader)).toBe('by round')
  })

  test('trusts no lease where only the wall clock went on: the machine was suspended', async () => {
    const clock = new LeapClock()
    const leader = await lead(clock)
    clock.wallLeapMs += 60_000
    expect(await confirmed(leader)).toBe('by round')
  })
})

describe('the sleep watch', () => {
  function watch(): { clock: { wall: number; monotonic: number }; slept: () => boolean } {
    const clock = { wall: 1_000_000, monotonic: 5 }
    const sleepWatch = new SleepWatch({ ...systemClock, nowMs: () => clock.wall, monotonicMs: () => clock.monotonic }, 50)
    return { clock, slept: () => sleepWatch.slept() }
  }

  test('notices when the wall clock runs ahead, once', () => {
    const { clock, slept } = watch()
    clock.wall += 1_000
    clock.monotonic += 900
    expect([slept(), slept()]).toEqual([true, false])
  })

  test('small gains add up', () => {
    const { clock, slept } = watch()
    const noticed = Array.from({ length: 12 }, () => {
      clock.wall += 10
      return slept()
    })
    expect(noticed.indexOf(true)).toBe(5)
    expect(noticed.filter(Boolean)).toHaveLength(2)
  })

  test('a clock that is set back is no sleep, and hides none that follows', () => {
    const { clock, slept } = watch()
    clock.wall -= 10_000
    expect(slept()).toBe(false)
    clock.wall += 51
    expect(slept()).toBe(true)
  })
})

test('settings that make no lease are refused', () => {
  expect(settingsFrom({}).leaseReads).toBe(false)
  expect(() => settingsFrom({ leaseReads: true, checkQuorum: false })).toThrow('it needs checkQuorum')
  expect(() => settingsFrom({ clockDriftMax: -1 })).toThrow('must last longer than a heartbeat')
  expect(() => settingsFrom({ leaseReads: true, clockDriftMax: 4 })).toThrow('must last longer than a heartbeat')
})
