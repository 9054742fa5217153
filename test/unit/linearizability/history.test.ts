import { expect, test } from 'vitest'
import { checkHistory } from '#test/support/linearizability/checker.ts'
import { HistoryRecorder, checkWellFormed } from '#test/support/linearizability/history.ts'
import type { Operation } from '#test/support/linearizability/history.ts'

const good: Operation = { id: 0, client: 'a', key: 'k', kind: 'put', input: { value: 'x' }, output: { version: 1 }, callAt: 1, returnAt: 2 }

test('the recorder keeps what succeeded and what is unknown, and leaves out what failed for sure', () => {
  const recorder = new HistoryRecorder()
  const put = recorder.call({ client: 'a', key: 'k', kind: 'put', input: { value: 'x' }, note: 'node 1' })
  const lost = recorder.call({ client: 'b', key: 'k', kind: 'delete', input: null })
  const refused = recorder.call({ client: 'c', key: 'k', kind: 'put', input: { value: 'y' } })
  recorder.returned(put, { version: 1 })
  recorder.failed(refused)
  recorder.unknown(lost)
  const get = recorder.call({ client: 'a', key: 'k', kind: 'get', input: null })
  expect(recorder.history()).toEqual([
    { ...good, id: put, callAt: 1, returnAt: 4, note: 'node 1' },
    { id: lost, client: 'b', key: 'k', kind: 'delete', input: null, output: null, callAt: 2, returnAt: null },
    { id: get, client: 'a', key: 'k', kind: 'get', input: null, output: null, callAt: 5, returnAt: null },
  ])
  recorder.returned(get, { version: 1, value: 'x' })
  expect(checkHistory(recorder.history(), { stepsMax: 100 }).outcome).toBe('linearizable')
})

test('the recorder refuses a second end, an answer of another kind, and more than its bound', () => {
  const recorder = new HistoryRecorder({ operationsMax: 2 })
  const put = recorder.call({ client: 'a', key: 'k', kind: 'put', input: { value: 'x' } })
  recorder.unknown(put)
  expect(() => recorder.returned(put, { version: 1 })).toThrow('expected an open operation')
  const get = recorder.call({ client: 'a', key: 'k', kind: 'get', input: null })
  expect(() => recorder.returned(get, { version: 1 })).toThrow('expected the output of a get')
  expect(() => recorder.call({ client: 'a', key: 'k', kind: 'get', input: null })).toThrow('expected at most 2')
})

const malformed: [name: string, history: unknown[]][] = [
  ['two operations with one id', [good, good]],
  ['a return before the call', [{ ...good, returnAt: 0 }]],
  ['a call at no time', [{ ...good, callAt: Number.NaN }]],
  ['an answer without a return', [{ ...good, returnAt: null }]],
  ['a return without an answer', [{ ...good, output: null }]],
  ['an answer with half a version', [{ ...good, output: { version: 1.5 } }]],
  [
    'an applied cas without its version',
    [{ ...good, kind: 'cas', input: { expected: 0, value: 'x' }, output: { applied: true, version: null } }],
  ],
  ['a delete with an answer', [{ ...good, kind: 'delete', input: null }]],
]

test.each(malformed)('%s is refused, not judged', (_name, history) => {
  expect(() => checkWellFormed(history as Operation[])).toThrow('expected')
  expect(() => checkHistory(history as Operation[], { stepsMax: 100 })).toThrow('expected')
})
