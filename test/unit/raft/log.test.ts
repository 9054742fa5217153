import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Entry } from '#raft/index.ts'
import { Log, type LogWrite } from '#raft/log.ts'
import { SimDisk } from '#test/sim/disk.ts'
import { entry, logOf } from './cluster.ts'

function diskWith(entries: readonly Entry[]): SimDisk {
  const disk = new SimDisk(['a'])
  write(disk, { entries, snapshot: null })
  return disk
}

function write(disk: SimDisk, { entries, snapshot }: LogWrite): void {
  disk.persist({ persistId: 1, hardState: null, entries, snapshot, messagesAfterPersist: [] })
}

const termsOf = (log: Log): (number | null)[] => Array.from({ length: log.lastIndex() }, (_, i) => log.term(i + 1))

test('a late write of entries that were replaced meanwhile does not make the new ones durable (ABA)', () => {
  const disk = diskWith(logOf(1, 1))
  const log = new Log(disk, 0)
  log.append([entry(3, 2), entry(4, 2)])
  const late = log.unpersisted()
  log.append([entry(3, 3), entry(4, 3), entry(5, 3)])
  write(disk, late)
  log.persisted(late)
  expect(log.durableIndex()).toBe(2)
  expect(termsOf(log)).toEqual([1, 1, 3, 3, 3])
  expect(log.entries(3, 6, 1e9)?.map(({ term }) => term)).toEqual([3, 3, 3])
})

test('what of a late write still stands is durable and is not written again', () => {
  const disk = diskWith([])
  const log = new Log(disk, 0)
  log.append([entry(1, 1), entry(2, 1), entry(3, 1)])
  const late = log.unpersisted()
  log.append([entry(3, 2)])
  write(disk, late)
  log.persisted(late)
  expect(log.durableIndex()).toBe(2)
  expect(log.unpersisted().entries.map(({ index, term }) => [index, term])).toEqual([[3, 2]])
})

test('a write from before a snapshot says nothing about the log after it', () => {
  const disk = diskWith(logOf(1, 1))
  const log = new Log(disk, 0)
  log.append([entry(3, 1)])
  const late = log.unpersisted()
  log.restore({ index: 9, term: 2, membership: disk.state.membership })
  write(disk, late)
  log.persisted(late)
  expect(log.durableIndex(), 'nothing of the new log is durable before the snapshot is installed').toBe(0)
  expect([log.firstIndex(), log.lastIndex(), log.lastTerm(), log.commit]).toEqual([10, 9, 2, 9])
})

test('of two snapshots in a row the second one is asked for again', () => {
  const disk = diskWith([])
  const { membership } = disk.state
  const log = new Log(disk, 0)
  log.restore({ index: 5, term: 1, membership })
  const first = log.unpersisted()
  log.restore({ index: 9, term: 2, membership })
  disk.received.set(5, { index: 5, term: 1, membership, digest: '' })
  write(disk, first)
  log.persisted(first)
  expect(log.unpersisted().snapshot?.index).toBe(9)
  expect(log.lastIndex()).toBe(9)
})

test('the tail and the disk behave like one array, whatever is appended, cut and written when', () => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant('append' as const), back: fc.nat({ max: 3 }), count: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ kind: fc.constant('take' as const) }),
    fc.record({ kind: fc.constant('finish' as const) }),
  )
  fc.assert(
    fc.property(fc.array(action, { maxLength: 30 }), (actions) => {
      const disk = diskWith(logOf(1, 1))
      const log = new Log(disk, 0)
      let model = logOf(1, 1)
      let term = 1
      let inFlight: LogWrite | null = null
      for (const step of actions) {
        if (step.kind === 'append') {
          term += 1
          const from = Math.max(1, log.lastIndex() + 1 - step.back)
          const entries = Array.from({ length: step.count }, (_, i) => entry(from + i, term))
          log.append(entries)
          model = [...model.slice(0, from - 1), ...entries]
        } else if (step.kind === 'take') {
          inFlight ??= log.unpersisted()
        } else if (inFlight !== null) {
          write(disk, inFlight)
          log.persisted(inFlight)
          inFlight = null
        }
        expect(termsOf(log)).toEqual(model.map((item) => item.term))
        expect(log.entries(1, log.lastIndex() + 1, 1e9)).toEqual(model)
        // What counts as durable is on the disk, as it is in the log.
        for (let index = 1; index <= log.durableIndex(); index += 1) expect(disk.term(index)).toBe(log.term(index))
      }
    }),
    { numRuns: 2000 },
  )
})

test('pages of entries: at least one, then as many as fit, across disk and tail', () => {
  const log = new Log(diskWith(logOf(1, 1, 1)), 0)
  log.append([entry(4, 1), entry(5, 1)])
  expect(log.entries(1, 6, 0)?.length).toBe(1)
  expect(log.entries(4, 6, 0)?.map(({ index }) => index)).toEqual([4])
  expect(log.entries(2, 6, 1e9)?.map(({ index }) => index)).toEqual([2, 3, 4, 5])
  expect(log.entries(4, 4, 1e9)).toEqual([])
})

test('the agreement hint skips a whole term, like walking back one by one would', () => {
  const log = new Log(diskWith(logOf(1, 1, 2, 2, 2, 5, 5)), 0)
  expect(log.agreementHint(9, 4)).toEqual({ index: 5, term: 2 })
  expect(log.agreementHint(4, 9)).toEqual({ index: 4, term: 2 })
  expect(log.agreementHint(4, 0)).toEqual({ index: 0, term: 0 })
})

test('up to date means a later last term, or the same and at least as long', () => {
  const log = new Log(diskWith(logOf(1, 2, 2)), 0)
  expect(log.isUpToDate(3, 2)).toBe(true)
  expect(log.isUpToDate(1, 3)).toBe(true)
  expect(log.isUpToDate(2, 2)).toBe(false)
  expect(log.isUpToDate(9, 1)).toBe(false)
})

test('a committed entry is never overwritten, and the commit index never leaves the log', () => {
  const log = new Log(diskWith(logOf(1, 1)), 2)
  expect(() => log.append([entry(2, 3)])).toThrow(/committed/)
  expect(() => log.commitTo(3)).toThrow(/beyond/)
  expect(() => log.append([entry(4, 1)])).toThrow(/gap/)
})
