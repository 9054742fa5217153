import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { createBarrier } from '#barrier/barrier.ts'
import { bareKey } from '#barrier/bare.ts'
import { CommitAndThrow } from '#barrier/types.ts'
import type { Barrier, Section, Transaction } from '#barrier/types.ts'
import { HoldfastError } from '#base/errors.ts'
import { limits } from '#base/limits.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { createFakeReplica } from '#test/support/fake-replica.ts'
import { openBarriers, standingClock, testRootKey } from '#test/support/open-barrier.ts'

const kv: Section = { namespace: 'root', mount: 'kv' }
const linear = { kind: 'linearizable' } as const
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
const text = (value: Uint8Array | null): string | null => (value === null ? null : Buffer.from(value).toString())
const put = (barrier: Barrier, path: string, value: string, section = kv): Promise<void> =>
  barrier.transact(async (tx) => tx.put(section, path, bytes(value)))
const get = (barrier: Barrier, path: string, section = kv): Promise<string | null> =>
  barrier.read(linear, async (view) => text(await view.get(section, path)))
const list = (barrier: Barrier, prefix: string): Promise<string[]> => barrier.read(linear, (view) => view.list(kv, prefix))

test('what is written is read back, here and on a follower; nothing of it is readable below', async () => {
  const { barriers, replica, at } = await openBarriers(3)
  await put(at(0), 'customers/acme/password', 'correct horse battery staple')
  for (const barrier of barriers) {
    expect(await get(barrier, 'customers/acme/password')).toBe('correct horse battery staple')
    expect(await get(barrier, 'customers/acme')).toBeNull()
    expect(await list(barrier, 'customers')).toEqual(['acme/'])
  }
  const disk = Buffer.concat(replica.dump().flat())
  for (const word of ['customers', 'acme', 'password', 'correct horse', '"kv"'])
    for (const form of [word, Buffer.from(word).toString('base64').slice(0, -2), Buffer.from(word).toString('hex')])
      expect(disk.includes(form), form).toBe(false)
  expect(disk.includes('core/keyring')).toBe(true) // The search would find what is there.
  expect(replica.openViews).toBe(0)
})

test('namespaces and mounts do not see each other', async () => {
  const { barrier } = await openBarriers()
  await put(barrier, 'a', '1')
  await put(barrier, 'a', '2', { namespace: 'team', mount: 'kv' })
  await put(barrier, 'a', '3', { namespace: 'root', mount: 'kv2' })
  expect(await get(barrier, 'a')).toBe('1')
  expect(await get(barrier, 'a', { namespace: 'team', mount: 'kv' })).toBe('2')
  expect(await get(barrier, 'a', { namespace: 'root', mount: 'kv2' })).toBe('3')
  expect(await get(barrier, 'a', { namespace: 'nobody', mount: 'kv' })).toBeNull()
})

test('a transaction reads its own writes, in lists too, and all of them are committed at once', async () => {
  const { barrier, replica } = await openBarriers()
  await barrier.transact(async (tx) => {
    for (const path of ['f/a', 'f/b', 'f/sub/x', 'f/sub2/x', 'g/y']) tx.put(kv, path, bytes(path))
  })
  const before = replica.proposals.length
  await barrier.transact(async (tx) => {
    tx.put(kv, 'f/new', bytes('new'))
    tx.put(kv, 'f/deep/er/z', bytes('z'))
    tx.delete(kv, 'f/a')
    tx.delete(kv, 'f/sub/x')
    tx.put(kv, 'f/sub2/y', bytes('y'))
    tx.delete(kv, 'f/sub2/x')
    expect(await tx.list(kv, 'f')).toEqual(['b', 'deep/', 'new', 'sub2/'])
    expect(text(await tx.get(kv, 'f/new'))).toBe('new')
    expect(await tx.get(kv, 'f/a')).toBeNull()
    expect(await tx.list(kv, 'f/deep')).toEqual(['er/'])
    expect(tx.writes).toBe(6)
  })
  expect(replica.proposals.length).toBe(before + 1)
  expect(await list(barrier, 'f')).toEqual(['b', 'deep/', 'new', 'sub2/'])
  expect(await list(barrier, '')).toEqual(['f/', 'g/'])
})

test('a name can be a value and a folder at once', async () => {
  const { barrier } = await openBarriers()
  await put(barrier, 'a', 'value')
  await put(barrier, 'a/b', 'below')
  expect(await list(barrier, '')).toEqual(['a', 'a/'])
  await barrier.transact(async (tx) => tx.delete(kv, 'a'))
  expect(await list(barrier, '')).toEqual(['a/'])
  expect(await get(barrier, 'a/b')).toBe('below')
})

test('a conflict runs the work again on a fresh view: no update is lost', async () => {
  const { barrier, replica } = await openBarriers()
  await put(barrier, 'n', '0')
  const increment = (): Promise<void> =>
    barrier.transact(async (tx) => tx.put(kv, 'n', bytes(String(Number(text(await tx.get(kv, 'n'))) + 1))))
  await Promise.all(Array.from({ length: 20 }, increment))
  expect(await get(barrier, 'n')).toBe('20')
  expect(replica.openViews).toBe(0)
})

test.each([
  ['a key read as absent', async (tx: Transaction) => void (await tx.get(kv, 'new'))],
  ['a listed folder', async (tx: Transaction) => void (await tx.list(kv, ''))],
  ['a folder that was asked after', async (tx: Transaction) => void (await tx.holds(kv, 'new'))],
  ['a deleted tree', async (tx: Transaction) => void (await tx.deleteTree(kv, '', 10))],
])('%s that changed meanwhile is a conflict', async (_what, look) => {
  const { barrier, replica } = await openBarriers()
  await put(barrier, 'first', '1')
  let competed = false
  replica.beforePropose = async () => {
    if (competed) return
    competed = true
    await put(barrier, 'new', 'by another')
    await put(barrier, 'new/below', 'by another')
  }
  let runs = 0
  await barrier.transact(async (tx) => {
    runs++
    await look(tx)
    tx.put(kv, 'mine', bytes('1'))
  })
  expect(runs).toBe(2)
})

test('what the transaction did not read is no conflict', async () => {
  const { barrier, replica } = await openBarriers()
  await put(barrier, 'other/x', '1')
  let competed = false
  replica.beforePropose = async () => {
    if (competed) return
    competed = true
    await put(barrier, 'other/y', 'by another')
  }
  const work = vi.fn(async (tx: Transaction) => {
    tx.put(kv, 'mine', bytes('1'))
    await tx.get(kv, 'mine')
    await tx.list(kv, 'folder')
  })
  await barrier.transact(work)
  expect(work).toHaveBeenCalledTimes(1)
})

test('attempts are bounded', async () => {
  const { barrier, replica } = await openBarriers()
  let nested = false
  let n = 0
  replica.beforePropose = async () => {
    if (nested) return
    nested = true
    await put(barrier, 'hot', String(n++))
    nested = false
  }
  const work = vi.fn(async (tx: Transaction) => {
    await tx.get(kv, 'hot')
    tx.put(kv, 'mine', bytes('1'))
  })
  await expect(barrier.transact(work)).rejects.toMatchObject({ code: 'ERR_CONFLICT' })
  expect(work).toHaveBeenCalledTimes(limits.transactionAttemptsMax)
  expect(await get(barrier, 'mine')).toBeNull()
})

test('without writes the leader is confirmed before the answer', async () => {
  const { barrier, cluster, replica } = await openBarriers(2)
  const before = replica.readIndexes
  expect(await barrier.transact(async (tx) => text(await tx.get(kv, 'a')))).toBeNull()
  expect(replica.readIndexes).toBe(before + 1)
  const deposed = barrier.transact(async (tx) => {
    cluster.elect('node-2')
    return tx.get(kv, 'a')
  })
  await expect(deposed).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
})

test('what writes nothing is not answered from a view that lacks what a follower has shown already', async () => {
  const { barrier, replica, at } = await openBarriers(2)
  replica.paused = true
  const written = barrier.transact(async (tx) => tx.put(kv, 'a', bytes('new')))
  // Committed, and applied by the follower, while the leader still applies what came before.
  await expect.poll(() => get(at(1), 'a')).toBe('new')
  let evaluated = 0
  const asked = barrier.transact(async (tx) => {
    evaluated += 1
    return text(await tx.get(kv, 'a'))
  })
  const refused = barrier.transact(async (tx) => {
    if ((await tx.get(kv, 'a')) === null) throw new HoldfastError('ERR_CAS_MISMATCH', 'of before')
  })
  await expect.poll(() => evaluated).toBe(1)
  replica.resume()
  expect(await asked).toBe('new')
  await refused
  await written
  expect(evaluated).toBe(2)
  // And once is enough where the view is of now.
  const before = replica.readIndexes
  expect(await barrier.transact(async (tx) => text(await tx.get(kv, 'a')))).toBe('new')
  expect(replica.readIndexes).toBe(before + 1)
})

test('an error of the work is passed on, after the same confirmation, and nothing is written', async () => {
  const { barrier, cluster, replica } = await openBarriers(2)
  const casMismatch = new HoldfastError('ERR_CAS_MISMATCH', 'mismatch')
  const failing = async (tx: Transaction): Promise<never> => {
    tx.put(kv, 'a', bytes('1'))
    throw casMismatch
  }
  const proposals = replica.proposals.length
  const before = replica.readIndexes
  await expect(barrier.transact(failing)).rejects.toBe(casMismatch)
  expect([replica.readIndexes, replica.proposals.length]).toEqual([before + 1, proposals])
  // A deposed leader must not answer from what it no longer knows to be current.
  const deposed = barrier.transact(async (tx) => {
    cluster.elect('node-2')
    return failing(tx)
  })
  await expect(deposed).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
  cluster.elect(null)
  await expect(barrier.transact(failing)).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
})

test('leadership that was lost and won again during the work is not the leadership it began in', async () => {
  const { barrier, cluster } = await openBarriers(2)
  const work = barrier.transact(async (tx) => {
    tx.put(kv, 'a', bytes('1'))
    cluster.elect('node-2')
    cluster.elect('node-1')
    await cluster.node(0).appliedUpTo(cluster.log.length)
  })
  await expect(work).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
  expect(await get(barrier, 'a')).toBeNull()
})

test('CommitAndThrow commits, then throws its reason; a conflict runs it again all the same', async () => {
  const { barrier, replica } = await openBarriers()
  const reason = new HoldfastError('ERR_PERMISSION_DENIED', 'denied')
  let competed = false
  replica.beforePropose = async () => {
    if (competed) return
    competed = true
    await put(barrier, 'uses', '5')
  }
  const work = barrier.transact(async (tx) => {
    const uses = Number(text(await tx.get(kv, 'uses')) ?? '9')
    tx.put(kv, 'uses', bytes(String(uses - 1)))
    throw new CommitAndThrow(reason)
  })
  await expect(work).rejects.toBe(reason)
  expect(await get(barrier, 'uses')).toBe('4')
  await expect(barrier.transact(async () => Promise.reject(new CommitAndThrow(reason)))).rejects.toBe(reason)
})

test('errors of the replica are passed on; the work is not run again', async () => {
  const { barrier, replica } = await openBarriers()
  for (const code of ['ERR_OUTCOME_UNKNOWN', 'ERR_BUSY', 'ERR_NOT_LEADER'] as const) {
    replica.failNextPropose = new HoldfastError(code, 'planted')
    const work = vi.fn(async (tx: Transaction) => tx.put(kv, 'a', bytes('1')))
    await expect(barrier.transact(work)).rejects.toMatchObject({ code })
    expect(work).toHaveBeenCalledTimes(1)
  }
})

test('values and transactions are bounded', async () => {
  const { barrier } = await openBarriers()
  const large = (size: number): Uint8Array => new Uint8Array(size)
  await barrier.transact(async (tx) => tx.put(kv, 'max', large(limits.storageValueBytesMax)))
  const tooLarge = barrier.transact(async (tx) => tx.put(kv, 'max', large(limits.storageValueBytesMax + 1)))
  await expect(tooLarge).rejects.toMatchObject({ code: 'ERR_BODY_TOO_LARGE', hint: expect.stringMatching(/split/) })
  const tooMuch = barrier.transact(async (tx) => {
    for (let i = 0; i < 9; i++) tx.put(kv, `v${i}`, large(limits.storageValueBytesMax))
  })
  await expect(tooMuch).rejects.toMatchObject({ code: 'ERR_BODY_TOO_LARGE' })
  await barrier.transact(async (tx) => {
    for (let i = 0; i < 9; i++) tx.put(kv, 'same', large(limits.storageValueBytesMax)) // The last one counts.
  })
})

test('deleteTree deletes below the folder only, counts, and is bounded', async () => {
  const { barrier } = await openBarriers()
  await barrier.transact(async (tx) => {
    for (const path of ['a', 'a/1', 'a/2/3', 'a/2/4', 'ab/1', 'b']) tx.put(kv, path, bytes(path))
  })
  await expect(barrier.transact((tx) => tx.deleteTree(kv, 'a', 2))).rejects.toMatchObject({ code: 'ERR_BUSY' })
  const count = await barrier.transact(async (tx) => {
    tx.put(kv, 'a/new', bytes('new'))
    tx.delete(kv, 'a/1')
    return tx.deleteTree(kv, 'a', 3)
  })
  expect(count).toBe(3)
  expect(await list(barrier, '')).toEqual(['a', 'ab/', 'b'])
  expect(await barrier.transact((tx) => tx.deleteTree(kv, '', 10))).toBe(3)
  expect(await list(barrier, '')).toEqual([])
})

test('a sealed barrier answers nothing, and what still runs ends with ERR_SEALED', async () => {
  const { barrier, replica } = await openBarriers()
  await put(barrier, 'a', '1')
  const changes: boolean[] = []
  const unsubscribe = barrier.onSealChange((sealed) => changes.push(sealed))
  const running = barrier.read(linear, async (view) => {
    barrier.seal()
    return view.get(kv, 'a')
  })
  await expect(running).rejects.toMatchObject({ code: 'ERR_SEALED', message: 'Vault is sealed' })
  await expect(get(barrier, 'a')).rejects.toMatchObject({ code: 'ERR_SEALED' })
  await expect(put(barrier, 'a', '2')).rejects.toMatchObject({ code: 'ERR_SEALED' })
  expect(() => barrier.derivedKey('audit')).toThrow('Vault is sealed')
  expect(replica.sealed).toBe(true)
  expect(barrier.status()).toMatchObject({ sealed: true, keyringTerm: null })

  barrier.open(testRootKey())
  const proposals = replica.proposals.length
  const writing = barrier.transact(async (tx) => {
    tx.put(kv, 'a', bytes('2'))
    barrier.seal()
  })
  await expect(writing).rejects.toMatchObject({ code: 'ERR_SEALED' })
  expect(replica.proposals.length).toBe(proposals)
  barrier.open(testRootKey())
  expect(await get(barrier, 'a')).toBe('1')
  unsubscribe()
  barrier.seal()
  expect(changes).toEqual([true, false, true, false])
  expect(replica.openViews).toBe(0)
})

test('opening: a wrong root key, an empty state, and being open already', async () => {
  const { barrier } = await openBarriers()
  barrier.seal()
  const wrong = new SecretBytes(systemRandom.bytes(32))
  expect(() => barrier.open(wrong)).toThrow(/core\/keyring expected to open/)
  expect(Buffer.from(wrong.reveal())).toEqual(Buffer.alloc(32)) // Wiped.
  expect(barrier.sealed).toBe(true)
  barrier.open(testRootKey())
  barrier.open(testRootKey())
  expect(barrier.sealed).toBe(false)

  const fresh = createBarrier({ replica: createFakeReplica(), clock: standingClock(), random: systemRandom, log: silentLogger })
  expect(() => fresh.open(testRootKey())).toThrow(/got none/)
})

test('initialising twice is refused; an interrupted one is begun anew', async () => {
  const { barrier, replica } = await openBarriers()
  await put(barrier, 'a', '1')
  await expect(barrier.initialize(testRootKey(), {})).rejects.toMatchObject({ code: 'ERR_ALREADY_INITIALIZED' })
  await barrier.writeBare({ 'core/seal-config': null }) // As if the process had died before its last write.
  barrier.seal()
  const otherKey = (): SecretBytes => new SecretBytes(new Uint8Array(32).fill(9))
  await barrier.initialize(otherKey(), { 'core/seal-config': bytes('{}') })
  expect(await get(barrier, 'a')).toBeNull()
  await put(barrier, 'a', '2')
  expect(await get(barrier, 'a')).toBe('2')
  expect(replica.openViews).toBe(0)
})

test('a node that does not lead can not initialise', async () => {
  const clock = standingClock()
  const replica = createFakeReplica()
  await replica.transferLeadership('nobody')
  const barrier = createBarrier({ replica, clock, random: systemRandom, log: silentLogger })
  const initializing = barrier.initialize(testRootKey(), {})
  clock.advance(60_000)
  await expect(initializing).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
  expect(replica.sealed).toBe(true)
})

test('rotation: old values stay readable, new ones name the new term, followers follow', async () => {
  const { barrier, at, cluster } = await openBarriers(2)
  await put(barrier, 'old', '1')
  expect(await barrier.rotate()).toEqual({ keyringTerm: 2 })
  expect(barrier.status().keyringTerm).toBe(2)
  await put(barrier, 'young', '2')
  for (const node of [at(0), at(1)]) {
    expect([await get(node, 'old'), await get(node, 'young')]).toEqual(['1', '2'])
    expect(node.status().keyringTerm).toBe(2)
  }
  await Promise.all([barrier.rotate(), barrier.rotate(), put(barrier, 'x', '3')])
  expect(barrier.status().keyringTerm).toBe(4)
  expect(await get(at(1), 'x')).toBe('3')
  const before = Buffer.from(barrier.derivedKey('audit').reveal())
  barrier.seal()
  barrier.open(testRootKey())
  expect(Buffer.from(barrier.derivedKey('audit').reveal())).toEqual(before)
  expect(Buffer.from(at(1).derivedKey('audit').reveal())).toEqual(before)
  expect(cluster.node(0).openViews + cluster.node(1).openViews).toBe(0)
})

test('rotations whose feed lags do not drop each other', async () => {
  const { barrier, replica } = await openBarriers()
  replica.announceGap = async () => {
    for (let i = 0; i < 3; i++) await nextTurn()
  }
  for (let i = 0; i < 6; i++)
    await Promise.all([barrier.rotate(), put(barrier, `k${i}`, String(i)), nextTurn().then(() => barrier.rotate())])
  expect(barrier.status().keyringTerm).toBe(13)
  barrier.seal()
  barrier.open(testRootKey())
  for (let i = 0; i < 6; i++) expect(await get(barrier, `k${i}`)).toBe(String(i))
})

test('a view ahead of the feed opens values of a term that the feed has yet to tell of', async () => {
  const { barrier, at, cluster } = await openBarriers(2)
  const follower = cluster.node(1)
  await put(barrier, 'a', '1')
  await get(at(1), 'a')
  let open: () => void = () => {}
  const gate = new Promise<void>((resolve) => (open = resolve))
  follower.paused = true
  await barrier.rotate()
  await put(barrier, 'a', '2')
  const announced: number[] = []
  follower.announceGap = async () => {
    announced.push(follower.status().applied)
    if (announced.length === 2) await gate // The rotation is announced, the value is not; then the other way round:
  }
  follower.resume()
  await vi.waitFor(() => expect(announced).toHaveLength(2))
  expect(await at(1).read({ kind: 'stale' }, async (view) => text(await view.get(kv, 'a')))).toBe('2')
  open()
})

test('a keyring that was put back to an older one, or does not open, seals the node', async () => {
  const { barrier, replica } = await openBarriers()
  const old = barrier.readBare('core/keyring')
  await barrier.rotate()
  await barrier.writeBare({ 'core/keyring': old })
  expect(barrier.sealed).toBe(true)

  const second = await openBarriers()
  await second.barrier.writeBare({ 'core/keyring': bytes('garbage') })
  expect(second.barrier.sealed).toBe(true)
  expect(replica.openViews + second.replica.openViews).toBe(0)
})

test('a record that was altered, or moved to another place, is an error and never a value', async () => {
  const { barrier, replica } = await openBarriers(1, { valueCacheBytesMax: 0 })
  await put(barrier, 'a', 'value of a')
  const before = new Set(replica.dump().map(([key]) => Buffer.from(key).toString('hex')))
  await put(barrier, 'b', 'value of b')
  const dump = replica.dump()
  const [keyB, recordB] = dump.find(([key]) => !before.has(Buffer.from(key).toString('hex'))) ?? []
  const [keyA, recordA] = dump.find(([key]) => key[0] === 0x20 && Buffer.compare(key, keyB ?? key) !== 0) ?? []
  if (!keyA || !keyB || !recordA || !recordB) throw new Error('two records expected')
  replica.tamper(keyA, recordB)
  await expect(get(barrier, 'a')).rejects.toMatchObject({ code: 'ERR_DECRYPT' })
  replica.tamper(keyB, recordB.subarray(0, 20))
  await expect(get(barrier, 'b')).rejects.toMatchObject({ code: 'ERR_DECRYPT' })
  replica.tamper(keyA, recordA)
  expect(await get(barrier, 'a')).toBe('value of a')
})

test("now is the leader's, on every node, and a cut-off node's stale reads go on from what they heard", async () => {
  const { barrier, at, clock, cluster } = await openBarriers(2)
  const nowOf = (node: Barrier, kind: 'linearizable' | 'stale'): Promise<number> => node.read({ kind }, async (view) => view.nowMs)
  await put(barrier, 'a', '1')
  const start = clock.nowMs()
  clock.advance(5_000)
  expect(await nowOf(at(1), 'linearizable')).toBe(start + 5_000)
  cluster.elect(null)
  clock.advance(60_000)
  expect(await nowOf(at(1), 'stale')).toBe(start + 65_000)
  await expect(nowOf(at(1), 'linearizable')).rejects.toMatchObject({ code: 'ERR_NO_LEADER' })
  cluster.elect('node-1')
  await cluster.node(0).appliedUpTo(cluster.log.length)
  clock.advance(-3_600_000) // The leader's wall clock is set back: what it told already stays told.
  await put(barrier, 'a', '2')
  const told = await barrier.transact(async (tx) => tx.nowMs)
  expect(told).toBeGreaterThanOrEqual(start)
})

test('a linearizable read on a follower waits until it has applied; a stale one does not', async () => {
  const { barrier, at, cluster } = await openBarriers(2)
  await put(barrier, 'a', '1')
  await get(at(1), 'a')
  cluster.node(1).paused = true
  await put(barrier, 'a', '2')
  expect(await at(1).read({ kind: 'stale' }, async (view) => text(await view.get(kv, 'a')))).toBe('1')
  const fresh = get(at(1), 'a')
  await new Promise((resolve) => setTimeout(resolve, 20))
  cluster.node(1).resume()
  expect(await fresh).toBe('2')
})

test('a view that outlives its work is refused', async () => {
  const { barrier } = await openBarriers()
  await put(barrier, 'a', '1')
  const kept = await barrier.read(linear, async (view) => view)
  await expect(kept.get(kv, 'a')).rejects.toThrow(/await what you start/)
  const keptTx = await barrier.transact(async (tx) => tx)
  await expect(keptTx.get(kv, 'a')).rejects.toThrow(/await what you start/)
})

test('bare records are readable while sealed', async () => {
  const { barrier, replica } = await openBarriers()
  await barrier.writeBare({ 'core/cluster-ca': bytes('certificate') })
  barrier.seal()
  expect(text(barrier.readBare('core/cluster-ca'))).toBe('certificate')
  expect(barrier.readBare('core/none')).toBeNull()
  const view = replica.view()
  expect(text(view.get(bareKey('core/cluster-ca')) ?? null)).toBe('certificate')
  view.release()
})
