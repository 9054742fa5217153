import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { LentNames } from '#barrier/lent-names.ts'
import { createNameCache, NamespaceNames, nameKeyBytes } from '#barrier/names.ts'
import { OpenedKeys } from '#barrier/opened.ts'
import type { Barrier, BarrierControl, Section, Transaction } from '#barrier/types.ts'
import { isHoldfastError } from '#base/errors.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { openBarriers, testRootKey } from '#test/support/open-barrier.ts'

vi.setConfig({ testTimeout: 60_000 })

const linear = { kind: 'linearizable' } as const
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
const inside = (namespace: string, mount = 'kv'): Section => ({ namespace, mount })
const ownKey = (fill = 9): SecretBytes => new SecretBytes(new Uint8Array(32).fill(fill))

const put = (barrier: Barrier, namespace: string, path: string, value: string): Promise<void> =>
  barrier.transact(async (tx) => tx.put(inside(namespace), path, bytes(value)))
const get = (barrier: Barrier, namespace: string, path: string): Promise<string | null> =>
  barrier.read(linear, async (view) => {
    const value = await view.get(inside(namespace), path)
    return value === null ? null : Buffer.from(value).toString()
  })
const list = (barrier: Barrier, namespace: string): Promise<string[]> => barrier.read(linear, (view) => view.list(inside(namespace), ''))
const keyrings = (barrier: Barrier, work: (writes: NonNullable<Transaction['keyrings']>) => unknown): Promise<void> =>
  barrier.transact(async (tx) => void (await work(tx.keyrings!)))
const create = (barrier: Barrier, namespace: string, own = false, parent = 'root', fill = 9): Promise<void> =>
  keyrings(barrier, (writes) => {
    const seal = { rootKey: ownKey(fill), sealConfig: bytes('how'), wrappedRootKey: bytes('wrapped') }
    writes.create(namespace, parent, own ? seal : undefined)
  })
const setSealed = (barrier: Barrier, namespace: string, sealed: boolean): Promise<void> =>
  keyrings(barrier, (writes) => writes.setSealed(namespace, sealed))
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'fine',
    (error: unknown) => (isHoldfastError(error) ? error.code : String(error)),
  )

async function caughtUp(cluster: Awaited<ReturnType<typeof openBarriers>>['cluster'], nodes: number): Promise<void> {
  for (let at = 0; at < nodes; at++) await cluster.node(at).appliedUpTo(cluster.log.length)
}

describe('a keyring per namespace', () => {
  test('is born with its first write, or by itself; the root keeps its own', async () => {
    const { barrier, replica } = await openBarriers()
    await put(barrier, 'root', 'a', 'r')
    await put(barrier, 'team', 'a', 't')
    await create(barrier, 'other')
    await put(barrier, 'other', 'a', 'o')
    for (const [namespace, value] of [
      ['root', 'r'],
      ['team', 't'],
      ['other', 'o'],
    ] as const) {
      expect(await get(barrier, namespace, 'a')).toBe(value)
      expect(await list(barrier, namespace)).toEqual(['a'])
    }
    const names = replica.dump().map(([key]) => Buffer.from(key.subarray(1)).toString())
    expect(names.filter((name) => name.startsWith('core/namespace-keyring/'))).toHaveLength(2)
    expect(names.filter((name) => name.startsWith('core/name-key/'))).toHaveLength(3)
    expect(barrier.namespaces.status('team')).toMatchObject({ sealed: false, ownSeal: false, wanted: true, keyringTerm: 1 })
    expect(barrier.namespaces.status('root')).toBeNull()
    expect(barrier.namespaces.status('nobody')).toBeNull()
    expect(await codeOf(create(barrier, 'other'))).toBe('ERR_CONFLICT')
    expect(await codeOf(create(barrier, 'root'))).toBe('ERR_BAD_REQUEST')
    expect(replica.openViews).toBe(0)
  })

  test('its terms are its own: a rotation changes neither the root nor a neighbour, and what was sealed before opens', async () => {
    const { barrier, at, cluster } = await openBarriers(2)
    await put(barrier, 'team', 'old', '1')
    await put(barrier, 'next', 'old', '1')
    await keyrings(barrier, (writes) => expect(writes.rotate('team')).toBe(2))
    await put(barrier, 'team', 'new', '2')
    await caughtUp(cluster, 2)
    for (const each of [barrier, at(1)]) {
      expect(await get(each, 'team', 'old')).toBe('1')
      expect(await get(each, 'team', 'new')).toBe('2')
      expect(each.namespaces.status('team')?.keyringTerm).toBe(2)
      expect(each.namespaces.status('next')?.keyringTerm).toBe(1)
      expect(each.status().keyringTerm).toBe(1)
    }
    expect(barrier.namespaces.status('team')?.encryptions).toBeGreaterThanOrEqual(1)
    await barrier.rotate()
    await put(barrier, 'team', 'third', '3')
    expect(barrier.namespaces.status('team')?.keyringTerm).toBe(2)
    expect(barrier.status().keyringTerm).toBe(2)
    expect(await codeOf(keyrings(barrier, (writes) => writes.rotate('nobody')))).toBe('ERR_NOT_FOUND')
  })

  test('what one transaction writes in several namespaces is sealed in each, without using up epochs', async () => {
    const { barrier } = await openBarriers()
    for (let i = 0; i < 300; i++)
      await barrier.transact(async (tx) => {
        for (const namespace of ['a', 'root', 'b']) tx.put(inside(namespace), `k${i}`, bytes(`${namespace}${i}`))
      })
    expect(await get(barrier, 'a', 'k299')).toBe('a299')
    expect(await get(barrier, 'b', 'k0')).toBe('b0')
    // Were an epoch begun at each change of keyring, the count under the present key would be a handful.
    expect(barrier.status().sealedUnderKey).toBeGreaterThanOrEqual(300)
    expect(barrier.namespaces.status('a')?.encryptions).toBeGreaterThanOrEqual(300)
  })

  test('a record of one namespace is never opened in another, whatever the names', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.stringMatching(/^[a-z]{1,6}$/), { minLength: 2, maxLength: 4 }),
        fc.uniqueArray(fc.stringMatching(/^[a-z]{1,4}$/), { minLength: 1, maxLength: 3 }),
        async (namespaces, paths) => {
          const { barrier, replica } = await openBarriers()
          const before = new Set<string>()
          const places: { namespace: string; path: string; key: Uint8Array; record: Uint8Array }[] = []
          const note = (namespace: string, path: string): void => {
            for (const [key, record] of replica.dump()) {
              const id = Buffer.from(key).toString('hex')
              if (key[0] !== 0x40 && !before.has(id)) places.push({ namespace, path, key, record })
              before.add(id)
            }
          }
          note('', '')
          for (const namespace of ['root', ...namespaces])
            for (const path of paths) {
              await put(barrier, namespace, path, `${namespace}/${path}`)
              note(namespace, path)
            }
          for (const to of places)
            for (const from of places) {
              if (from === to) continue
              replica.tamper(to.key, from.record)
              const fresh = await codeOf(get(barrier, to.namespace, to.path))
              replica.tamper(to.key, to.record)
              expect(fresh).toBe('ERR_DECRYPT')
            }
          for (const { namespace, path } of places) expect(await get(barrier, namespace, path)).toBe(`${namespace}/${path}`)
        },
      ),
      { numRuns: 15 },
    )
  })
})

describe('a seal of its own', () => {
  test('sealed: every read and write is refused and nothing of it stays; others are served; unsealed: the same values', async () => {
    const { barrier, at, cluster, replica } = await openBarriers(2)
    await create(barrier, 'own', true)
    await create(barrier, 'child', false, 'own')
    for (const namespace of ['root', 'team', 'own', 'child']) await put(barrier, namespace, 'a', `${namespace}!`)
    expect(await get(barrier, 'own', 'a')).toBe('own!')
    await caughtUp(cluster, 2)
    // The other node has not been given the key: it is not in the state.
    expect(await codeOf(get(at(1), 'own', 'a'))).toBe('ERR_NAMESPACE_SEALED')
    expect(await codeOf(get(at(1), 'child', 'a'))).toBe('ERR_NAMESPACE_SEALED')
    at(1).namespaces.open('own', ownKey())
    expect(await get(at(1), 'child', 'a')).toBe('child!')

    const closed: string[][] = []
    at(1).namespaces.onChange((ids) => ids !== null && closed.push([...ids]))
    await setSealed(barrier, 'own', true)
    await caughtUp(cluster, 2)
    expect(closed.map((ids) => ids.length)).toEqual([2])
    for (const each of [barrier, at(1)]) {
      for (const namespace of ['own', 'child']) {
        expect(await codeOf(get(each, namespace, 'a'))).toBe('ERR_NAMESPACE_SEALED')
        expect(await codeOf(list(each, namespace))).toBe('ERR_NAMESPACE_SEALED')
        expect(each.namespaces.status(namespace)?.sealed).toBe(true)
      }
      expect(await get(each, 'root', 'a')).toBe('root!')
      expect(await get(each, 'team', 'a')).toBe('team!')
      expect(() => each.namespaces.open('own', ownKey())).not.toThrow() // The key is right; but the cluster's word is that it is sealed.
      expect(await codeOf(get(each, 'own', 'a'))).toBe('ERR_NAMESPACE_SEALED')
    }
    expect(await codeOf(put(barrier, 'own', 'b', 'x'))).toBe('ERR_NAMESPACE_SEALED')
    expect(await codeOf(keyrings(barrier, (writes) => writes.rotate('own')))).toBe('ERR_NAMESPACE_SEALED')
    expect(await codeOf(create(barrier, 'late', false, 'own'))).toBe('ERR_NAMESPACE_SEALED')

    await setSealed(barrier, 'own', false)
    for (const namespace of ['own', 'child']) expect(await get(barrier, namespace, 'a')).toBe(`${namespace}!`)
    expect(replica.openViews).toBe(0)
  })

  test('whether something lies under a seal of its own is told for what lies in it too; sealed, or destroyed, the answer is yes', async () => {
    const { barrier } = await openBarriers()
    await create(barrier, 'own', true)
    await keyrings(barrier, (writes) => writes.create('child', 'own'))
    await create(barrier, 'plain')
    const told = async (): Promise<boolean[]> => {
      const answers: boolean[] = []
      await keyrings(barrier, (writes) => {
        answers.splice(0, answers.length, ...['root', 'plain', 'never', 'own', 'child'].map((each) => writes.underOwnSeal(each)))
      })
      return answers
    }
    expect(await told()).toEqual([false, false, false, true, true])
    await setSealed(barrier, 'own', true)
    expect(await told()).toEqual([false, false, false, true, true])
    await keyrings(barrier, (writes) => void writes.destroy('own'))
    expect(await told()).toEqual([false, false, false, true, true])
  })

  test('another key opens nothing, and a restart closes it: the root key alone does not open it', async () => {
    const { barrier } = await openBarriers()
    await create(barrier, 'own', true)
    await put(barrier, 'own', 'a', '1')
    await setSealed(barrier, 'own', true)
    await setSealed(barrier, 'own', false)
    expect(await codeOf(get(barrier, 'own', 'a'))).toBe('ERR_NAMESPACE_SEALED')
    expect(() => barrier.namespaces.open('own', ownKey(8))).toThrow(expect.objectContaining({ code: 'ERR_DECRYPT' }))
    barrier.namespaces.open('own', ownKey())
    expect(await get(barrier, 'own', 'a')).toBe('1')
    barrier.seal()
    expect(() => barrier.namespaces.status('own')).toThrow(expect.objectContaining({ code: 'ERR_SEALED' }))
    barrier.open(testRootKey())
    expect(await codeOf(get(barrier, 'own', 'a'))).toBe('ERR_NAMESPACE_SEALED')
    await barrier.namespaces.refresh()
    expect(barrier.namespaces.wanted()).toHaveLength(1)
    expect(barrier.namespaces.counts()).toEqual({ open: 0, sealed: 1 })
    barrier.namespaces.open('own', ownKey())
    expect(barrier.namespaces.wanted()).toEqual([])
    expect(barrier.namespaces.counts()).toEqual({ open: 1, sealed: 0 })
  })

  test('its key is handed out only where it is open, and in the generation that is asked for', async () => {
    const { barrier, at, cluster } = await openBarriers(2)
    await create(barrier, 'own', true)
    await put(barrier, 'own', 'a', '1')
    await caughtUp(cluster, 2)
    const other = at(1).namespaces
    await other.refresh()
    const [id = ''] = other.wanted()
    const generation = other.generationOf(id) ?? 0
    expect(generation).toBe(1)
    expect(other.rootKeyFor(id, generation)).toBeNull()
    expect(barrier.namespaces.rootKeyFor(id, generation + 1)).toBeNull()
    expect(barrier.namespaces.rootKeyFor('0'.repeat(16), 1)).toBeNull()
    expect(other.openById(id, ownKey(8))).toBe(false)
    const key = barrier.namespaces.rootKeyFor(id, generation)
    expect(other.openById(id, key!)).toBe(true)
    expect(await get(at(1), 'own', 'a')).toBe('1')
    await setSealed(barrier, 'own', true)
    await caughtUp(cluster, 2)
    expect(barrier.namespaces.rootKeyFor(id, generation)).toBeNull()
    expect(other.generationOf(id)).toBeNull()
    expect(other.wanted()).toEqual([])
    expect(other.openById(id, ownKey())).toBe(false)
  })

  test('a rekey changes its root key; nodes that have it open go on, the old key opens nothing', async () => {
    const { barrier, at, cluster } = await openBarriers(2)
    await create(barrier, 'own', true)
    await put(barrier, 'own', 'a', '1')
    await caughtUp(cluster, 2)
    at(1).namespaces.open('own', ownKey())
    const change = (expected: string): Promise<void> =>
      keyrings(barrier, (writes) =>
        writes.changeSeal('own', { records: { sealConfig: bytes('new') }, expected: { sealConfig: bytes(expected) }, rootKey: ownKey(5) }),
      )
    expect(await codeOf(change('other'))).toBe('ERR_CONFLICT')
    await change('how')
    await put(barrier, 'own', 'b', '2')
    await caughtUp(cluster, 2)
    for (const each of [barrier, at(1)]) {
      expect(await get(each, 'own', 'a')).toBe('1')
      expect(await get(each, 'own', 'b')).toBe('2')
      expect(each.namespaces.isRootKey('own', ownKey(5).reveal())).toBe(true)
      expect(each.namespaces.isRootKey('own', ownKey().reveal())).toBe(false)
    }
    await setSealed(barrier, 'own', true)
    await setSealed(barrier, 'own', false)
    expect(() => barrier.namespaces.open('own', ownKey())).toThrow(expect.objectContaining({ code: 'ERR_DECRYPT' }))
    barrier.namespaces.open('own', ownKey(5))
    expect(await get(barrier, 'own', 'a')).toBe('1')
  })

  test.each(['own', 'child'])('a write in %s that was evaluated before the seal is not committed after it', async (where) => {
    const { barrier } = await openBarriers()
    await create(barrier, 'own', true)
    await keyrings(barrier, (writes) => writes.create('child', 'own'))
    await put(barrier, where, 'a', '1')
    let attempts = 0
    const late = barrier.transact(async (tx) => {
      attempts++
      tx.put(inside(where), 'a', bytes('2'))
      if (attempts === 1) await setSealed(barrier, 'own', true)
    })
    expect(await codeOf(late)).toBe('ERR_NAMESPACE_SEALED')
    await setSealed(barrier, 'own', false)
    barrier.namespaces.open('own', ownKey())
    expect(await get(barrier, where, 'a')).toBe('1')
  })
})

/** The replica's feed stands still after each change of the state, until it is let go. */
function heldFeed(replica: Awaited<ReturnType<typeof openBarriers>>['replica']) {
  const held = Promise.withResolvers<void>()
  const reached = Promise.withResolvers<void>()
  replica.announceGap = () => {
    reached.resolve()
    return held.promise
  }
  const letGo = (): void => {
    replica.announceGap = null
    held.resolve()
  }
  return { reached: reached.promise, letGo }
}

test.each(['own', 'child'])('nor while this node has not heard of the seal yet: a write in %s', async (where) => {
  const { barrier, replica } = await openBarriers()
  await create(barrier, 'own', true)
  await keyrings(barrier, (writes) => writes.create('child', 'own'))
  await put(barrier, where, 'a', '1')
  const sealing: Promise<void>[] = []
  const feed = heldFeed(replica)
  const late = barrier.transact(async (tx) => {
    tx.put(inside(where), 'a', bytes('2'))
    if (sealing.length > 0) return
    // Committed and applied; but nobody has been told, so that the keys are still open here.
    sealing.push(setSealed(barrier, 'own', true))
    await feed.reached
    setImmediate(feed.letGo)
  })
  expect(await codeOf(late)).toBe('ERR_NAMESPACE_SEALED')
  await Promise.all(sealing)
  await setSealed(barrier, 'own', false)
  barrier.namespaces.open('own', ownKey())
  expect(await get(barrier, where, 'a')).toBe('1')
})

describe('name keys that nobody is given any more', () => {
  /** Every name key that the barrier makes names of from now on: the very buffers, by namespace. */
  function seen() {
    const buffers = new Map<string, Uint8Array[]>()
    // oxlint-disable-next-line typescript/unbound-method -- called with the barrier's own below
    const original = OpenedKeys.prototype.newNames
    const spy = vi.spyOn(OpenedKeys.prototype, 'newNames').mockImplementation(function (this: OpenedKeys, namespace, nameKey, ring) {
      buffers.set(namespace, [...(buffers.get(namespace) ?? []), nameKey])
      return original.call(this, namespace, nameKey, ring)
    })
    const wiped = (namespace: string): boolean[] => (buffers.get(namespace) ?? []).map((buffer) => buffer.every((byte) => byte === 0))
    return { wiped, restore: () => spy.mockRestore() }
  }
  const stale = { kind: 'stale' } as const
  const text = (value: Uint8Array | null): string => Buffer.from(value ?? []).toString()

  test('a view ahead of the feed has its own, once, and they are wiped when it ends', async () => {
    const { barrier, replica } = await openBarriers()
    await create(barrier, 'own', true)
    await put(barrier, 'own', 'a', '1')
    await put(barrier, 'own', 'b', '2')
    const feed = heldFeed(replica)
    const writing = put(barrier, 'root', 'x', 'y')
    await feed.reached
    const { wiped, restore } = seen()
    try {
      await barrier.read(stale, async (view) => {
        expect(text(await view.get(inside('own'), 'a'))).toBe('1')
        expect(text(await view.get(inside('own'), 'b'))).toBe('2')
        expect(wiped('own')).toEqual([false])
      })
      expect(wiped('own')).toEqual([true])
    } finally {
      feed.letGo()
      restore()
    }
    await writing
    expect(await get(barrier, 'own', 'a')).toBe('1')
  })

  test('sealed, all of them are wiped at once: the kept, the lent, and those of views of before', async () => {
    const { barrier, replica } = await openBarriers()
    await create(barrier, 'own', true)
    await create(barrier, 'team')
    const { wiped, restore } = seen()
    await put(barrier, 'own', 'a', '1')
    await put(barrier, 'team', 'a', '1')
    const held = Promise.withResolvers<void>()
    const step = Promise.withResolvers<void>()
    try {
      const late = barrier.read(stale, async (view) => {
        expect(text(await view.get(inside('own'), 'a'))).toBe('1')
        step.resolve()
        await held.promise
        return view.get(inside('own'), 'a')
      })
      await step.promise
      // Another state: names are read anew, and the view of before goes on with its own.
      replica.announceEverything()
      expect(await get(barrier, 'own', 'a')).toBe('1')
      expect(await get(barrier, 'team', 'a')).toBe('1')
      expect(wiped('own')).toEqual([false, false])
      await setSealed(barrier, 'own', true)
      expect(wiped('own')).toEqual([true, true])
      expect(wiped('team').at(-1)).toBe(false)
      held.resolve()
      expect(await codeOf(late)).toBe('ERR_NAMESPACE_SEALED')
    } finally {
      held.resolve()
      restore()
    }
  })

  test('the names of one namespace do not go when another is made', async () => {
    const { barrier } = await openBarriers()
    await create(barrier, 'team')
    await put(barrier, 'team', 'a', '1')
    expect(await get(barrier, 'team', 'a')).toBe('1')
    const { wiped, restore } = seen()
    await create(barrier, 'other')
    expect(await get(barrier, 'team', 'a')).toBe('1')
    restore()
    expect(wiped('team')).toEqual([])
    expect(wiped('other')).toEqual([true])
  })

  test('what is retired waits for the views of before, and for no others', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom('begin', 'end', 'retire', 'lend'), fc.nat(3)), { maxLength: 60 }), (steps) => {
        const lent = new LentNames()
        const fresh = () => {
          const key = new Uint8Array(nameKeyBytes).fill(1)
          return { key, names: new NamespaceNames('n', key, createNameCache(0)) }
        }
        const views: ({ index: number; epoch: number } | undefined)[] = []
        const waiting: { readonly key: Uint8Array; readonly users: Set<object> }[] = []
        for (const [what, at] of steps) {
          const view = views[at]
          if (what === 'begin' && view === undefined) lent.begin((views[at] = { index: 1, epoch: 0 }))
          if (what === 'end' && view !== undefined) {
            lent.end(view)
            views[at] = undefined
            for (const { users } of waiting) users.delete(view)
          }
          if (what === 'retire') {
            const { key, names } = fresh()
            waiting.push({ key, users: new Set(views.filter((each) => each !== undefined)) })
            lent.retire(names)
          }
          if (what === 'lend' && view !== undefined && lent.lentTo(view, 'n') === undefined) {
            const { key, names } = fresh()
            waiting.push({ key, users: new Set([view]) })
            lent.lend(view, 'n', names)
          }
          // What somebody uses is whole; what nobody uses, and nobody older is under way beside, is gone.
          for (const { key, users } of waiting) if (users.size > 0) expect(key[0]).toBe(1)
        }
        for (const view of views) if (view !== undefined) lent.end(view)
        expect(lent.size).toBe(0)
        for (const { key } of waiting) expect(key.every((byte) => byte === 0)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })
})

describe('destroyed', () => {
  const destroyedHere = async (barrier: BarrierControl, namespace: string): Promise<void> => {
    await keyrings(barrier, (writes) => expect(writes.destroy(namespace)).toBe(true))
  }

  test.each([true, false])(
    'sealed: %s. It is unreadable for good, with what lies in it; others are untouched; the ciphertexts are swept',
    async (sealed) => {
      const { barrier, replica } = await openBarriers()
      await create(barrier, 'own', true)
      await create(barrier, 'child', false, 'own')
      for (const namespace of ['own', 'child', 'team']) for (const path of ['a', 'b/c']) await put(barrier, namespace, path, namespace)
      const before = replica.dump().length
      if (sealed) await setSealed(barrier, 'own', true)
      await destroyedHere(barrier, 'own')
      for (const namespace of ['own', 'child']) {
        expect(await codeOf(get(barrier, namespace, 'a'))).toBe('ERR_NAMESPACE_SEALED')
        expect(await codeOf(put(barrier, namespace, 'a', 'x'))).toBe('ERR_NAMESPACE_SEALED')
      }
      expect(await codeOf(create(barrier, 'own', true))).toBe('ERR_CONFLICT')
      expect(() => barrier.namespaces.open('own', ownKey())).toThrow(expect.objectContaining({ code: 'ERR_DECRYPT' }))
      expect(await get(barrier, 'team', 'b/c')).toBe('team')
      // In parts; the child's keys are its own to destroy.
      await destroyedHere(barrier, 'child')
      let swept = 0
      for (let round = 0, deleted = 1; deleted > 0 && round < 20; round++) swept += deleted = await barrier.namespaces.sweepDestroyed(2)
      expect(swept).toBeGreaterThanOrEqual(4)
      expect(replica.dump().length).toBeLessThan(before - 8)
      const names = replica.dump().map(([key]) => Buffer.from(key).toString('latin1'))
      expect(names.filter((name) => name.includes('core/namespace-'))).toHaveLength(2) // Keyring and uses of 'team'.
      expect(await get(barrier, 'team', 'a')).toBe('team')
      expect(await get(barrier, 'own', 'a')).toBeNull()
    },
  )

  test('keyrings are bound to their place: that of one namespace in the place of another opens nothing', async () => {
    const { barrier, replica } = await openBarriers()
    await create(barrier, 'own', true)
    await create(barrier, 'twin', true, 'root', 7)
    for (const namespace of ['own', 'twin', 'a', 'b']) await put(barrier, namespace, 'k', namespace)
    const rings = replica.dump().filter(([key]) => Buffer.from(key).includes('core/namespace-keyring/'))
    expect(rings).toHaveLength(4)
    barrier.seal()
    for (const [at, [key, record]] of rings.entries())
      for (let shift = 1; shift < rings.length; shift++) {
        replica.tamper(key, rings[(at + shift) % rings.length]![1])
        barrier.open(testRootKey())
        const codes: string[] = []
        for (const namespace of ['a', 'b', 'own', 'twin']) {
          for (const fill of [9, 7])
            try {
              barrier.namespaces.open(namespace, ownKey(fill))
            } catch (error) {
              expect(isHoldfastError(error)).toBe(true)
            }
          codes.push(await codeOf(get(barrier, namespace, 'k')))
        }
        expect(codes.filter((code) => code === 'fine')).toHaveLength(3)
        expect(codes.filter((code) => code === 'ERR_DECRYPT' || code === 'ERR_NAMESPACE_SEALED')).toHaveLength(1)
        barrier.seal()
        replica.tamper(key, record)
      }
    expect(systemRandom.bytes(1)).toHaveLength(1)
  })
})
