import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { judge, SlotPool, type SlotMark, type Ticket } from '#core/slots.ts'

describe('a slot', () => {
  test('knows its last request, and nothing before it is carried out any more', () => {
    const mark: SlotMark = { boot: 2, serial: 3 }
    expect(judge(null, { boot: 2, serial: 3 })).toBe('first')
    expect(judge(mark, { boot: 2, serial: 3 })).toBe('again')
    expect(judge(mark, { boot: 2, serial: 2 })).toBe('superseded')
    expect(judge(mark, { boot: 2, serial: 4 })).toBe('first')
    expect(judge(mark, { boot: 1, serial: 9 }), 'of a run that has ended').toBe('superseded')
    expect(judge(mark, { boot: 3, serial: 1 }), 'of a new run').toBe('first')
  })

  /**
   * A sender with some requests under way, copies of which arrive in any order and number, also when the sender has given them up or was restarted.
   * Nothing is carried out twice; what the sender still waits for is never superseded.
   */
  test('carries each request out once, whatever arrives when', () => {
    const step = fc.record({ kind: fc.constantFrom('ask', 'deliver', 'deliver', 'deliver', 'finish', 'restart'), pick: fc.nat() })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (steps) => {
        const slots = new Map<number, SlotMark>()
        const copies: Ticket[] = []
        let open: Ticket[] = []
        const done = new Map<string, number>()
        let boot = 0
        let pool = new SlotPool(0, 4)
        for (const { kind, pick } of steps) {
          if (kind === 'ask') {
            const ticket = pool.take()
            expect(ticket === null).toBe(open.length === 4)
            if (ticket === null) continue
            open.push(ticket)
            copies.push(ticket)
          } else if (kind === 'finish' && open.length > 0) {
            const [ticket] = open.splice(pick % open.length, 1)
            if (ticket !== undefined) pool.give(ticket)
          } else if (kind === 'restart') {
            boot += 1
            pool = new SlotPool(boot, 4)
            open = []
          } else if (kind === 'deliver' && copies.length > 0) {
            const ticket = copies[pick % copies.length]!
            const name = `${ticket.boot}/${ticket.serial}`
            const mark = slots.get(ticket.slot) ?? null
            const verdict = judge(mark, ticket)
            if (verdict === 'first') {
              slots.set(ticket.slot, ticket)
              done.set(name, (done.get(name) ?? 0) + 1)
            }
            expect(done.get(name) ?? 0, 'carried out twice').toBeLessThanOrEqual(1)
            if (verdict === 'again') expect(done.get(name)).toBe(1)
            if (open.includes(ticket)) expect(verdict, 'its sender waits for it').not.toBe('superseded')
          }
        }
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('a pool of slots', () => {
  test('lends no slot twice, reuses what comes back, and never a serial', () => {
    const pool = new SlotPool(1, 2)
    const one = pool.take()!
    const two = pool.take()!
    expect([one.slot, two.slot]).toEqual([0, 1])
    expect(pool.take()).toBeNull()
    pool.give(one)
    expect(pool.take()).toEqual({ boot: 1, slot: 0, serial: 3 })
    expect(() => {
      pool.give(two)
      pool.give(two)
    }).toThrow(/given back once/)
  })
})
