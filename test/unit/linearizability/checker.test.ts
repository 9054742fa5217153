import { expect, test } from 'vitest'
import { Prng } from '#test/sim/prng.ts'
import { checkHistory, describeResult, operationsPerKeyMax } from '#test/support/linearizability/checker.ts'
import type { HistoryResult } from '#test/support/linearizability/checker.ts'
import { generateHistory, violations } from '#test/support/linearizability/generate.ts'
import type { Call, Operation } from '#test/support/linearizability/history.ts'
import type { State } from '#test/support/linearizability/model.ts'

const budget = { stepsMax: 200_000 }

/** One operation of its own client, on key k. */
function operation(id: number, callAt: number, returnAt: number | null, call: Call): Operation {
  return { id, client: `c${id}`, key: 'k', callAt, returnAt, ...call }
}

const put = (value: string, version: number | null): Call => ({
  kind: 'put',
  input: { value },
  output: version === null ? null : { version },
})
const get = (version: number, value: string | null): Call => ({ kind: 'get', input: null, output: { version, value } })
const casDone = (expected: number, value: string): Call => ({
  kind: 'cas',
  input: { expected, value },
  output: { applied: true, version: expected + 1 },
})
const casRefused = (expected: number, version: number | null): Call => ({
  kind: 'cas',
  input: { expected, value: 'no' },
  output: { applied: false, version },
})
const casUnknown = (expected: number, value: string): Call => ({ kind: 'cas', input: { expected, value }, output: null })
const deleted: Call = { kind: 'delete', input: null, output: null }

function check(...history: Operation[]): HistoryResult {
  return checkHistory(history, budget)
}

test('a register may begin otherwise than empty', () => {
  const initial = (): State => ({ version: 7, value: 'old' })
  const history = [operation(0, 1, 2, get(7, 'old')), operation(1, 3, 4, put('a', 8)), operation(2, 5, 6, get(8, 'a'))]
  expect(checkHistory(history, { ...budget, initial }).outcome).toBe('linearizable')
  expect(check(...history).outcome).toBe('violation')
  expect(checkHistory([operation(0, 1, 2, get(0, null))], { ...budget, initial }).outcome).toBe('violation')
})

const violating: [name: string, blocked: number, history: Operation[]][] = [
  ['a stale read', 2, [operation(0, 1, 2, put('a', 1)), operation(1, 3, 4, put('b', 2)), operation(2, 5, 6, get(1, 'a'))]],
  ['a read of nothing after an acknowledged write', 1, [operation(0, 1, 2, put('a', 1)), operation(1, 3, 4, get(0, null))]],
  [
    'a lost update: two writes got one version',
    1,
    [operation(0, 1, 2, put('a', 1)), operation(1, 3, 4, put('b', 1)), operation(2, 5, 6, get(1, 'b'))],
  ],
  ['a lost update: two concurrent writes got one version', 0, [operation(0, 1, 4, put('a', 1)), operation(1, 2, 3, put('b', 1))]],
  ['a double apply, seen by the next write', 1, [operation(0, 1, 2, put('a', 1)), operation(1, 3, 4, put('b', 3))]],
  [
    'a double apply of a write of unknown outcome',
    2,
    [operation(0, 1, null, put('a', null)), operation(1, 2, 3, get(1, 'a')), operation(2, 4, 5, get(2, 'a'))],
  ],
  [
    'an acknowledgement before the effect',
    1,
    [operation(0, 1, 2, put('a', 1)), operation(1, 3, 4, get(0, null)), operation(2, 5, 6, get(1, 'a'))],
  ],
  [
    'acknowledgements of two writes exchanged',
    2,
    [operation(0, 1, 10, put('a', 2)), operation(1, 2, 9, put('b', 1)), operation(2, 3, 4, get(1, 'a'))],
  ],
  [
    'cas succeeding twice at one version',
    1,
    [operation(0, 1, 2, put('a', 1)), operation(1, 3, 6, casDone(1, 'b')), operation(2, 4, 5, casDone(1, 'c'))],
  ],
  ['cas refused although nobody else wrote', 1, [operation(0, 1, 2, put('a', 1)), operation(1, 3, 4, casRefused(1, null))]],
  ['a read of a value that nobody wrote', 0, [operation(0, 1, 2, get(1, 'x'))]],
  [
    'a value that is back after its delete',
    2,
    [operation(0, 1, 2, put('a', 1)), operation(1, 3, 4, deleted), operation(2, 5, 6, get(1, 'a'))],
  ],
  ['an unknown write seen before it was called', 0, [operation(0, 1, 2, get(1, 'a')), operation(1, 3, null, put('a', null))]],
]

test.each(violating)('%s is a violation, and it says which operation could not be placed', (_name, blocked, history) => {
  const result = check(...history)
  expect(result.outcome).toBe('violation')
  // Of two that contradict each other the one that returned first is placed, and the other one named.
  const key = result.keys[0]
  expect(key?.blocked?.id, describeResult(result)).toBe(blocked)
  expect(key?.order).not.toContain(key?.blocked)
  expect(key?.why).toMatch(/^the register is at v\d+ .+, but answered /)
})

const legal: [name: string, history: Operation[]][] = [
  ['an empty history', []],
  ['a read concurrent with a write sees the old value', [operation(0, 1, 4, put('a', 1)), operation(1, 2, 3, get(0, null))]],
  ['a read concurrent with a write sees the new value', [operation(0, 1, 4, put('a', 1)), operation(1, 2, 3, get(1, 'a'))]],
  ['a return and a call at one instant are concurrent', [operation(0, 1, 2, put('a', 1)), operation(1, 2, 3, get(0, null))]],
  ['an unknown write that never happened', [operation(0, 1, null, put('a', null)), operation(1, 2, 3, get(0, null))]],
  [
    'an unknown write that happened late',
    [operation(0, 1, null, put('a', null)), operation(1, 2, 3, get(0, null)), operation(2, 4, 5, get(1, 'a'))],
  ],
  ['an unknown write that nobody saw explains a version', [operation(0, 1, null, put('a', null)), operation(1, 2, 3, put('b', 2))]],
  ['an unknown cas that nobody saw explains a refusal', [operation(0, 1, null, casUnknown(0, 'a')), operation(1, 2, 3, casRefused(0, 1))]],
  ['an unknown delete', [operation(0, 1, 2, put('a', 1)), operation(1, 3, null, deleted), operation(2, 4, 5, get(1, null))]],
  ['a delete leaves the version', [operation(0, 1, 2, put('a', 1)), operation(1, 3, 4, deleted), operation(2, 5, 6, put('b', 2))]],
]

test.each(legal)('%s is linearizable', (_name, history) => {
  const result = check(...history)
  expect(describeResult(result)).toMatch(/^linearizable/)
})

test('a write kept for the version at which it was read is not spent on one that nobody read', () => {
  const history = [
    operation(0, 1, null, put('seen', null)),
    operation(1, 2, null, put('unseen', null)),
    operation(2, 3, 4, put('a', 2)),
    operation(3, 5, 6, get(3, 'seen')),
  ]
  const result = check(...history)
  expect(result.outcome).toBe('linearizable')
  expect(result.keys[0]?.order.map(({ id }) => id)).toEqual([1, 2, 0, 3])
})

test('of several partial orders the longest is shown', () => {
  // Tried first, the delete before put b leads to a dead end at operation 3; after it, it leads up to operation 4.
  const history = [
    operation(0, 1, 2, put('a', 1)),
    operation(1, 3, 9, deleted),
    operation(2, 4, 10, put('b', 2)),
    operation(3, 11, 12, get(2, null)),
    operation(4, 13, 14, get(7, 'x')),
  ]
  const result = check(...history)
  expect(result.keys[0]?.order.map(({ id }) => id)).toEqual([0, 2, 1, 3])
  expect(result.keys[0]?.blocked?.id).toBe(4)
})

test('keys are judged apart, and one violation makes the history one', () => {
  const good = operation(0, 1, 2, put('a', 1))
  const bad = { ...operation(1, 3, 4, get(5, 'x')), key: 'other' }
  const result = check(good, bad)
  expect(result.keys.map(({ key, outcome }) => [key, outcome])).toEqual([
    ['k', 'linearizable'],
    ['other', 'violation'],
  ])
  expect(result.outcome).toBe('violation')
})

test.each(violations)('%s, planted among 300 operations of 20 clients, is found in each of 100 histories', (violation) => {
  for (let seed = 0; seed < 100; seed += 1) {
    const shape = { clients: 20, operations: 300, keys: 2, values: 0, unknown: seed % 2 === 0 ? 0 : 0.1, tie: 0 }
    const clean = checkHistory(generateHistory(new Prng(seed), shape), budget)
    expect(clean.outcome, `seed ${seed}: ${describeResult(clean)}`).toBe('linearizable')
    const planted = checkHistory(generateHistory(new Prng(seed), { ...shape, violation }), budget)
    expect(planted.outcome, `seed ${seed}: ${describeResult(planted)}`).toBe('violation')
  }
})

test('2,000 operations of 20 clients on one key, many of unknown outcome, are decided within 5,000 steps', () => {
  for (const unknown of [0, 0.05, 0.2, 0.5]) {
    const history = generateHistory(new Prng(7), { clients: 20, operations: 2_000, keys: 1, values: 0, unknown, tie: 0 })
    expect(history.filter(({ returnAt }) => returnAt === null).length).toBeGreaterThanOrEqual(unknown * 1_500)
    // Steps, not seconds: the figure must not depend on the machine. A step takes some ten microseconds.
    const result = checkHistory(history, { stepsMax: 5_000 })
    expect(result.outcome, `unknown ${unknown}: ${describeResult(result)}`).toBe('linearizable')
  }
})

test('a violation among 2,000 operations with 5 % unknown is proven, not left undecided', () => {
  for (const violation of violations) {
    const history = generateHistory(new Prng(7), { clients: 20, operations: 2_000, keys: 1, values: 0, unknown: 0.05, tie: 0, violation })
    expect(checkHistory(history, { stepsMax: 100_000 }).outcome, violation).toBe('violation')
  }
})

test('a spent budget leaves the history undecided, with the order found so far', () => {
  const history = generateHistory(new Prng(1), { clients: 5, operations: 200, keys: 1, values: 0, unknown: 0, tie: 0 })
  const result = checkHistory(history, { stepsMax: 50 })
  expect(result.outcome).toBe('undecided')
  expect(result.keys[0]?.order.length).toBeGreaterThan(40)
  expect(result.keys[0]?.blocked).not.toBeNull()
})

test("the caller's clock ends the search, on many small keys as well", () => {
  const history = generateHistory(new Prng(1), { clients: 5, operations: 4_000, keys: 2_000, values: 0, unknown: 0, tie: 0 })
  let looks = 0
  const result = checkHistory(history, { stepsMax: 1_000_000, expired: () => (looks += 1) > 1 })
  expect(looks).toBe(2)
  expect(result.outcome).toBe('undecided')
  expect(result.keys.filter(({ outcome }) => outcome === 'linearizable').length).toBeGreaterThan(100)
})

test('more operations on one key than the bound are refused', () => {
  const history = Array.from({ length: operationsPerKeyMax + 1 }, (_, i) => operation(i, i, null, put('a', null)))
  expect(() => checkHistory(history, budget)).toThrow(`expected at most ${operationsPerKeyMax}`)
})
