/** What a peer sends is checked here once, and trusted afterwards. */
import { isCounter } from './assert.ts'
import { isNodeId } from './membership.ts'
import { EntryType, MessageType, type Entry, type Message } from './types.ts'

/** Why a message is not well formed, or null. It may come from a peer with a valid certificate and bad intentions. */
export function messageProblem(message: Message): string | null {
  if (message.version !== 1) return 'unknown-version'
  if (!Object.values(MessageType).includes(message.type) || message.type === MessageType.snapshot) return 'unknown-type'
  if (message.type === MessageType.snapshotReply) return 'unknown-type'
  if (!isNodeId(message.from) || !isNodeId(message.to)) return 'malformed'
  if (!isCounter(message.term) || message.term === 0) return 'malformed'
  const { logIndex, logTerm, commit, rejectHint, context } = message
  if (![logIndex, logTerm, commit, rejectHint, context].every((value) => value === undefined || isCounter(value))) return 'malformed'
  return hasItsFields(message) && entriesFollow(message) ? null : 'malformed'
}

function hasItsFields(message: Message): boolean {
  const { logIndex, logTerm, commit, context, rejectHint, reject } = message
  switch (message.type) {
    case MessageType.append:
      return logIndex !== undefined && logTerm !== undefined && commit !== undefined && message.entries !== undefined
    case MessageType.appendReply:
      return logIndex !== undefined && (reject !== true || (rejectHint !== undefined && logTerm !== undefined))
    case MessageType.heartbeat:
      return commit !== undefined && context !== undefined
    case MessageType.vote:
    case MessageType.preVote:
      return logIndex !== undefined && logTerm !== undefined
    case MessageType.heartbeatReply:
      return context !== undefined && (message.promiseMs === undefined || Number.isFinite(message.promiseMs))
    case MessageType.readIndex:
      return context !== undefined
    case MessageType.readIndexReply:
      return context !== undefined && (reject === true || (logIndex !== undefined && Number.isFinite(message.leaderTimeMs)))
    default:
      return true
  }
}

/** Entries are contiguous after (logIndex, logTerm), and terms never decrease nor pass the sender's. */
function entriesFollow(message: Message): boolean {
  if (message.entries === undefined) return true
  if (message.type !== MessageType.append || !Array.isArray(message.entries)) return false
  let { logIndex: index = 0, logTerm: term = 0 } = message
  for (const entry of message.entries) {
    index += 1
    if (!isEntry(entry) || entry.index !== index || entry.term < term || entry.term > message.term) return false
    term = entry.term
  }
  return term <= message.term
}

function isEntry(entry: Entry): boolean {
  const typed = entry.type === EntryType.command || entry.type === EntryType.empty || entry.type === EntryType.membership
  return typed && isCounter(entry.index) && isCounter(entry.term) && entry.term > 0 && entry.data instanceof Uint8Array
}
