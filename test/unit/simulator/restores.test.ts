/** Histories over restores: what the simulator makes of the lives that a restored cluster has had. */
import { expect, test } from 'vitest'
import type { Operation } from '#test/support/linearizability/history.ts'
import { Restores } from '#test/sim/cluster/restores.ts'
import type { World } from '#test/sim/cluster/world.ts'

const restores = (): Restores => new Restores({} as World, 1, ['a'])
const get = (id: number, callAt: number, returnAt: number | null): Operation => ({
  id,
  client: `c${id}`,
  key: 'a',
  callAt,
  returnAt,
  kind: 'get',
  input: null,
  output: returnAt === null ? null : { version: 0, value: null },
})

test('each operation is judged in the epoch that answered it, one of unknown outcome in each that it was evaluated in', () => {
  const epochs: Record<number, readonly number[]> = { 0: [0], 1: [1], 2: [0, 1], 3: [] }
  const history = [get(0, 1, 2), get(1, 3, 4), get(2, 1, null), get(3, 1, null)]
  const split = restores().split(history, ({ id }) => epochs[id] ?? [])
  expect(split.map(({ key }) => key)).toEqual(['a@0', 'a@1', 'a@0', 'a@1'])
  expect(new Set(split.map(({ id }) => id)).size).toBe(4)
})

test('who began after an answer of a later epoch may not see an earlier one; who began before may', () => {
  const split = (history: Operation[], epochs: readonly number[]): Operation[] =>
    restores().split(history, ({ id }) => [epochs[id] as number])
  expect(() => split([get(0, 1, 2), get(1, 3, 4)], [1, 0])).toThrow(/began at 3, after an answer of epoch 1, saw epoch 0/)
  expect(split([get(0, 1, 3), get(1, 2, 4)], [1, 0])).toHaveLength(2)
  expect(split([get(0, 1, 2), get(1, 3, 4), get(2, 5, 6)], [0, 1, 1])).toHaveLength(3)
})
