import { randomBytes } from 'node:crypto'
import { systemRandom } from '#base/random.ts'
import { readDues } from '#leases/due.ts'
import { createTokenStore, type CreateToken, type Revoked } from '#tokens/store.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { MemoryBarrier } from '#test/support/memory-barrier.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const stale = { kind: 'stale' } as const
const limits = { defaultTtlSeconds: 3_600, maxTtlSeconds: 7_200 }

function setUp(key: Uint8Array = randomBytes(32)) {
  const barrier = new MemoryBarrier()
  const store = createTokenStore({ random: systemRandom })
  store.setKey(key)
  const base: CreateToken = { parent: null, policies: ['default'], path: 'auth/token/create', displayName: 'token', ttlSeconds: 600 }
  return {
    barrier,
    store,
    create: (params: Partial<CreateToken> = {}) => barrier.transact((transaction) => store.create(transaction, { ...base, ...params })),
    lookup: (token: string) => barrier.read(stale, (view) => store.lookup(view, token)),
    byAccessor: (accessor: string) => barrier.read(stale, (view) => store.lookupAccessor(view, accessor)),
    use: (entry: TokenEntry) => barrier.transact((transaction) => store.consumeUse(transaction, entry)),
    renew: (entry: TokenEntry, increment = 0) => barrier.transact((transaction) => store.renew(transaction, entry, increment, limits)),
    revoke: (entry: TokenEntry, max?: number): Promise<Revoked> =>
      barrier.transact((transaction) => store.revokeTree(transaction, entry, max)),
    revokeOrphan: (entry: TokenEntry) => barrier.transact((transaction) => store.revokeOrphan(transaction, entry)),
    /** What the leader does: ends what is due by the index, then what hangs below the dead. */
    tidy: async (max?: number): Promise<Revoked> => {
      const { dues } = await barrier.read(stale, (view) => readDues(view, 'root', barrier.nowMs, null, 1_000))
      const ended: TokenEntry[] = []
      for (const due of dues.filter(({ dueMs }) => dueMs <= barrier.nowMs)) {
        if (max !== undefined && ended.length >= max) return { entries: ended, more: true }
        const result = await barrier.transact((transaction) => store.endDue(transaction, due.key, 'root'))
        if (typeof result === 'object') ended.push(...result.entries)
      }
      const { entries, more } = await barrier.transact((transaction) => store.tidyStep(transaction, max))
      return { entries: [...ended, ...entries], more }
    },
  }
}

describe('create and look up', () => {
  test('a token is found by itself and by its accessor, and lies nowhere in the clear', async () => {
    const { barrier, create, lookup, byAccessor, store } = setUp()
    const { token, entry } = await create({ meta: { team: 'a' }, numUses: 3, entityId: 'e', role: 'r' })
    expect(token).toMatch(/^s\.[0-9A-Za-z]{24}$/)
    expect(entry.accessor).toMatch(/^[0-9A-Za-z]{24}$/)
    expect(await lookup(token)).toEqual(entry)
    expect(await byAccessor(entry.accessor)).toEqual(entry)
    expect(entry.idHash).toBe(store.hash(token))
    const everything = [...barrier.state].map(([key, value]) => key + Buffer.from(value).toString('latin1')).join('\n')
    expect(everything).not.toContain(token)
    expect(everything).not.toContain(token.slice(2))
  })

  test.each(['', 's.', 'x'.repeat(257), 's.unknownunknownunknown123', '../..', 'a/b', '\u0000'])('%j opens nothing', async (token) => {
    const { create, lookup, byAccessor } = setUp()
    await create()
    expect(await lookup(token)).toBeNull()
    expect(await byAccessor(token)).toBeNull()
  })

  test('another key finds nothing; without a key all is sealed', async () => {
    const { create, lookup, store } = setUp()
    const { token } = await create()
    store.setKey(randomBytes(32))
    expect(await lookup(token)).toBeNull()
    store.setKey(null)
    await expect(lookup(token)).rejects.toThrow('Vault is sealed')
  })

  test('the same key on another node finds the same tokens', async () => {
    const key = randomBytes(32)
    const a = setUp(key)
    const b = setUp(key)
    const { token, entry } = await a.create()
    b.barrier.state = a.barrier.state
    expect(await b.lookup(token)).toEqual(entry)
  })

  test("expiry is exact, by the view's clock; a token without TTL never expires", async () => {
    const { barrier, create, lookup } = setUp()
    const { token } = await create({ ttlSeconds: 10 })
    const root = await create({ ttlSeconds: 0, policies: ['root'] })
    expect(root.entry).toMatchObject({ expireTimeMs: null, renewable: false })
    barrier.nowMs += 9_999
    expect(await lookup(token)).not.toBeNull()
    barrier.nowMs += 1
    expect(await lookup(token)).toBeNull()
    barrier.nowMs += 1e12
    expect(await lookup(root.token)).not.toBeNull()
  })

  test("an id of one's own, once", async () => {
    const { create, lookup } = setUp()
    await create({ id: 'my-token' })
    expect(await lookup('my-token')).not.toBeNull()
    await expect(create({ id: 'my-token' })).rejects.toThrow('cannot create a token with a duplicate ID')
    await expect(create({ id: 'a b' })).rejects.toThrow('token id expected')
    await expect(create({ id: '' })).rejects.toThrow('token id expected')
  })

  test("what can't be stored is refused", async () => {
    const { create } = setUp()
    const meta = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, 'v']))
    await expect(create({ meta })).rejects.toThrow('metadata pairs expected at most 64, got 65')
    await expect(create({ boundCidrs: ['10.0.0.0/33'] })).rejects.toThrow('bound CIDR expected')
    await expect(create({ numUses: -1 })).rejects.toThrow('number of uses cannot be negative')
  })

  test('accessors are listed, by pages', async () => {
    const { barrier, create, store } = setUp()
    const made = [await create(), await create(), await create()]
    const expected = made.map(({ entry }) => entry.accessor).toSorted()
    expect(await barrier.read(stale, (view) => store.listAccessors(view))).toEqual(expected)
    expect(await barrier.read(stale, (view) => store.listAccessors(view, { after: expected[0]!, limit: 1 }))).toEqual([expected[1]])
  })
})

describe('uses', () => {
  test('count down; the last one is good for its request and no other', async () => {
    const { create, lookup, use, tidy } = setUp()
    const { token, entry } = await create({ numUses: 2 })
    expect((await use(entry)).numUses).toBe(1)
    expect((await lookup(token))?.numUses).toBe(1)
    // With the entry of before, as a second request that read it at the same time has it: the count is the stored one's.
    expect((await use(entry)).numUses).toBe(-1)
    expect(await lookup(token)).toBeNull()
    await expect(use(entry)).rejects.toThrow('permission denied')
    expect((await tidy()).entries.map(({ idHash }) => idHash)).toEqual([entry.idHash])
  })

  test('an unlimited token costs no write', async () => {
    const { barrier, create, use } = setUp()
    const { entry } = await create()
    const before = new Map(barrier.state)
    await use(entry)
    expect(barrier.state).toEqual(before)
  })
})

describe('renew', () => {
  test('starts the TTL anew, up to the maximum since creation', async () => {
    const { barrier, create, lookup, renew } = setUp()
    const { token, entry } = await create({ ttlSeconds: 3_600 })
    barrier.nowMs += 1_800_000
    const renewed = await renew(entry)
    expect(renewed.entry.expireTimeMs).toBe(barrier.nowMs + 3_600_000)
    expect(renewed.warnings).toEqual([])
    barrier.nowMs += 3_000_000
    const capped = await renew(entry, 5_000)
    expect(capped.entry.expireTimeMs).toBe(entry.creationTimeMs + 7_200_000)
    expect(capped.warnings).toEqual(['TTL of "1h23m20s" exceeded the effective max_ttl of "2h0m0s"; TTL value is capped accordingly'])
    expect((await lookup(token))?.lastRenewalTimeMs).toBe(barrier.nowMs)
    barrier.nowMs = entry.creationTimeMs + 7_200_000
    await expect(renew(entry)).rejects.toThrow('past the max TTL, cannot renew')
  })

  test('a periodic token lives on by its period; its explicit maximum ends it', async () => {
    const { barrier, create, renew } = setUp()
    const endless = await create({ ttlSeconds: 60, periodSeconds: 60 })
    const ending = await create({ ttlSeconds: 60, periodSeconds: 60, explicitMaxTtlSeconds: 100 })
    for (let i = 0; i < 200; i += 1) {
      barrier.nowMs += 50_000
      expect((await renew(endless.entry, 9_999)).entry.expireTimeMs).toBe(barrier.nowMs + 60_000)
      if (i === 0) expect((await renew(ending.entry)).entry.expireTimeMs).toBe(ending.entry.creationTimeMs + 100_000)
    }
  })

  test('root tokens and those that were made so are not renewable', async () => {
    const { create, renew } = setUp()
    await expect(renew((await create({ ttlSeconds: 0 })).entry)).rejects.toThrow('lease is not renewable')
    await expect(renew((await create({ renewable: false })).entry)).rejects.toThrow('lease is not renewable')
  })

  test('moves the expiry: tidying does not take it at the old time', async () => {
    const { barrier, create, lookup, renew, tidy } = setUp()
    const { token, entry } = await create({ ttlSeconds: 60 })
    barrier.nowMs += 59_000
    await renew(entry, 3_600)
    barrier.nowMs += 600_000
    expect((await tidy()).entries).toEqual([])
    expect(await lookup(token)).not.toBeNull()
    barrier.nowMs += 3_600_000
    expect((await tidy()).entries).toHaveLength(1)
    expect(barrier.state.size).toBe(0)
  })
})

describe('revoke', () => {
  test('takes the whole tree, in one entry, and leaves nothing', async () => {
    const { barrier, create, lookup, revoke } = setUp()
    const parent = await create()
    const child = await create({ parent: parent.entry })
    const grandchild = await create({ parent: child.entry })
    const other = await create()
    expect(child.entry).toMatchObject({ parentHash: parent.entry.idHash, orphan: false })
    const { entries, more } = await revoke(parent.entry)
    expect([entries.map(({ idHash }) => idHash), more]).toEqual([[parent, child, grandchild].map(({ entry }) => entry.idHash), false])
    for (const { token } of [parent, child, grandchild]) expect(await lookup(token)).toBeNull()
    expect(await lookup(other.token)).not.toBeNull()
    await revoke(other.entry)
    expect(barrier.state.size).toBe(0)
    expect(await revoke(other.entry)).toEqual({ entries: [], more: false })
  })

  test('a tree larger than one step dies at once and is deleted in steps', async () => {
    const { barrier, create, lookup, byAccessor, revoke, tidy } = setUp()
    const parent = await create()
    const made = [parent]
    for (let i = 0; i < 40; i += 1) made.push(await create({ parent: made[Math.floor(i / 3)]!.entry }))
    const first = await revoke(parent.entry, 5)
    expect([first.entries.length, first.more]).toEqual([5, true])
    for (const { token, entry } of made) {
      expect(await lookup(token)).toBeNull()
      expect(await byAccessor(entry.accessor)).toBeNull()
    }
    const revoked = new Set(first.entries.map(({ idHash }) => idHash))
    for (let steps = 0, more = true; more && steps < 100; steps += 1) {
      const step = await tidy(5)
      expect(step.entries.length).toBeLessThanOrEqual(5)
      for (const { idHash } of step.entries) revoked.add(idHash)
      more = step.more
    }
    expect(revoked.size).toBe(41)
    expect(barrier.state.size).toBe(0)
  })

  test('of one alone makes its children orphans', async () => {
    const { create, lookup, revokeOrphan } = setUp()
    const parent = await create()
    const child = await create({ parent: parent.entry })
    const grandchild = await create({ parent: child.entry })
    await revokeOrphan(parent.entry)
    expect(await lookup(parent.token)).toBeNull()
    expect(await lookup(child.token)).toMatchObject({ parentHash: null, orphan: true })
    expect(await lookup(grandchild.token)).toMatchObject({ parentHash: child.entry.idHash, orphan: false })
  })

  test('no child is born to a dead parent', async () => {
    const { barrier, create, revoke } = setUp()
    const parent = await create()
    const expiring = await create({ ttlSeconds: 5 })
    await revoke(parent.entry)
    barrier.nowMs += 5_000
    await expect(create({ parent: parent.entry })).rejects.toThrow('permission denied')
    await expect(create({ parent: expiring.entry })).rejects.toThrow('permission denied')
  })

  test('an expired parent takes its children with it, at once', async () => {
    const { barrier, create, lookup, tidy } = setUp()
    const parent = await create({ ttlSeconds: 10 })
    const child = await create({ parent: parent.entry, ttlSeconds: 1_000 })
    barrier.nowMs += 10_000
    expect(await lookup(child.token)).toBeNull()
    barrier.nowMs += 60_000
    expect((await tidy()).entries).toHaveLength(2)
    expect(barrier.state.size).toBe(0)
  })

  test('a line of parents is bounded', async () => {
    const { create, lookup } = setUp()
    let last = await create()
    for (let i = 0; i < 63; i += 1) last = await create({ parent: last.entry })
    expect(await lookup(last.token)).not.toBeNull()
    await expect(create({ parent: last.entry })).rejects.toThrow('at most 64 generations')
  })
})

test('random trees: what is revoked, expired or used up is dead with all below it, all else lives; tidying leaves only the living', async () => {
  const action = fc.record({
    kind: fc.constantFrom('create', 'create', 'create', 'orphan', 'revoke', 'revokeOrphan', 'use', 'renew', 'wait', 'tidy'),
    pick: fc.nat({ max: 30 }),
    ttlSeconds: fc.constantFrom(20, 100, 400, 2_000),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 40 }), async (actions) => {
      const house = setUp()
      interface Model {
        token: string
        entry: TokenEntry
        parent: Model | null
        expireMs: number
        uses: number
        revoked: boolean
      }
      const models: Model[] = []
      const good = (model: Model): boolean =>
        !model.revoked && model.uses !== -1 && model.expireMs > house.barrier.nowMs && (model.parent === null || good(model.parent))
      for (const { kind, pick, ttlSeconds } of actions) {
        const alive = models.filter(good)
        const chosen = alive[pick % Math.max(alive.length, 1)]
        if (kind === 'wait') house.barrier.nowMs += ttlSeconds * 100
        else if (kind === 'tidy') await house.tidy(3)
        else if (kind === 'orphan' || (kind === 'create' && chosen)) {
          const parent = kind === 'orphan' ? null : chosen!
          const numUses = pick % 3
          const { token, entry } = await house.create({ parent: parent?.entry ?? null, ttlSeconds, numUses })
          models.push({ token, entry, parent, expireMs: entry.expireTimeMs!, uses: numUses, revoked: false })
        } else if (!chosen) continue
        else if (kind === 'revoke') {
          chosen.revoked = true
          await house.revoke(chosen.entry, 2)
        } else if (kind === 'revokeOrphan') {
          for (const model of models) if (model.parent === chosen) model.parent = null
          chosen.revoked = true
          await house.revokeOrphan(chosen.entry)
        } else if (kind === 'use') {
          if (chosen.uses > 0) chosen.uses = chosen.uses === 1 ? -1 : chosen.uses - 1
          await house.use(chosen.entry)
        } else chosen.expireMs = (await house.renew(chosen.entry, ttlSeconds)).entry.expireTimeMs!
      }
      for (const model of models) if (((await house.lookup(model.token)) !== null) !== good(model)) return false
      house.barrier.nowMs += 60_000
      for (let steps = 0; steps < 200 && (await house.tidy(3)).more; steps += 1);
      await house.tidy()
      const left = [...house.barrier.state.keys()].filter((key) => key.includes('sys/token\u0000id/')).length
      return left === models.filter(good).length
    }),
    { numRuns: 2_000 },
  )
})
