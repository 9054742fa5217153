import { expect, test } from 'vitest'
import { ReadRounds } from '#replica/reads.ts'

function rounds(applied: number): { reads: ReadRounds; started: number[]; done: string[]; read: (name: string) => void } {
  const started: number[] = []
  const done: string[] = []
  const start = (context: number): void => void started.push(context)
  const reads = new ReadRounds({ readersMax: 100, noLeaderMs: 1_000, roundMs: 1_000, start }, applied)
  const read = (name: string): void => {
    reads.request(0, 1_000).then(
      ({ index }) => done.push(`${name} at ${index}`),
      () => done.push(`${name} failed`),
    )
  }
  return { reads, started, done, read }
}

const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

test('a confirmed read waits until its index is applied here', async () => {
  const { reads, started, done, read } = rounds(5)
  read('x')
  reads.answer({ context: started[0] ?? 0, index: 7, leaderTimeMs: 0 }, 0)
  await settled()
  expect(done).toEqual([])
  reads.advance(6)
  await settled()
  expect(done).toEqual([])
  reads.advance(7)
  await settled()
  expect(done).toEqual(['x at 7'])
})

test('a read that comes while a round is under way waits for the next one', async () => {
  const { reads, started, done, read } = rounds(9)
  read('x')
  read('y')
  read('z')
  expect(started).toHaveLength(1)
  reads.answer({ context: started[0] ?? 0, index: 7, leaderTimeMs: 0 }, 0)
  await settled()
  expect(done).toEqual(['x at 7'])
  // y and z came together during the first round, and share the second.
  expect(started).toHaveLength(2)
  reads.answer({ context: started[0] ?? 0, index: 7, leaderTimeMs: 0 }, 0)
  await settled()
  expect(done).toEqual(['x at 7'])
  reads.answer({ context: started[1] ?? 0, index: 8, leaderTimeMs: 0 }, 0)
  await settled()
  expect(done).toEqual(['x at 7', 'y at 8', 'z at 8'])
})

test('a refused round keeps its readers for the next tick', async () => {
  const { reads, started, done, read } = rounds(9)
  read('x')
  reads.answer({ context: started[0] ?? 0, index: null, leaderTimeMs: 0 }, 0)
  expect(started).toHaveLength(1)
  reads.tick(10, true)
  expect(started).toHaveLength(2)
  reads.answer({ context: started[1] ?? 0, index: 9, leaderTimeMs: 0 }, 10)
  await settled()
  expect(done).toEqual(['x at 9'])
})
