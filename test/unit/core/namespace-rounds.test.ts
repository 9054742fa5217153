import { beforeEach, expect, test } from 'vitest'
import { HoldfastError } from '#base/errors.ts'
import { systemRandom } from '#base/random.ts'
import { NamespaceRounds } from '#core/namespace-rounds.ts'
import { rootNamespace } from '#namespaces/record.ts'
import { createNamespaceStore, type NamespaceStore } from '#namespaces/store.ts'
import { MemoryBarrier } from '#test/support/memory-barrier.ts'

let barrier: MemoryBarrier
let namespaces: NamespaceStore
let rounds: NamespaceRounds

beforeEach(async () => {
  barrier = new MemoryBarrier()
  namespaces = createNamespaceStore({ random: systemRandom })
  rounds = new NamespaceRounds(barrier, namespaces)
})

const make = async (count: number): Promise<void> => {
  for (let at = 0; at < count; at += 1) await barrier.transact((transaction) => namespaces.create(transaction, rootNamespace, `n${at}`, {}))
}

test('the root each time, every other one in turn', async () => {
  await make(300)
  const seen = new Map<string, number>()
  const count = async (id: string): Promise<void> => void seen.set(id, (seen.get(id) ?? 0) + 1)
  await rounds.pass(count)
  expect(seen.size).toBe(257)
  await rounds.pass(count)
  expect(seen.size).toBe(301)
  expect(seen.get('root')).toBe(2)
  await rounds.pass(count)
  expect(Math.max(...seen.values())).toBe(3)
})

test('one that is sealed is passed over; any other failure is the pass', async () => {
  await make(3)
  const sealed = (await barrier.read(null, (view) => namespaces.ids(view)))[1]
  const done: string[] = []
  const work = async (id: string): Promise<void> => {
    if (id === sealed) throw new HoldfastError('ERR_NAMESPACE_SEALED', 'namespace is sealed')
    done.push(id)
  }
  await rounds.pass(work)
  expect(done).toHaveLength(3)
  expect(await rounds.gather(async (_, id) => (await work(id), [id]))).toHaveLength(3)
  const failing = rounds.pass(async () => {
    throw new HoldfastError('ERR_CONFLICT', 'this time')
  })
  await expect(failing).rejects.toMatchObject({ code: 'ERR_CONFLICT' })
})
