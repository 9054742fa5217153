import { expect, test } from 'vitest'
import type { Message } from '#raft/index.ts'
import { messageProblem } from '#raft/messages.ts'
import { entry, logOf, message, MessageType } from './cluster.ts'

const append = (rest: Partial<Message>): Message =>
  message('b', 'a', 3, MessageType.append, { logIndex: 2, logTerm: 2, commit: 0, entries: [entry(3, 2), entry(4, 3)], ...rest })

test('a sound append is sound', () => {
  expect(messageProblem(append({}))).toBeNull()
  expect(messageProblem(append({ entries: [] }))).toBeNull()
})

test.each<[string, Message]>([
  ['a gap before its entries', append({ logIndex: 1 })],
  ['a gap between its entries', append({ entries: [entry(3, 2), entry(5, 3)] })],
  ['terms that fall', append({ entries: [entry(3, 3), entry(4, 2)] })],
  ['entries older than what they follow', append({ entries: [entry(3, 1)] })],
  ["an entry newer than the sender's term", append({ entries: [entry(3, 4)] })],
  ['a log newer than the term', append({ logTerm: 4, entries: [] })],
  ['an entry of no known type', append({ entries: [{ ...entry(3, 2), type: 7 as 0 }] })],
  ['an entry without bytes', append({ entries: [{ ...entry(3, 2), data: 'text' as never }] })],
  ['an index that is no whole number', append({ logIndex: 0.5 })],
  ['an index beyond safe integers', append({ logIndex: Number.MAX_SAFE_INTEGER })],
  ['no commit index', message('b', 'a', 3, MessageType.append, { logIndex: 0, logTerm: 0, entries: [] })],
  ['term zero', message('b', 'a', 0, MessageType.heartbeat, { commit: 0, context: 0 })],
  ['no sender', message('', 'a', 3, MessageType.timeoutNow)],
  ['entries on a heartbeat', message('b', 'a', 3, MessageType.heartbeat, { commit: 0, context: 0, entries: logOf(1) })],
  ['a refusal without a hint', message('b', 'a', 3, MessageType.appendReply, { logIndex: 1, reject: true })],
  ['a read answer without an index', message('b', 'a', 3, MessageType.readIndexReply, { context: 1 })],
  ['a vote request without a log', message('b', 'a', 3, MessageType.vote)],
])('a message with %s is malformed', (_, bad) => {
  expect(messageProblem(bad)).toBe('malformed')
})

test('another version or type is refused, not guessed', () => {
  expect(messageProblem({ ...append({}), version: 2 as 1 })).toBe('unknown-version')
  expect(messageProblem({ ...append({}), type: 99 as 0 })).toBe('unknown-type')
  expect(messageProblem(message('b', 'a', 3, MessageType.snapshot))).toBe('unknown-type')
})
