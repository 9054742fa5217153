import { createBarrier } from '#barrier/barrier.ts'
import type { BarrierOptions } from '#barrier/barrier.ts'
import type { BarrierControl } from '#barrier/types.ts'
import type { Clock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { FakeCluster } from './fake-replica.ts'

/** A clock that stands still until the test moves it; timers never fire by themselves. */
export function standingClock(startMs = 1_700_000_000_000): Clock & { advance(ms: number): void } {
  let nowMs = startMs
  let monotonicMs = 0
  const timers: { atMs: number; fire: (() => void) | null }[] = []
  return {
    nowMs: () => nowMs,
    monotonicMs: () => monotonicMs,
    setTimer(delayMs, fire) {
      const timer = { atMs: monotonicMs + delayMs, fire: fire as (() => void) | null }
      timers.push(timer)
      return { cancel: () => (timer.fire = null) }
    },
    advance(ms) {
      nowMs += ms
      monotonicMs += Math.max(0, ms) // Back goes only the wall clock.
      for (const timer of timers.splice(0)) {
        if (timer.fire === null) continue
        if (timer.atMs <= monotonicMs) timer.fire()
        else timers.push(timer)
      }
    },
  }
}

export const testRootKey = (): SecretBytes => new SecretBytes(new Uint8Array(32).fill(7))

/** One barrier a node over a fake cluster, initialised and open everywhere, the first node leading. */
export async function openBarriers(nodes = 1, options: Partial<BarrierOptions> = {}, rootKey: () => SecretBytes = testRootKey) {
  const clock = standingClock()
  const ids = Array.from({ length: nodes }, (_, i) => `node-${i + 1}`)
  const cluster = new FakeCluster({ ids, nowMs: () => clock.nowMs() })
  const barriers: BarrierControl[] = cluster.nodes.map((replica) =>
    createBarrier({ replica, clock, random: systemRandom, log: silentLogger, ...options }),
  )
  await barriers[0]?.initialize(rootKey(), { 'core/seal-config': Buffer.from('{}') })
  for (const [i, barrier] of barriers.entries()) {
    if (i === 0) continue
    await cluster.node(i).appliedUpTo(cluster.log.length)
    barrier.open(rootKey())
  }
  const at = (position: number): BarrierControl => {
    const barrier = barriers[position]
    if (barrier === undefined) throw new Error(`barrier expected at ${position}`)
    return barrier
  }
  return { clock, cluster, barriers, at, barrier: at(0), replica: cluster.node(0) }
}
