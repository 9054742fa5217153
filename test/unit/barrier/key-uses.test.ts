/** How often keys are used, over leaders that come and go: what is counted, against what stands in the log. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sealBox } from '#barrier/aead.ts'
import { Envelope, envelopeTerm } from '#barrier/envelope.ts'
import { Keyring } from '#barrier/keyring.ts'
import { rotationBounds, rotationDefault, rotationDue } from '#barrier/rotation.ts'
import type { Barrier, BarrierStatus, Section } from '#barrier/types.ts'
import { decodeKeyUses, encodeKeyUses, KeyUses } from '#barrier/uses.ts'
import { systemRandom } from '#base/random.ts'
import type { FakeCluster } from '#test/support/fake-replica.ts'
import { openBarriers, testRootKey } from '#test/support/open-barrier.ts'

const kv: Section = { namespace: 'root', mount: 'kv' }
const put = (barrier: Barrier, path: string): Promise<void> => barrier.transact(async (tx) => tx.put(kv, path, Buffer.from(path)))

/** Sealed values of keyring term `term` in the log: told by their headers alone, so by nothing that counts. */
function sealedInLog(cluster: FakeCluster, term: number): number {
  const values = cluster.log.flatMap(({ ops }) => ops.map(({ value }) => value))
  return values.filter((value) => value !== null && envelopeTerm(value) === term).length
}

describe('a count over leaders', () => {
  // Proposals are committed in their order; a leader that goes takes with it what was not. What is noted must never be less than what was committed.
  test('is never short of what was committed, and too high by little', () => {
    const step = fc.oneof(
      { weight: 12, arbitrary: fc.record({ kind: fc.constant('seal' as const), count: fc.integer({ min: 1, max: 400 }) }) },
      { weight: 6, arbitrary: fc.record({ kind: fc.constant('commit' as const), count: fc.integer({ min: 1, max: 5 }) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('refuse' as const), count: fc.constant(0) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('leader' as const), count: fc.nat(7) }) },
    )
    let leaders = 0
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 80 }), (steps) => {
        const nodes = [new KeyUses(), new KeyUses()]
        let [node, raftTerm, stored, committed, sealed, changes] = [0, 1, 0, 0, 0, 0]
        let pending: { seals: number; note: number | null }[] = []
        const of = (): { keyringTerm: number; incarnation: number; raftTerm: number } => ({ keyringTerm: 1, incarnation: 1, raftTerm })
        for (const { kind, count } of steps) {
          const uses = nodes[node]!
          if (kind === 'seal') {
            const note = uses.count(of(), count, () => stored)
            pending.push({ seals: count + (note === null ? 0 : 1), note })
            sealed += count + (note === null ? 0 : 1)
          }
          if (kind === 'commit')
            for (const { seals, note } of pending.splice(0, count)) {
              committed += seals
              if (note === null) continue
              stored = note
              uses.committed(of(), note)
            }
          if (kind === 'refuse') pending.pop() // A conflict is found before anything later is appended.
          if (kind === 'leader') {
            changes++
            // The next leader commits what it had got of it, and nobody is told.
            for (const { seals, note } of pending.slice(0, count >> 1)) {
              committed += seals
              stored = note ?? stored
            }
            pending = []
            raftTerm++
            node = count & 1
          }
          expect(stored).toBeGreaterThanOrEqual(committed)
          const total = nodes[node]!.total(of())
          if (total !== null) expect(total).toBeGreaterThanOrEqual(committed)
          // Each leader that went leaves at most its headroom; what it sealed in vain it counted, as it should.
          expect(total ?? stored).toBeLessThanOrEqual((sealed + 64 * changes) * (9 / 8) ** (changes + 1) + 64)
        }
        leaders += changes
      }),
      { numRuns: 1_000 },
    )
    expect(leaders).toBeGreaterThan(1_000)
  })

  test('costs few notes: less than two hundred for 2^32 uses', () => {
    const uses = new KeyUses()
    const of = { keyringTerm: 1, incarnation: 1, raftTerm: 1 }
    let notes = 0
    let total = 0
    while (total < 2 ** 20) {
      const note = uses.count(of, 16, () => 0)
      if (note !== null) {
        uses.committed(of, note)
        notes++
      }
      total += 16
    }
    expect(notes).toBeLessThan(100)
    // From eight million on each note covers a million: 4,096 for all the rest of 2^32.
    const note = new KeyUses().count(of, 2 ** 31, () => 0) ?? 0
    expect(note - 2 ** 31).toBe(2 ** 20 + 1)
  })

  test('a note is read back, and another version is refused by name', () => {
    for (const uses of [0, 1, 2 ** 32, Number.MAX_SAFE_INTEGER]) expect(decodeKeyUses(encodeKeyUses(uses))).toBe(uses)
    const newer = encodeKeyUses(1)
    newer[0] = 2
    expect(() => decodeKeyUses(newer)).toThrow(expect.objectContaining({ code: 'ERR_UPGRADE_REQUIRED' }))
    expect(() => decodeKeyUses(encodeKeyUses(1).subarray(0, 8))).toThrow(expect.objectContaining({ code: 'ERR_DECRYPT' }))
  })
})

describe('in the barrier', () => {
  test('the count goes on through leader changes, sealing, and a rotation begins a new one', async () => {
    const { at, cluster, barrier } = await openBarriers(3)
    expect(barrier.status().encryptions).toBe(0)
    for (let i = 0; i < 40; i++) await put(barrier, `a${i}`)
    // 40 values, a name key, and the note.
    expect(barrier.status()).toMatchObject({ encryptions: 42, sealedHere: 42, sealedUnderKey: 42 })
    expect(sealedInLog(cluster, 1)).toBe(42)
    await cluster.node(2).appliedUpTo(cluster.log.length)
    const elsewhere = at(2).status()
    expect(elsewhere).toMatchObject({ sealedHere: 0, sealedUnderKey: 0 })
    expect(elsewhere.encryptions).toBeGreaterThanOrEqual(42)

    cluster.elect('node-3')
    await cluster.node(2).appliedUpTo(cluster.log.length)
    for (let i = 0; i < 40; i++) await put(at(2), `b${i}`)
    expect(sealedInLog(cluster, 1)).toBeGreaterThanOrEqual(82)
    const after = at(2).status()
    expect(after.encryptions).toBe(elsewhere.encryptions + (after.sealedHere ?? 0))
    expect(after.sealedUnderKey).toBe(after.sealedHere) // A key of its own, counted from zero.

    at(2).seal()
    expect(at(2).status().encryptions).toBe(0)
    at(2).open(testRootKey())
    expect(at(2).status().encryptions).toBe(after.encryptions)
    await at(2).rotate()
    expect(at(2).status()).toMatchObject({ keyringTerm: 2, encryptions: 0 })
    await put(at(2), 'c')
    expect(at(2).status()).toMatchObject({ keyringTerm: 2, encryptions: 2, sealedUnderKey: 2 })
    expect(sealedInLog(cluster, 2)).toBe(2)
  })

  test("whatever happens, every node says at least what the log holds, and every key was one leader's alone", async () => {
    const step = fc.oneof(
      { weight: 10, arbitrary: fc.record({ kind: fc.constant('put' as const), node: fc.nat(2), count: fc.integer({ min: 1, max: 30 }) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('elect' as const), node: fc.nat(2), count: fc.constant(0) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('rotate' as const), node: fc.nat(2), count: fc.constant(0) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen' as const), node: fc.nat(2), count: fc.constant(0) }) },
    )
    let seals = 0
    let keysSeen = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async (steps) => {
        const { at, cluster } = await openBarriers(3)
        let leader = 0
        for (const { kind, node, count } of steps) {
          // Some at once, on the same key: conflicts seal in vain.
          if (kind === 'put')
            await Promise.all(
              Array.from({ length: 3 }, (_, j) =>
                at(leader).transact(async (tx) => {
                  await tx.get(kv, 'hot')
                  for (let i = 0; i < count; i++) tx.put(kv, i === 0 ? 'hot' : `${j}/${i}`, Buffer.from('v'))
                }),
              ),
            )
          if (kind === 'elect') {
            leader = node
            cluster.elect(`node-${node + 1}`)
          }
          if (kind === 'rotate') await at(leader).rotate()
          if (kind === 'reopen') {
            at(leader).seal()
            at(leader).open(testRootKey())
          }
          for (const each of cluster.nodes) await each.appliedUpTo(cluster.log.length)
          for (const position of [0, 1, 2]) {
            const { keyringTerm, encryptions } = at(position).status()
            expect(encryptions).toBeGreaterThanOrEqual(sealedInLog(cluster, keyringTerm ?? 0))
          }
        }
        const headers = new Map<string, Set<number>>()
        for (const { term, ops } of cluster.log)
          for (const { value } of ops) {
            if (value === null || envelopeTerm(value) === undefined) continue
            seals++
            const header = Buffer.from(value.subarray(0, 25)).toString('hex')
            headers.set(header, (headers.get(header) ?? new Set()).add(term))
          }
        for (const terms of headers.values()) expect(terms.size).toBe(1)
        keysSeen += headers.size
      }),
      { numRuns: 60 },
    )
    expect(seals).toBeGreaterThan(1_000)
    expect(keysSeen).toBeGreaterThan(100)
  })

  test('a term that leadership has left is sealed in no more: its key would be counted anew', async () => {
    const { barrier, cluster, replica } = await openBarriers(2)
    await put(barrier, 'first')
    const before = barrier.status().sealedHere
    const stale = barrier.transact(async (tx) => {
      tx.put(kv, 'stale', Buffer.from('1'))
      cluster.elect('node-2')
      cluster.elect('node-1')
      await cluster.node(0).appliedUpTo(cluster.log.length)
      await put(barrier, 'between')
    })
    await expect(stale).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
    expect(barrier.status().sealedHere).toBe((before ?? 0) + 2) // 'between' and its note; the stale one not at all.
    expect(replica.openViews).toBe(0)
  })
})

test('no key seals more often than it may, and none comes back', () => {
  const step = fc.oneof(
    { weight: 20, arbitrary: fc.constant('seal' as const) },
    { weight: 2, arbitrary: fc.constant('term' as const) },
    { weight: 1, arbitrary: fc.constant('rotate' as const) },
    { weight: 1, arbitrary: fc.constant('restart' as const) },
  )
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 200 }), (steps) => {
      const sealsPerKeyMax = 7
      const fresh = (): Envelope => new Envelope({ random: systemRandom, nodeId: 'a', sealsPerKeyMax })
      let envelope = fresh()
      let ring = Keyring.create(systemRandom, 0)
      let raftTerm = 1
      const uses = new Map<string, number>()
      let last = ''
      for (const each of steps) {
        if (each === 'term') raftTerm++
        if (each === 'rotate') ring = ring.rotated(systemRandom, 0)
        if (each === 'restart') {
          envelope = fresh()
          raftTerm++ // Who ends loses its leadership.
        }
        if (each !== 'seal') continue
        const record = envelope.seal(ring, 1, raftTerm, Buffer.from('k'), Buffer.from('v'))
        const header = Buffer.from(record.subarray(0, 25)).toString('hex')
        const used = (uses.get(header) ?? 0) + 1
        uses.set(header, used)
        expect(used === 1 || header === last).toBe(true)
        expect(used).toBeLessThanOrEqual(sealsPerKeyMax)
        expect(envelope.sealsUnderKey).toBe(used)
        last = header
      }
    }),
    { numRuns: 500 },
  )
})

describe('when a term is due', () => {
  const status = (over: Partial<BarrierStatus>): BarrierStatus => ({
    sealed: false,
    keyringTerm: 3,
    keyringTermCreatedMs: 1_000,
    encryptions: 0,
    ...over,
  })
  const { operationsMax, operationsMin, intervalMsMin } = rotationBounds

  test('by count, well before 2^32', () => {
    expect(operationsMax + 8 * 2 ** 20).toBeLessThan(2 ** 32)
    expect(rotationDue(status({ encryptions: operationsMax - 1 }), rotationDefault, 2_000)).toBeNull()
    expect(rotationDue(status({ encryptions: operationsMax }), rotationDefault, 2_000)).toBe('operations')
    const policy = { ...rotationDefault, maxOperations: operationsMin }
    expect(rotationDue(status({ encryptions: operationsMin }), policy, 2_000)).toBe('operations')
    expect(rotationDue(status({ encryptions: operationsMin }), { ...policy, enabled: false }, 2_000)).toBeNull()
    expect(rotationDue(status({ encryptions: operationsMin, sealed: true, keyringTerm: null }), policy, 2_000)).toBeNull()
  })

  test('by age, where age matters; a clock that was set back makes nothing due', () => {
    const policy = { ...rotationDefault, intervalMs: intervalMsMin }
    expect(rotationDue(status({}), policy, 1_000 + intervalMsMin - 1)).toBeNull()
    expect(rotationDue(status({}), policy, 1_000 + intervalMsMin)).toBe('age')
    expect(rotationDue(status({}), rotationDefault, Number.MAX_SAFE_INTEGER)).toBeNull()
    expect(rotationDue(status({}), policy, -intervalMsMin)).toBeNull()
    expect(rotationDue(status({}), { ...policy, enabled: false }, 1_000 + intervalMsMin)).toBeNull()
  })

  test('a keyring has room for a term a day for 27 years, and says so when it is full', () => {
    const termsMax = 10_000
    const plain = Buffer.alloc(45 + termsMax * 44)
    plain[0] = 1
    plain.writeUInt32BE(1, 1)
    plain.writeUInt32BE(termsMax, 5)
    plain.writeUInt32BE(termsMax, 41)
    for (let term = 1; term <= termsMax; term++) plain.writeUInt32BE(term, 45 + (term - 1) * 44)
    const rootKey = systemRandom.bytes(32)
    const record = sealBox(rootKey, 'core/keyring', plain, systemRandom)
    expect(record.length).toBeLessThan(512 * 1024)
    const full = Keyring.decode(record, rootKey)
    expect(full.activeTerm).toBe(termsMax)
    expect(() => full.rotated(systemRandom, 0)).toThrow(expect.objectContaining({ code: 'ERR_BAD_REQUEST' }))
  })
})
