import { expect, test } from 'vitest'
import { Progress } from '#raft/progress.ts'

const window = { messagesMax: 2, bytesMax: 100 }
const probing = (next: number): Progress => new Progress('b', next, window)

test('in probe only the message that is out can be refused; a late refusal of another one changes nothing', () => {
  const progress = probing(10)
  progress.probeSent = true
  progress.refused(7, 2)
  expect([progress.next, progress.probeSent]).toEqual([10, true])
  progress.refused(9, 4)
  expect([progress.next, progress.probeSent]).toEqual([5, false])
})

test('a refusal never goes back behind what is known to agree', () => {
  const progress = probing(10)
  progress.acknowledged(6, 1)
  progress.refused(6, 2)
  expect([progress.state, progress.next]).toEqual(['replicate', 7])
  progress.next = 20
  progress.refused(15, 2)
  expect([progress.state, progress.next]).toEqual(['probe', 7])
})

test('a refusal always moves on, even with a hint that points ahead', () => {
  const progress = probing(10)
  progress.refused(9, 50)
  expect(progress.next).toBe(9)
})

test('an acknowledgement ends a probe, frees the window, and never takes match back', () => {
  const progress = probing(10)
  progress.acknowledged(9, 1)
  expect(progress.state).toBe('replicate')
  progress.inflights.add(12, 60)
  progress.inflights.add(15, 60)
  expect(progress.inflights.full()).toBe(true)
  progress.acknowledged(13, 1)
  expect([progress.inflights.count, progress.inflights.bytes, progress.match]).toEqual([1, 60, 13])
  progress.acknowledged(11, 1)
  expect(progress.match).toBe(13)
})

test('a snapshot state is left by an acknowledgement that reaches what is still in the log, and by no other', () => {
  const progress = probing(1)
  progress.becomeSnapshot(50)
  progress.acknowledged(30, 40)
  expect(progress.state).toBe('snapshot')
  progress.acknowledged(39, 40)
  expect([progress.state, progress.next]).toEqual(['replicate', 40])
})

test('who refuses the empty prefix needs a snapshot; a refusal while one is under way says nothing', () => {
  const progress = probing(1)
  progress.becomeSnapshot(50)
  progress.refused(0, 0)
  expect(progress.needsSnapshot).toBe(false)
  progress.becomeProbe(1)
  progress.refused(0, 0)
  expect(progress.needsSnapshot).toBe(true)
})
