/**
 * Lease reads rest on a declared bound of clock drift. Within it nothing stale is served; beyond it something is, and the checker of histories says so:
 * what guards the one would notice the other.
 */
import { expect, test } from 'vitest'
import { tickTime, type Plan } from '#test/sim/cluster/draw.ts'
import { OracleError } from '#test/sim/cluster/oracle.ts'
import { World } from '#test/sim/cluster/world.ts'

const declaredDrift = 0.3
const seedsMax = 20
const electionTicks = 10

/** Three voters without any other fault, and clients in a hurry. */
function calmly(plan: Plan, leaseReads: boolean): Plan {
  const none = Object.fromEntries(Object.keys(plan.chances).map((kind) => [kind, 0]))
  return {
    ...plan,
    voters: 3,
    grows: false,
    rolling: false,
    mixedSettings: false,
    damage: 0,
    thinkTime: [2_000, 10_000],
    latency: [50, 2_000],
    diskLatency: [10, 500],
    settings: {
      tickMs: tickTime / 1_000,
      electionTicks,
      heartbeatTicks: 1,
      outcomeWaitMs: 50,
      leaseReads,
      clockDriftMax: declaredDrift,
    },
    requestMs: 100,
    chances: { ...plan.chances, ...none },
  }
}

interface Run {
  readonly verdict: string | null
  readonly byLease: number
}

/** Again and again the leader is cut off for a few election timeouts. Its clock goes by `slow`, the others' by `fast`. */
async function cutLeaders(seed: number, slow: number, fast: number, leaseReads = true): Promise<Run> {
  const world = new World(seed, false, (plan) => calmly(plan, leaseReads))
  const pass = async (elections: number): Promise<void> => {
    await world.scheduler.runUntil(world.scheduler.now + elections * electionTicks * tickTime)
    world.checkFailed()
  }
  let verdict: string | null = null
  try {
    await world.found()
    await world.breakThings(4 * electionTicks)
    for (let cuts = 0; cuts < 6; cuts += 1) {
      const leader = world.oracle.leader?.id ?? ''
      for (const node of world.nodes.values()) node.setClock(node.id === leader ? slow : fast, node.wallOffsetMs)
      await pass(1)
      for (const other of world.nodes.keys()) {
        if (other === leader) continue
        world.network.cut(leader, other)
        world.network.cut(other, leader)
      }
      await pass(3)
      world.network.heal()
      await pass(3)
    }
    world.judge()
  } catch (error) {
    if (!(error instanceof OracleError)) throw error
    verdict = error.message
  } finally {
    world.end()
  }
  return { verdict, byLease: world.faults['read-by-lease'] ?? 0 }
}

const widest = Math.sqrt(1 + declaredDrift) - 0.001

test('clocks at the edge of the declared drift: leases serve most reads, and none is stale', async () => {
  let byLease = 0
  for (let seed = 1; seed <= 4; seed += 1) {
    const run = await cutLeaders(seed, 1 / widest, widest)
    expect(run.verdict).toBeNull()
    byLease += run.byLease
  }
  expect(byLease).toBeGreaterThan(100)
})

test('clocks beyond it: within a few seeds a stale read is served, and the checker finds it', async () => {
  for (let seed = 1; seed <= seedsMax; seed += 1) {
    const { verdict } = await cutLeaders(seed, 0.2, 2)
    if (verdict === null) continue
    expect(verdict).toMatch(/^linearizability: violation/)
    // It is the lease: the same clocks harm nothing where every read takes a round.
    expect((await cutLeaders(seed, 0.2, 2, false)).verdict).toBeNull()
    return
  }
  expect.fail(`expected a violation in ${seedsMax} seeds, got none`)
})
