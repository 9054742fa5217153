import fc from 'fast-check'
import { unpack } from 'msgpackr'
import { expect, test } from 'vitest'
import { encodeMembershipChange } from '#raft/index.ts'
import { decodeCommand, encodeCommand } from '#replica/command.ts'
import { decodeUpdate, emptyDirectory, encodeUpdate, updateDirectory } from '#replica/directory.ts'
import { messageFrom } from '#replica/messages.ts'
import { buildRound } from '#replica/rounds.ts'
import { decodeHeader, encodeHeader } from '#replica/snapshots.ts'
import { emptyMembership } from '#raft/index.ts'
import { emptyMeta } from '#store/statemeta.ts'

const callerKey = fc.uint8Array({ minLength: 1, maxLength: 20 }).map((key) => new Uint8Array([0x10, ...key]))
const member = { id: 'b', clusterAddress: 'host:1', apiAddress: 'http://host:2', fingerprint: 'ab', voter: true }
const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_, each: unknown) => (each instanceof Uint8Array ? [...each] : each)))

/** Whether `bytes` are an array whose first number is a version, and another than `known`. */
function namesAnother(known: number, bytes: Uint8Array): boolean {
  try {
    const record: unknown = unpack(bytes)
    const version: unknown = Array.isArray(record) ? record[0] : null
    return Number.isInteger(version) && Number(version) >= 1 && Number(version) <= 255 && version !== known
  } catch {
    return false
  }
}

test('a command comes back as it went in', () => {
  const op = fc.record({ key: callerKey, value: fc.option(fc.uint8Array({ maxLength: 300 })) })
  const section = fc.record({ section: fc.uint8Array({ maxLength: 32 }), ops: fc.array(op, { maxLength: 5 }) })
  fc.assert(
    fc.property(fc.array(section, { maxLength: 4 }), fc.nat(2 ** 42), fc.boolean(), (sections, timeMs, withMember) => {
      const command = { timeMs, sections, directory: withMember ? { put: member } : null }
      const decoded = decodeCommand(encodeCommand(command))
      const bytes = (given: typeof command): unknown =>
        given.sections.map((each) => [[...each.section], each.ops.map(({ key, value }) => [[...key], value === null ? null : [...value]])])
      expect([decoded.timeMs, decoded.directory, bytes(decoded as typeof command)]).toEqual([timeMs, command.directory, bytes(command)])
    }),
  )
})

test('a command of another version, or a malformed one, is refused', () => {
  const good = encodeCommand({ timeMs: 1, sections: [], directory: null })
  expect(() => decodeCommand(good.with(0, 3))).toThrow(expect.objectContaining({ code: 'ERR_UPGRADE_REQUIRED' }))
  for (const bad of [new Uint8Array(0), good.subarray(0, 2), new Uint8Array([good[0] ?? 0, 0xc0])]) {
    expect(() => decodeCommand(bad)).toThrow(expect.objectContaining({ code: 'ERR_STORE_CORRUPT' }))
  }
})

test("keys that are not a caller's are left out when a command is applied", () => {
  const ops = [
    { key: new Uint8Array([0x08]), value: new Uint8Array(1) },
    { key: new Uint8Array([0x10]), value: new Uint8Array(2) },
  ]
  const decoded = decodeCommand(encodeCommand({ timeMs: 1, sections: [{ section: new Uint8Array(1), ops }], directory: null }))
  expect(decoded.sections[0]?.ops.map(({ key }) => key[0])).toEqual([0x10])
})

test('the clock of a state never goes back, and membership and directory change with their entry', () => {
  const time = (index: number, timeMs: number) => ({
    index,
    term: 2,
    type: 0 as const,
    data: encodeCommand({ timeMs, sections: [], directory: null }),
  })
  const change = { steps: [{ kind: 'add-learner' as const, node: 'b' }], joint: 'auto' as const, context: encodeUpdate({ put: member }) }
  const meta = { ...emptyMeta, applied: 4, appliedTerm: 1, membership: { ...emptyMembership, voters: ['a'] }, leaderTimeMs: 500 }
  const added = buildRound(
    [time(5, 900), time(6, 700), { index: 7, term: 2, type: 2, data: encodeMembershipChange(change) }],
    meta,
    emptyDirectory,
  )
  expect(added.meta).toMatchObject({
    applied: 7,
    appliedTerm: 2,
    membership: { ...emptyMembership, voters: ['a'], learners: ['b'] },
    leaderTimeMs: 900,
  })
  expect(added.directory.members).toEqual([member])
  const removal = { steps: [{ kind: 'remove' as const, node: 'b' }], joint: 'auto' as const, context: encodeUpdate({ remove: 'b' }) }
  const removed = buildRound([{ index: 8, term: 2, type: 2, data: encodeMembershipChange(removal) }], added.meta, added.directory)
  expect([removed.directory.members, removed.directory.removed, removed.meta.membership.learners]).toEqual([[], ['b'], []])
  // A change that the membership refuses (removing the last voter) changes no directory either.
  const lastVoter = { ...removal, steps: [{ kind: 'remove' as const, node: 'a' }], context: encodeUpdate({ remove: 'a' }) }
  const full = updateDirectory(emptyDirectory, { put: { ...member, id: 'a' } })
  expect(buildRound([{ index: 9, term: 2, type: 2, data: encodeMembershipChange(lastVoter) }], removed.meta, full).directory).toBe(full)
})

test('a command that renews the record of a removed member lets nobody in again', () => {
  const meta = { ...emptyMeta, applied: 4, appliedTerm: 1, membership: { ...emptyMembership, voters: ['a'] } }
  const directory = updateDirectory(updateDirectory(emptyDirectory, { put: { ...member, id: 'a' } }), { remove: 'b' })
  const renewal = (id: string) =>
    encodeCommand({ timeMs: 1, sections: [], directory: { put: { ...member, id, apiAddress: 'http://new:1' } } })
  const after = (id: string) => buildRound([{ index: 5, term: 2, type: 0, data: renewal(id) }], meta, directory).directory
  expect(after('b')).toBe(directory)
  expect(after('a').members.map(({ id, apiAddress }) => [id, apiAddress])).toEqual([['a', 'http://new:1']])
})

test('directory updates and snapshot headers come back, and garbage says nothing or is refused', () => {
  expect(decodeUpdate(encodeUpdate({ put: member }))).toEqual({ put: member })
  expect(decodeUpdate(encodeUpdate({ remove: 'x' }))).toEqual({ remove: 'x' })
  const array = fc
    .tuple(fc.constantFrom(0x91, 0x92), fc.uint8Array({ minLength: 2, maxLength: 4 }))
    .map(([head, rest]) => new Uint8Array([head, ...rest]))
  const drawn = fc.oneof(fc.uint8Array({ maxLength: 40 }), array)
  let named = 0
  fc.assert(
    fc.property(drawn, (garbage) => {
      // Garbage may be an array whose first number is another version, and only then asks for another release.
      const newer = expect.objectContaining({ code: 'ERR_UPGRADE_REQUIRED' })
      if (namesAnother(1, garbage)) expect(() => decodeUpdate(garbage)).toThrow(newer)
      else expect(decodeUpdate(garbage)).toBeNull()
      const another = namesAnother(2, garbage)
      if (another) named += 1
      expect(() => decodeHeader(garbage)).toThrow(another ? newer : expect.objectContaining({ code: 'ERR_FRAME' }))
    }),
    { numRuns: 6_000 },
  )
  expect(named).toBeGreaterThan(20)
  expect(() => decodeHeader(new Uint8Array([0x92, 1, 0]))).toThrow(expect.objectContaining({ code: 'ERR_UPGRADE_REQUIRED' }))
  expect(() => decodeHeader(new Uint8Array([0x91]))).toThrow(expect.objectContaining({ code: 'ERR_FRAME' }))
  expect(decodeHeader(encodeHeader({ clusterId: 'c', term: 3, index: 9, proof: null }))).toEqual({
    clusterId: 'c',
    term: 3,
    index: 9,
    proof: null,
  })
})

test('a message keeps its known fields and loses all others', () => {
  const entries = [{ index: 5, term: 2, type: 0, data: new Uint8Array([1]), extra: 1 }]
  const given = {
    version: 1,
    type: 0,
    from: 'a',
    to: 'b',
    term: 2,
    logIndex: 4,
    logTerm: 2,
    commit: 3,
    entries,
    reject: undefined,
    sealed: false,
    other: {},
  }
  expect(plain(messageFrom(given, 'a', 'b'))).toEqual({
    version: 1,
    type: 0,
    from: 'a',
    to: 'b',
    term: 2,
    logIndex: 4,
    logTerm: 2,
    commit: 3,
    sealed: false,
    entries: [{ index: 5, term: 2, type: 0, data: [1] }],
  })
})

test('whatever a peer sends is either a message or refused as a frame, never another throw', () => {
  const base = { version: 1, type: 0, from: 'a', to: 'b', term: 2 }
  const field = fc.constantFrom('version', 'type', 'from', 'to', 'term', 'entries', 'logIndex', 'reject', 'commit')
  fc.assert(
    fc.property(field, fc.anything(), (name, value) => {
      try {
        messageFrom({ ...base, [name]: value }, 'a', 'b')
      } catch (error) {
        const newer = name === 'version' && typeof value === 'number' && value > 1 && value < 256
        expect(error).toMatchObject({ code: newer ? 'ERR_UPGRADE_REQUIRED' : 'ERR_FRAME' })
      }
    }),
    { numRuns: 3_000 },
  )
  expect(() => messageFrom({ ...base, from: 'c' }, 'a', 'b')).toThrow(expect.objectContaining({ code: 'ERR_FRAME' }))
  expect(() => messageFrom(null, 'a', 'b')).toThrow(expect.objectContaining({ code: 'ERR_FRAME' }))
  expect(() => messageFrom({ ...base, entries: [null] }, 'a', 'b')).toThrow(expect.objectContaining({ code: 'ERR_FRAME' }))
})
