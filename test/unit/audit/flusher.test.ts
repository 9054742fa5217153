import { Flusher } from '#audit/sinks/flusher.ts'
import { expect, test } from 'vitest'

/** A disk whose flushes end when the test says so. */
function slowDisk() {
  const ends: { done: () => void; fail: (error: Error) => void }[] = []
  const flush = (): Promise<void> => new Promise((resolve, reject) => ends.push({ done: resolve, fail: reject }))
  return { ends, flush }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a flush begins once enough was written, one at a time', async () => {
  const { ends, flush } = slowDisk()
  const flusher = new Flusher(100, flush)
  flusher.wrote(60)
  expect(ends).toHaveLength(0)
  flusher.wrote(60)
  expect(ends).toHaveLength(1)
  flusher.wrote(500)
  expect(ends).toHaveLength(1)
  ends[0]!.done()
  await settled()
  flusher.wrote(1)
  expect(ends).toHaveLength(2)
})

test('a failed flush is told once, to whoever asks next', async () => {
  const { ends, flush } = slowDisk()
  const flusher = new Flusher(1, flush)
  flusher.wrote(1)
  flusher.check()
  ends[0]!.fail(new Error('EIO'))
  await flusher.idle()
  expect(() => flusher.check()).toThrow('EIO')
  flusher.check()
})

test('idle waits for the flush that runs, and lets its failure be told by check', async () => {
  const { ends, flush } = slowDisk()
  const flusher = new Flusher(1, flush)
  await flusher.idle()
  flusher.wrote(1)
  let idle = false
  const waiting = flusher.idle().then(() => (idle = true))
  await settled()
  expect(idle).toBe(false)
  ends[0]!.fail(new Error('ENOSPC'))
  await waiting
  expect(() => flusher.check()).toThrow('ENOSPC')
})
