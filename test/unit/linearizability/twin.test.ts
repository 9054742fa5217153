import { expect, test } from 'vitest'
import { Prng } from '#test/sim/prng.ts'
import { checkHistory, describeResult } from '#test/support/linearizability/checker.ts'
import type { HistoryResult } from '#test/support/linearizability/checker.ts'
import { generateHistory, mutate } from '#test/support/linearizability/generate.ts'
import { byKey } from '#test/support/linearizability/history.ts'
import type { Operation } from '#test/support/linearizability/history.ts'
import { apply, empty } from '#test/support/linearizability/model.ts'
import { isLinearizableSlowly } from '#test/support/linearizability/twin.ts'

const budget = { stepsMax: 100_000 }

/** Few clients, keys, versions and values: coincidences are where bugs live. */
function smallHistory(random: Prng): Operation[] {
  return generateHistory(random, {
    clients: random.between(1, 5),
    operations: random.between(1, 8),
    keys: random.between(1, 2),
    values: random.below(3),
    unknown: random.pick([0, 0.3, 0.6]),
    tie: random.pick([0, 0.3]),
  })
}

/** The order that the checker shows must be one: in real time, with fitting answers, and of everything if it says so. */
function expectSoundOrders(history: readonly Operation[], { keys }: HistoryResult): void {
  const parts = byKey(history)
  expect(keys.map(({ key }) => key)).toEqual([...parts.keys()])
  for (const { key, outcome, order, blocked } of keys) {
    const placed = new Set(order)
    expect(placed.size).toBe(order.length)
    let state = empty
    for (const [i, operation] of order.entries()) {
      state = apply(state, operation) ?? expect.fail(`operation ${operation.id} does not fit`)
      for (const later of order.slice(i)) expect((later.returnAt ?? Infinity) >= operation.callAt).toBe(true)
    }
    const missing = (parts.get(key) ?? []).filter((operation) => !placed.has(operation) && operation.returnAt !== null)
    expect(missing.length === 0).toBe(outcome === 'linearizable')
    if (missing.length > 0) expect(missing).toContain(blocked)
    expect(blocked?.returnAt ?? Infinity).toBe(Math.min(...missing.map(({ returnAt }) => returnAt as number)))
    for (const left of missing) for (const operation of order) expect((left.returnAt as number) >= operation.callAt).toBe(true)
  }
}

function agree(seed: number, history: readonly Operation[]): boolean {
  const result = checkHistory(history, budget)
  const slow = isLinearizableSlowly(history)
  expect(result.outcome, `seed ${seed}: ${describeResult(result)} in ${JSON.stringify(history)}`).toBe(slow ? 'linearizable' : 'violation')
  expectSoundOrders(history, result)
  return slow
}

test('the checker agrees with its exhaustive twin on 10,000 small histories', () => {
  const verdicts = { linearizable: 0, violation: 0 }
  for (let seed = 0; seed < 5_000; seed += 1) {
    const random = new Prng(seed)
    // Shuffled: a recorder may write operations down as they return.
    const history = random.shuffled(smallHistory(random))
    expect(agree(seed, history), `seed ${seed}: linearizable by construction`).toBe(true)
    let changed = mutate(random, history)
    while (random.chance(0.4)) changed = mutate(random, changed)
    verdicts[agree(seed, changed) ? 'linearizable' : 'violation'] += 1
  }
  // A comparison in which one verdict hardly occurs would show nothing.
  expect(verdicts.linearizable).toBeGreaterThan(1_000)
  expect(verdicts.violation).toBeGreaterThan(1_000)
})
