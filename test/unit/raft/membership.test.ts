import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  applyMembershipEntry,
  changeMembership,
  decodeMembershipChange,
  emptyMembership,
  encodeMembershipChange,
  isJoint,
  type Membership,
  type MembershipChange,
  type MembershipStep,
  membersMax,
} from '#raft/index.ts'
import { majority } from '#raft/quorum.ts'
import { isVoter, membershipProblem } from '#raft/membership.ts'
import { MembershipHistory } from '#raft/history.ts'
import { utf8Decode, utf8Encode } from '#raft/utf8.ts'

const ids = ['a', 'b', 'c', 'd', 'e']
const none = new Uint8Array(0)
const change = (joint: MembershipChange['joint'], ...steps: MembershipStep[]): MembershipChange => ({ steps, joint, context: none })
const plain = (voters: string[], learners: string[] = []): Membership => ({ ...emptyMembership, voters, learners })

const step: fc.Arbitrary<MembershipStep> = fc.record({
  kind: fc.constantFrom('add-voter', 'add-learner', 'remove'),
  node: fc.constantFrom(...ids),
})
const steps = fc.uniqueArray(step, { maxLength: 4, selector: ({ node }) => node })
const roles = fc.array(fc.constantFrom('voter', 'learner', 'none'), { minLength: 5, maxLength: 5 })
const membership = roles.map((kinds) =>
  plain(
    ids.filter((_, i) => kinds[i] === 'voter' || i === 0),
    ids.filter((_, i) => kinds[i] === 'learner' && i > 0),
  ),
)
const anyChange: fc.Arbitrary<MembershipChange> = fc.record({
  steps: fc.oneof(steps, fc.array(step, { maxLength: 5 })),
  joint: fc.constantFrom('auto', 'explicit', 'leave'),
  context: fc.uint8Array({ maxLength: 8 }),
})

/** Oracle: one role a node, each step sets one. */
function targetSlow(from: Membership, wanted: readonly MembershipStep[]): Map<string, string> {
  const role = new Map<string, string>()
  for (const id of from.voters) role.set(id, 'voter')
  for (const id of from.learners) role.set(id, 'learner')
  for (const { kind, node } of wanted) {
    if (kind === 'remove') role.delete(node)
    else role.set(node, kind === 'add-voter' ? 'voter' : 'learner')
  }
  return role
}

const rolesOf = (from: Membership): Map<string, string> => targetSlow(from, [])

test('a change is simple exactly if at most one voter changes, and a joint one otherwise', () => {
  fc.assert(
    fc.property(membership, steps, (from, wanted) => {
      const result = changeMembership(from, change('auto', ...wanted))
      if (!result.ok) return true
      const target = targetSlow(from, wanted)
      const changed = ids.filter((id) => (target.get(id) === 'voter') !== from.voters.includes(id)).length
      return isJoint(result.membership) === changed > 1 && result.membership.autoLeave === changed > 1
    }),
    { numRuns: 50_000 },
  )
})

test('entering and leaving a joint membership ends where the same steps one by one end', () => {
  fc.assert(
    fc.property(membership, steps, (from, wanted) => {
      const joint = changeMembership(from, change('explicit', ...wanted))
      if (!joint.ok) return true
      const left = changeMembership(joint.membership, change('leave'))
      const slow = targetSlow(from, wanted)
      return left.ok && !isJoint(left.membership) && isDeepStrictEqual(rolesOf(left.membership), slow)
    }),
    { numRuns: 50_000 },
  )
})

test('whatever is asked, the result is a valid membership or a refusal with a reason', () => {
  fc.assert(
    fc.property(membership, fc.array(anyChange, { maxLength: 6 }), (from, changes) => {
      let current = from
      for (const wanted of changes) {
        const result = changeMembership(current, wanted)
        if (result.ok) current = result.membership
        else if (result.detail === '') return false
        if (membershipProblem(current) !== null || current.voters.length === 0) return false
      }
      return true
    }),
    { numRuns: 50_000 },
  )
})

test('each membership shares a voter with the next, in every pair of majorities', () => {
  fc.assert(
    fc.property(membership, anyChange, (from, wanted) => {
      const result = changeMembership(from, wanted)
      if (!result.ok) return true
      // The smallest overlap of two majorities is |A| + |B| - |A or B|, for the halves that face each other.
      const overlaps = (a: readonly string[], b: readonly string[]): boolean =>
        majority(a.length) + majority(b.length) > new Set([...a, ...b]).size
      const { voters, votersOutgoing } = result.membership
      return isJoint(result.membership) ? overlaps(from.voters, votersOutgoing) : overlaps(from.voters, voters)
    }),
    { numRuns: 50_000 },
  )
})

describe('refusals', () => {
  const base = plain(['a', 'b', 'c'], ['d'])
  const joint = changeMembership(base, change('explicit', { kind: 'remove', node: 'a' }))
  const cases: [string, Membership, MembershipChange][] = [
    ['no steps', base, change('auto')],
    ['removing a stranger', base, change('auto', { kind: 'remove', node: 'x' })],
    ['two steps for one node', base, change('auto', { kind: 'remove', node: 'a' }, { kind: 'add-voter', node: 'a' })],
    ['no voter left', plain(['a'], ['b']), change('auto', { kind: 'remove', node: 'a' })],
    ['leaving what is not joint', base, change('leave')],
    ['an empty id', base, change('auto', { kind: 'add-learner', node: '' })],
    ['a long id', base, change('auto', { kind: 'add-learner', node: 'x'.repeat(256) })],
    ['too many', base, change('auto', ...Array.from({ length: membersMax }, (_, i) => ({ kind: 'add-learner' as const, node: `n${i}` })))],
  ]
  test.each(cases)('%s', (_, from, wanted) => {
    expect(changeMembership(from, wanted)).toMatchObject({ ok: false })
  })
  test('a second change in a joint membership, and leaving with steps', () => {
    if (!joint.ok) throw new Error(joint.detail)
    expect(changeMembership(joint.membership, change('auto', { kind: 'remove', node: 'b' }))).toMatchObject({ ok: false })
    expect(changeMembership(joint.membership, change('leave', { kind: 'remove', node: 'b' }))).toMatchObject({ ok: false })
  })
})

test('a voter demoted in a joint change waits in learnersNext, and learns once it is left', () => {
  const joint = changeMembership(plain(['a', 'b', 'c']), change('explicit', { kind: 'add-learner', node: 'a' }))
  expect(joint).toMatchObject({ membership: { voters: ['b', 'c'], votersOutgoing: ['a', 'b', 'c'], learners: [], learnersNext: ['a'] } })
  if (!joint.ok) throw new Error(joint.detail)
  expect(isVoter(joint.membership, 'a')).toBe(true)
  expect(changeMembership(joint.membership, change('leave'))).toEqual({ ok: true, membership: plain(['b', 'c'], ['a']) })
})

test('a step that changes nothing carries a new context', () => {
  const base = plain(['a', 'b'])
  expect(changeMembership(base, change('auto', { kind: 'add-voter', node: 'a' }))).toEqual({ ok: true, membership: base })
})

describe('codec', () => {
  test('decodes what it encoded', () => {
    const node = fc.string({ unit: 'binary', minLength: 1, maxLength: 50 })
    const wanted = fc.record({
      steps: fc.array(fc.record({ kind: fc.constantFrom('add-voter' as const, 'add-learner' as const, 'remove' as const), node }), {
        maxLength: 5,
      }),
      joint: fc.constantFrom('auto' as const, 'explicit' as const, 'leave' as const),
      context: fc.uint8Array({ maxLength: 300 }),
    })
    fc.assert(
      fc.property(wanted, (original) => {
        expect(decodeMembershipChange(encodeMembershipChange(original))).toEqual(original)
      }),
    )
  })

  test('refuses other bytes, and never throws', () => {
    const good = encodeMembershipChange(change('auto', { kind: 'add-voter', node: 'n1' }))
    expect(decodeMembershipChange(good.with(0, 2)), 'an unknown version').toBeNull()
    expect(decodeMembershipChange(new Uint8Array([...good, 0])), 'a byte too many').toBeNull()
    for (let length = 0; length < good.length; length += 1) expect(decodeMembershipChange(good.subarray(0, length))).toBeNull()
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const decoded = decodeMembershipChange(bytes)
        return decoded === null || encodeMembershipChange(decoded).every((byte, i) => byte === bytes[i])
      }),
      { numRuns: 20_000 },
    )
  })

  test('an entry that cannot be understood changes nothing', () => {
    const base = plain(['a'])
    expect(applyMembershipEntry(base, new Uint8Array([9, 9, 9]))).toBe(base)
    expect(applyMembershipEntry(base, encodeMembershipChange(change('leave')))).toBe(base)
  })

  test('UTF-8 equals what the platform makes of it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const bytes = new TextEncoder().encode(text)
        return utf8Encode(text).toString() === bytes.toString() && utf8Decode(bytes) === text
      }),
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 6 }), (bytes) => {
        let expected: string | null
        try {
          expected = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
        } catch {
          expected = null
        }
        return utf8Decode(bytes) === expected
      }),
      { numRuns: 20_000 },
    )
  })
})

test('the history follows the log: append, truncate, prune', () => {
  const entryAt = (index: number, wanted: MembershipChange) => ({ index, term: 1, type: 2 as const, data: encodeMembershipChange(wanted) })
  const history = new MembershipHistory(0, plain(['a', 'b', 'c']))
  history.append([entryAt(3, change('auto', { kind: 'add-learner', node: 'd' }))])
  history.append([entryAt(5, change('auto', { kind: 'add-voter', node: 'd' }))])
  expect(history.active.voters).toEqual(['a', 'b', 'c', 'd'])
  expect(history.committedAt(4).learners).toEqual(['d'])
  expect(history.pendingAt(4)).toBe(true)
  history.prune(4)
  history.truncateFrom(5)
  expect(history.active).toEqual(plain(['a', 'b', 'c'], ['d']))
  expect(history.pendingAt(4)).toBe(false)
  history.truncateFrom(1)
  expect(history.active.learners, 'what is committed cannot be truncated').toEqual(['d'])
})
