/** Another root key under everything that is open: one change, handed over to every open node, also to one that missed several. */
import { expect, test } from 'vitest'
import { bareKey, bareNames } from '#barrier/bare.ts'
import { createBarrier } from '#barrier/barrier.ts'
import type { BarrierControl, Section } from '#barrier/types.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { openBarriers, testRootKey } from '#test/support/open-barrier.ts'

const kv: Section = { namespace: 'root', mount: 'kv' }
const rootKey = (fill: number): SecretBytes => new SecretBytes(new Uint8Array(32).fill(fill))
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
const value = (barrier: BarrierControl): Promise<string> =>
  barrier.read({ kind: 'linearizable' }, async (view) => Buffer.from((await view.get(kv, 'a')) ?? []).toString())

test('every open node goes on, writes, and rotates under the new root key; a sealed one opens by it alone', async () => {
  const { at, barriers, cluster } = await openBarriers(3)
  await at(0).transact(async (transaction) => transaction.put(kv, 'a', bytes('kept')))
  at(2).seal()
  const records = { [bareNames.rootKey]: bytes('wrapped anew') }
  await at(0).changeSeal({ records, expected: { [bareNames.sealConfig]: bytes('{}'), [bareNames.rootKey]: null }, rootKey: rootKey(8) })
  for (const node of cluster.nodes) await node.appliedUpTo(cluster.log.length)
  expect(barriers.map((barrier) => barrier.sealed)).toEqual([false, false, true])
  expect([at(0), at(1)].map((barrier) => [barrier.isRootKey(rootKey(8).reveal()), barrier.isRootKey(testRootKey().reveal())])).toEqual([
    [true, false],
    [true, false],
  ])
  expect(Buffer.from(at(1).readBare(bareNames.rootKey)!).toString()).toBe('wrapped anew')
  expect(() => at(2).open(testRootKey())).toThrow(expect.objectContaining({ code: 'ERR_DECRYPT' }))
  at(2).open(rootKey(8))
  await at(0).rotate()
  await at(0).transact(async (transaction) => transaction.put(kv, 'a', bytes('newer')))
  for (const barrier of barriers) expect(await value(barrier)).toBe('newer')
  const keys = barriers.map((barrier) => Buffer.from(barrier.joinKey().reveal()).toString('hex'))
  expect(new Set(keys).size).toBe(1)
})

test('a node that missed several replacements follows them at once, from the log or from a state that replaces its own', async () => {
  for (const everything of [false, true]) {
    const { at, cluster } = await openBarriers(2)
    const late = cluster.node(1)
    late.paused = true
    for (const fill of [8, 9, 10]) await at(0).changeSeal({ records: {}, expected: {}, rootKey: rootKey(fill) })
    await at(0).rotate()
    await at(0).transact(async (transaction) => transaction.put(kv, 'a', bytes('kept')))
    late.resume()
    await late.appliedUpTo(cluster.log.length)
    if (everything) late.announceEverything()
    expect([at(1).sealed, at(1).isRootKey(rootKey(10).reveal()), await value(at(1))]).toEqual([false, true, 'kept'])
  }
})

test('what stands is not what was expected: nothing is written, and who asked is told', async () => {
  const { barrier, replica, at } = await openBarriers(2)
  const before = replica.proposals.length
  for (const expected of [
    { [bareNames.sealConfig]: bytes('{"another":1}') },
    { [bareNames.sealConfig]: null },
    { [bareNames.rootKey]: bytes('something') },
  ])
    await expect(barrier.changeSeal({ records: { x: bytes('y') }, expected, rootKey: rootKey(8) })).rejects.toMatchObject({
      code: 'ERR_CONFLICT',
    })
  // The same where it changes between the look and the commit.
  replica.beforePropose = async () => {
    replica.beforePropose = null
    await barrier.writeBare({ [bareNames.sealConfig]: bytes('{"other":1}') })
  }
  const change = { records: { x: bytes('y') }, expected: { [bareNames.sealConfig]: bytes('{}') } }
  await expect(barrier.changeSeal(change)).rejects.toMatchObject({ code: 'ERR_CONFLICT' })
  expect([replica.proposals.length, barrier.readBare('x'), barrier.isRootKey(testRootKey().reveal())]).toEqual([before + 1, null, true])
  await expect(at(1).changeSeal({ records: {}, expected: {} })).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
})

test('a root key that somebody else hands over opens nothing: the node seals itself', async () => {
  const { at, cluster } = await openBarriers(2)
  const thief = await openBarriers(1)
  await thief.barrier.changeSeal({ records: {}, expected: {}, rootKey: rootKey(66) })
  const victim = cluster.node(1)
  for (const name of [bareNames.keyring, bareNames.rootKeyHandover]) victim.tamper(bareKey(name), thief.barrier.readBare(name))
  victim.announceEverything()
  expect([at(0).sealed, at(1).sealed]).toEqual([false, true])
})

test('the root key is nowhere in the state, before or after', async () => {
  const { barrier, replica, clock } = await openBarriers(1)
  const secret = systemRandom.bytes(32)
  await barrier.changeSeal({ records: {}, expected: {}, rootKey: new SecretBytes(Uint8Array.from(secret)) })
  for (const [, stored] of replica.dump()) expect(Buffer.from(stored).indexOf(secret)).toBe(-1)
  const again = createBarrier({ replica, clock, random: systemRandom, log: silentLogger })
  again.open(new SecretBytes(secret))
  expect(again.sealed).toBe(false)
})
