/** The expirer by hand: what comes between its steps. */
import { HoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import type { Barrier, ReadView } from '#barrier/types.ts'
import { Expirer, expirerLimits, type ExpirerOptions } from '#leases/expirer.ts'
import type { SecretLease } from '#leases/records.ts'
import { openBarriers } from '#test/support/open-barrier.ts'
import { beforeEach, expect, test } from 'vitest'

type Opened = Awaited<ReturnType<typeof openBarriers>>
let opened: Opened
let warned: object[]
beforeEach(async () => {
  opened = await openBarriers(1)
  warned = []
})

function expirer(more: Partial<ExpirerOptions>): Expirer {
  return new Expirer({
    barrier: opened.at(0),
    clock: opened.clock,
    log: { ...silentLogger, warn: (fields) => void warned.push(fields) },
    leads: () => 1,
    namespaces: async () => ['root', 'team'],
    end: async () => [],
    revoke: async () => {},
    rest: async () => false,
    ...more,
  })
}

test('a nudge while other work is done is no failure, and all of it is looked at again', async () => {
  const asked: string[] = []
  const one: Expirer = expirer({
    rest: async (namespace) => {
      asked.push(namespace)
      if (asked.length === 1) one.nudge()
      return namespace === 'root' && asked.length === 1
    },
  })
  await one.pass()
  await one.pass()
  expect([asked, warned]).toEqual([['root', 'team', 'root', 'team'], []])
  await one.pass()
  expect(asked).toHaveLength(4)
})

test('other work that failed is tried with the next pass; in a sealed namespace it waits until somebody opens it', async () => {
  const asked: string[] = []
  let failing = true
  const one = expirer({
    rest: async (namespace) => {
      asked.push(namespace)
      if (failing && namespace === 'root') throw new HoldfastError('ERR_BUSY', 'busy')
      if (failing) throw new HoldfastError('ERR_NAMESPACE_SEALED', 'sealed')
      return false
    },
  })
  await one.pass()
  failing = false
  await one.pass()
  await one.pass()
  expect(asked).toEqual(['root', 'team', 'root'])
  one.nudge()
  await one.pass()
  expect(asked).toEqual(['root', 'team', 'root', 'root', 'team'])
})

test('what fails of a whole pass is said once, and once more when it had gone well between', async () => {
  let failing = true
  const one = expirer({
    barrier: {
      ...opened.at(0),
      read: (consistency: Parameters<Barrier['read']>[0], work: (view: ReadView) => Promise<unknown>) => {
        if (failing) return Promise.reject(new HoldfastError('ERR_STORE_FAILED', 'no disk'))
        return opened.at(0).read(consistency, work as never)
      },
    } as unknown as Barrier,
  })
  await one.pass()
  await one.pass()
  expect(warned).toHaveLength(1)
  failing = false
  await one.pass()
  failing = true
  one.nudge()
  await one.pass()
  expect(warned).toHaveLength(2)
})

const lease = (serial: number): SecretLease => ({
  kind: 'secret',
  id: `db/creds/x/key-of-${serial}`,
  namespaceId: 'root',
  mountUuid: 'db',
  type: 'user',
  internal: {},
  tokenHash: '',
  issueTimeMs: 0,
  expireTimeMs: 0,
  lastRenewalTimeMs: null,
  renewable: false,
  endTimeMs: 0,
})

test('once it is stopped nothing more is begun; what is being taken back goes on to its end', async () => {
  const begun: string[] = []
  const ends: (() => void)[] = []
  const leases = Array.from({ length: 20 }, (_, serial) => lease(serial))
  const one = expirer({
    end: async () => leases,
    revoke: ({ id }) =>
      new Promise((resolve) => {
        begun.push(id)
        ends.push(resolve)
      }),
  })
  await one.pass()
  one.committed([{ namespace: 'root', leaseId: 'db/creds/x/due', count: 1, due: { dueMs: opened.clock.nowMs(), key: 'due' } }])
  opened.clock.advance(200)
  await one.pass()
  expect(begun).toHaveLength(8)
  const stopped = one.stop()
  for (const end of ends.splice(0)) end()
  await stopped
  await one.idle()
  expect(begun).toHaveLength(8)
})

test('what is due at once is ended in transactions of a bounded size, two at a time, each once; one that fails holds up no other', async () => {
  const seen: string[] = []
  let [running, most, calls] = [0, 0, 0]
  const one = expirer({
    end: async (_namespace, dues) => {
      running += 1
      most = Math.max(most, running)
      calls += 1
      const fails = calls === 3
      await new Promise((resolve) => setImmediate(resolve))
      running -= 1
      if (fails) throw new HoldfastError('ERR_BUSY', 'busy')
      expect(dues.length).toBeLessThanOrEqual(expirerLimits.perTransaction)
      seen.push(...dues.map(({ key }) => key))
      return []
    },
  })
  await one.pass()
  const count = expirerLimits.perTransaction * 7 + 3
  const dueMs = opened.clock.nowMs()
  one.committed(
    Array.from({ length: count }, (_, i) => ({ namespace: 'root', leaseId: `x/${i}a`, count: 1, due: { dueMs, key: `${i}a` } })),
  )
  opened.clock.advance(200)
  await one.pass()
  expect([most, calls, warned.length]).toEqual([expirerLimits.transactionsMax, 8, 1])
  expect(seen).toHaveLength(count - expirerLimits.perTransaction)
  expect(new Set(seen).size).toBe(seen.length)
  expect(one.status()).toMatchObject({ pending: 0, ended: seen.length })
})

test('passes begin a tenth of a second apart; one that takes longer is followed almost at once, so that a backlog does not wait', async () => {
  const waits: number[] = []
  let nowMs = 0
  let takesMs = 30
  let fire = (): void => {}
  const one = expirer({
    clock: {
      nowMs: () => nowMs,
      monotonicMs: () => nowMs,
      setTimer: (ms, listener) => {
        waits.push(ms)
        fire = listener
        return { cancel: () => {} }
      },
    },
    leads: () => {
      nowMs += takesMs
      return null
    },
  })
  one.start()
  for (takesMs of [30, 350, 0]) {
    fire()
    await new Promise(setImmediate)
  }
  await one.stop()
  expect(waits).toEqual([100, 70, 10, 100])
})
