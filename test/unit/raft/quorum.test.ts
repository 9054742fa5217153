import fc from 'fast-check'
import { expect, test } from 'vitest'
import { committedIndex, committedIndexOf, majority, voteResult, voteResultOf, type Halves } from '#raft/quorum.ts'

const ids = ['a', 'b', 'c', 'd', 'e', 'f', 'g']

/** Oracle: the largest index that more than half have reached. Slow and obvious on purpose. */
function committedSlow(voters: readonly string[], reached: ReadonlyMap<string, number>): number {
  const indexes = voters.map((id) => reached.get(id) ?? 0)
  return Math.max(0, ...indexes.filter((index) => indexes.filter((other) => other >= index).length * 2 > voters.length))
}

/** Oracle: try every way in which the missing voters could still answer. */
function voteSlow(voters: readonly string[], votes: ReadonlyMap<string, boolean>): 'won' | 'lost' | 'pending' {
  const missing = voters.filter((id) => !votes.has(id))
  const outcomes = new Set<boolean>()
  for (let answers = 0; answers < 2 ** missing.length; answers += 1) {
    const yes = voters.filter((id) => votes.get(id) ?? ((answers >> missing.indexOf(id)) & 1) === 1)
    outcomes.add(yes.length * 2 > voters.length)
  }
  if (outcomes.size === 2) return 'pending'
  return outcomes.has(true) ? 'won' : 'lost'
}

function* assignments<T>(length: number, values: readonly T[]): Generator<T[]> {
  if (length === 0) return yield []
  for (const rest of assignments(length - 1, values)) for (const value of values) yield [value, ...rest]
}

test('committedIndexOf equals its oracle in every small case', () => {
  for (let count = 1; count <= 5; count += 1) {
    const voters = ids.slice(0, count)
    for (const indexes of assignments(count, [0, 1, 2, 3])) {
      const reached = new Map(voters.map((id, i) => [id, indexes[i] ?? 0]))
      expect(
        committedIndexOf(voters, (id) => reached.get(id) ?? 0),
        JSON.stringify(indexes),
      ).toBe(committedSlow(voters, reached))
    }
  }
})

test('voteResultOf equals its oracle in every small case', () => {
  for (let count = 1; count <= 5; count += 1) {
    const voters = ids.slice(0, count)
    for (const answers of assignments(count, [true, false, undefined])) {
      const votes = new Map(voters.flatMap((id, i) => (answers[i] === undefined ? [] : [[id, answers[i]]])))
      expect(
        voteResultOf(voters, (id) => votes.get(id)),
        JSON.stringify(answers),
      ).toBe(voteSlow(voters, votes))
    }
  }
})

const halves: fc.Arbitrary<Halves> = fc.record({ voters: fc.subarray(ids, { minLength: 1 }), votersOutgoing: fc.subarray(ids) })

test('a joint commit index is the smaller of both halves, and nobody in neither half counts', () => {
  fc.assert(
    fc.property(halves, fc.array(fc.nat({ max: 9 }), { minLength: 7, maxLength: 7 }), (half, indexes) => {
      const reached = new Map(ids.map((id, i) => [id, indexes[i] ?? 0]))
      const slow = [half.voters, half.votersOutgoing].filter((voters) => voters.length > 0).map((voters) => committedSlow(voters, reached))
      return committedIndex(half, (id) => reached.get(id) ?? 0) === Math.min(...slow)
    }),
    { numRuns: 50_000 },
  )
})

test('a joint vote is won when both halves are, and lost as soon as one is', () => {
  fc.assert(
    fc.property(halves, fc.array(fc.constantFrom(true, false, undefined), { minLength: 7, maxLength: 7 }), (half, answers) => {
      const votes = new Map(ids.flatMap((id, i) => (answers[i] === undefined ? [] : [[id, answers[i]]])))
      const slow = [half.voters, half.votersOutgoing].filter((voters) => voters.length > 0).map((voters) => voteSlow(voters, votes))
      const expected = slow.includes('lost') ? 'lost' : slow.includes('pending') ? 'pending' : 'won'
      return voteResult(half, (id) => votes.get(id)) === expected
    }),
    { numRuns: 50_000 },
  )
})

test('a joint membership of twice the same voters decides like the plain one', () => {
  fc.assert(
    fc.property(fc.subarray(ids, { minLength: 1 }), fc.array(fc.nat({ max: 5 }), { minLength: 7, maxLength: 7 }), (voters, indexes) => {
      const reached = (id: string): number => indexes[ids.indexOf(id)] ?? 0
      return committedIndex({ voters, votersOutgoing: voters }, reached) === committedIndex({ voters, votersOutgoing: [] }, reached)
    }),
  )
})

test('nobody decides without voters', () => {
  expect(committedIndex({ voters: [], votersOutgoing: [] }, () => 9)).toBe(0)
  expect(voteResult({ voters: [], votersOutgoing: [] }, () => true)).toBe('pending')
})

test('two majorities of one set always share a voter', () => {
  for (let count = 1; count <= 64; count += 1) expect(2 * majority(count)).toBeGreaterThan(count)
})
