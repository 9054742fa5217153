import { describe, expect, test, vi } from 'vitest'
import type { Clock, Timer } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { Client } from '#client/client.ts'
import { TokenKeeper, type KeeperEvent, type KeeperOptions } from '#client/token-keeper.ts'
import { StubServer, type Asked, type Reply } from '#test/support/stub-server.ts'

/** Time that moves when it is told to; timers fire in their order. */
class HandClock implements Clock {
  #nowMs = 1_000
  #timers = new Map<Timer, { dueMs: number; fire: () => void }>()
  nowMs = (): number => this.#nowMs
  monotonicMs = (): number => this.#nowMs
  setTimer(delayMs: number, fire: () => void): Timer {
    const timer: Timer = { cancel: () => void this.#timers.delete(timer) }
    this.#timers.set(timer, { dueMs: this.#nowMs + delayMs, fire })
    return timer
  }
  get pending(): number {
    return this.#timers.size
  }
  advance(ms: number): void {
    this.#nowMs += ms
    for (const [timer, { dueMs, fire }] of this.#timers) {
      if (dueMs > this.#nowMs) continue
      this.#timers.delete(timer)
      fire()
    }
  }
}

const lookup = (ttl: number, renewable = true): Reply => ({ json: { data: { ttl, renewable } } })
const token = (name: string, seconds: number, renewable = true): Reply => ({
  json: { auth: { client_token: name, lease_duration: seconds, renewable } },
})
const denied: Reply = { status: 403, json: { errors: ['permission denied'] } }

async function kept(
  reply: (asked: Asked, count: number) => Reply,
  options: KeeperOptions,
  work: (at: { keeper: TokenKeeper; clock: HandClock; events: KeeperEvent[]; stub: StubServer }) => Promise<void>,
): Promise<void> {
  await using stub = await StubServer.start(reply)
  const clock = new HandClock()
  const events: KeeperEvent[] = []
  await using client = new Client({ addresses: [stub.address], token: 's.own', retriesMax: 0 }, { clock, random: systemRandom })
  using keeper = await TokenKeeper.start(client, { onEvent: (event) => void events.push(event), ...options })
  await work({ keeper, clock, events, stub })
}

describe('a token of its own', () => {
  test('is renewed when two thirds of its life are over, not before, and again', async () => {
    const renewals = (asked: readonly Asked[]): number => asked.filter(({ path }) => path === 'auth/token/renew-self').length
    await kept(
      ({ path }) => (path.endsWith('lookup-self') ? lookup(600) : token('s.own', 600)),
      { incrementSeconds: 600 },
      async ({ clock, events, stub }) => {
        // The jitter makes it up to a tenth earlier.
        await vi.waitFor(() => expect(clock.pending).toBe(1))
        clock.advance(330_000)
        await new Promise((resolve) => setTimeout(resolve, 50))
        expect(renewals(stub.asked)).toBe(0)
        clock.advance(71_000)
        await vi.waitFor(() => expect(events).toEqual([{ kind: 'renewed', ttlSeconds: 600 }]))
        expect(stub.last.body).toEqual({ increment: '600s' })
        await vi.waitFor(() => expect(clock.pending).toBe(1))
        clock.advance(401_000)
        await vi.waitFor(() => expect(renewals(stub.asked)).toBe(2))
      },
    )
  })

  test('that does not end is left alone', async () => {
    await kept(
      () => lookup(0),
      {},
      async ({ clock, stub, keeper }) => {
        await new Promise((resolve) => setTimeout(resolve, 20))
        expect([clock.pending, stub.asked.length, keeper.token]).toEqual([0, 1, 's.own'])
      },
    )
  })

  test('that was revoked ends the keeping, and says so', async () => {
    await kept(
      ({ path }) => (path.endsWith('lookup-self') ? lookup(60) : denied),
      {},
      async ({ clock, events }) => {
        await vi.waitFor(() => expect(clock.pending).toBe(1))
        clock.advance(41_000)
        await vi.waitFor(() => expect(events).toMatchObject([{ kind: 'ended', error: { status: 403 } }]))
        expect(clock.pending).toBe(0)
      },
    )
  })

  test('is tried again while the cluster has no leader', async () => {
    let broken = true
    const replies = ({ path }: Asked): Reply => {
      if (path.endsWith('lookup-self')) return lookup(600)
      return broken ? { status: 500, json: { errors: ['no leader'] } } : token('s.own', 600)
    }
    await kept(replies, {}, async ({ clock, events }) => {
      await vi.waitFor(() => expect(clock.pending).toBe(1))
      clock.advance(401_000)
      await vi.waitFor(() => expect(events).toMatchObject([{ kind: 'trouble' }]))
      broken = false
      await vi.waitFor(() => expect(clock.pending).toBe(1))
      clock.advance(31_000)
      await vi.waitFor(() => expect(events.at(-1)).toEqual({ kind: 'renewed', ttlSeconds: 600 }))
    })
  })

  test('that is not there is an error at once', async () => {
    await expect(
      kept(
        () => denied,
        {},
        async () => {},
      ),
    ).rejects.toMatchObject({ status: 403 })
  })
})

describe('with a login', () => {
  const login = (client: Client) => client.write('auth/approle/login', { role_id: 'r' })
  test('logs in without the old token, and in anew where renewing adds nothing', async () => {
    let logins = 0
    const replies = ({ path }: Asked): Reply => {
      if (path.endsWith('approle/login')) return token(`s.${++logins}`, 600)
      // At its maximal life: 200 seconds are left, and no more are given.
      return path.endsWith('renew-self') ? token('s.1', 199) : { json: { data: {} } }
    }
    await kept(replies, { login }, async ({ keeper, clock, events, stub }) => {
      expect([keeper.token, stub.asked[0]?.headers['x-vault-token']]).toEqual(['s.1', undefined])
      await vi.waitFor(() => expect(clock.pending).toBe(1))
      clock.advance(401_000)
      await vi.waitFor(() => expect(events).toEqual([{ kind: 'login', ttlSeconds: 600 }]))
      await keeper.client.read('a')
      expect([keeper.token, stub.last.headers['x-vault-token']]).toEqual(['s.2', 's.2'])
    })
  })

  test('a token that was revoked is replaced', async () => {
    let logins = 0
    const replies = ({ path }: Asked): Reply => (path.endsWith('approle/login') ? token(`s.${++logins}`, 600) : denied)
    await kept(replies, { login }, async ({ keeper, clock }) => {
      await vi.waitFor(() => expect(clock.pending).toBe(1))
      clock.advance(401_000)
      await vi.waitFor(() => expect(keeper.token).toBe('s.2'))
    })
  })

  test('stopping it sets no timer any more', async () => {
    await kept(
      () => token('s.1', 600),
      { login },
      async ({ keeper, clock }) => {
        await vi.waitFor(() => expect(clock.pending).toBe(1))
        keeper.stop()
        expect(clock.pending).toBe(0)
      },
    )
  })
})
