import fc from 'fast-check'
import { expect, test } from 'vitest'
import { countOverlapping } from '#test/chaos/judge/judge.ts'
import { checkRegister, type RegisterOperation } from '#test/chaos/judge/register.ts'
import { longestGapMs } from '#test/chaos/clients.ts'

const operation = (
  kind: 'read' | 'write',
  value: string | null,
  callAt: number,
  returnAt: number | null,
): Omit<RegisterOperation, 'id'> => ({
  kind,
  value,
  callAt,
  returnAt,
  client: 'c',
  key: 'k',
})
const check = (...operations: Omit<RegisterOperation, 'id'>[]): string[] => checkRegister(operations.map((each, id) => ({ ...each, id })))

test('a read of an older value after a newer one was acknowledged is found', () => {
  expect(check(operation('write', 'a', 1, 2), operation('write', 'b', 3, 4), operation('read', 'b', 5, 6))).toEqual([])
  expect(check(operation('write', 'a', 1, 2), operation('write', 'b', 3, 4), operation('read', 'a', 5, 6))).toHaveLength(1)
  expect(check(operation('write', 'a', 1, 2), operation('read', null, 3, 4))).toHaveLength(1)
  expect(check(operation('read', 'a', 1, 2), operation('write', 'a', 3, 4)).join()).toContain('before its write')
  expect(check(operation('read', 'x', 1, 2)).join()).toContain('never written')
})

test('a write of unknown outcome may have happened, at any time after its call, or never', () => {
  const unknown = operation('write', 'u', 1, null)
  expect(check(unknown, operation('read', null, 2, 3))).toEqual([])
  expect(check(unknown, operation('read', null, 2, 3), operation('read', 'u', 4, 5))).toEqual([])
  expect(check(unknown, operation('read', 'u', 2, 3), operation('read', null, 4, 5))).toHaveLength(1)
})

/** Every order of the operations, with every subset of the unknown ones: nothing of the checker's in it. */
function possible(rest: readonly RegisterOperation[], value: string | null): boolean {
  if (rest.every(({ returnAt }) => returnAt === null)) return true
  return rest.some((next, i) => {
    const others = rest.filter((_, j) => j !== i)
    if (others.some(({ returnAt }) => returnAt !== null && returnAt < next.callAt)) return false
    if (next.kind === 'read') return next.value === value && possible(others, value)
    return possible(others, next.value)
  })
}

test('the checker agrees with trying every order', () => {
  const shape = fc.array(
    fc.record({ write: fc.boolean(), call: fc.nat(11), length: fc.nat(6), unknown: fc.integer({ min: 0, max: 5 }), reads: fc.nat(5) }),
    { minLength: 1, maxLength: 6 },
  )
  const verdicts = { yes: 0, no: 0 }
  fc.assert(
    fc.property(shape, (drawn) => {
      const written = drawn.flatMap(({ write }, i) => (write ? [`v${i}`] : []))
      const history = drawn.map(({ write, call, length, unknown, reads }, id): RegisterOperation => {
        const value = write ? `v${id}` : ([null, ...written][reads % (written.length + 1)] as string | null)
        // Times are distinct, as a recorder's are.
        const callAt = call * 20 + id
        return {
          id,
          client: 'c',
          key: 'k',
          kind: write ? 'write' : 'read',
          value,
          callAt,
          returnAt: write && unknown === 0 ? null : callAt + length * 20 + 7,
        }
      })
      const expected = possible(history, null)
      verdicts[expected ? 'yes' : 'no'] += 1
      return (checkRegister(history).length === 0) === expected
    }),
    { numRuns: 20_000 },
  )
  expect(Math.min(verdicts.yes, verdicts.no)).toBeGreaterThan(1_000)
})

test('operations overlap only with others on their key, and only if they met in time', () => {
  const at = (key: string, callAt: number, returnAt: number | null): { key: string; callAt: number; returnAt: number | null } => ({
    key,
    callAt,
    returnAt,
  })
  expect(countOverlapping([at('a', 1, 2), at('a', 3, 4), at('b', 1, 4)])).toBe(0)
  expect(countOverlapping([at('a', 1, 9), at('a', 3, 4), at('a', 5, 6), at('a', 10, 11)])).toBe(3)
  expect(countOverlapping([at('a', 1, null), at('a', 3, 4)])).toBe(0)
})

test('the longest gap counts from the start and to the end', () => {
  expect(longestGapMs([10, 20, 50, 60], 0, 70)).toBe(30)
  expect(longestGapMs([10, 20, 50, 60], 15, 100)).toBe(40)
  expect(longestGapMs([], 5, 25)).toBe(20)
  expect(longestGapMs([1, 2, 900], 100, 200)).toBe(100)
})
