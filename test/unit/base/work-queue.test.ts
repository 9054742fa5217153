import { expect, test } from 'vitest'
import { WorkQueue } from '#base/work-queue.ts'
import { standingClock } from '#test/support/open-barrier.ts'

function gated() {
  const releases: (() => void)[] = []
  const started: number[] = []
  const work = (id: number) => async (): Promise<number> => {
    started.push(id)
    await new Promise<void>((resolve) => releases.push(resolve))
    return id
  }
  return { work, started, release: () => releases.shift()?.() }
}
const turn = () => new Promise((resolve) => setImmediate(resolve))

test('runs so many at once, in order, and refuses what does not fit', async () => {
  const clock = standingClock()
  const queue = new WorkQueue({ what: 'hashes', atOnceMax: 2, waitingMax: 2, waitMsMax: 1_000, clock })
  const { work, started, release } = gated()
  const runs = [1, 2, 3, 4].map((id) => queue.run(work(id)))
  await turn()
  expect([started, queue.running, queue.waiting]).toEqual([[1, 2], 2, 2])
  await expect(queue.run(work(5))).rejects.toMatchObject({ code: 'ERR_RATE_LIMITED', status: 429, retryAfterSeconds: 1 })
  release()
  await turn()
  expect(started).toEqual([1, 2, 3])
  for (let n = 0; n < 3; n += 1) {
    release()
    await turn()
  }
  expect(await Promise.all(runs)).toEqual([1, 2, 3, 4])
  expect([queue.running, queue.waiting, queue.refused]).toEqual([0, 0, 1])
})

test('who waits too long is refused, and takes no place from those behind', async () => {
  const clock = standingClock()
  const queue = new WorkQueue({ what: 'hashes', atOnceMax: 1, waitingMax: 5, waitMsMax: 1_000, clock })
  const { work, started, release } = gated()
  const first = queue.run(work(1))
  const late = queue.run(work(2))
  const refused = expect(late).rejects.toMatchObject({ code: 'ERR_RATE_LIMITED' })
  clock.advance(999)
  const behind = queue.run(work(3))
  clock.advance(2)
  await refused
  release()
  await turn()
  expect(started).toEqual([1, 3])
  release()
  expect(await Promise.all([first, behind])).toEqual([1, 3])
  expect(queue.running).toBe(0)
})

test('work that fails gives its place back', async () => {
  const queue = new WorkQueue({ what: 'hashes', atOnceMax: 1, waitingMax: 1, waitMsMax: 1_000, clock: standingClock() })
  const fail = async (): Promise<never> => {
    throw new Error('no')
  }
  const runs = [queue.run(fail), queue.run(fail)]
  await Promise.all(runs.map((run) => expect(run).rejects.toThrow('no')))
  expect(await queue.run(async () => 7)).toBe(7)
})
