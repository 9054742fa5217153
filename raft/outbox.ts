/**
 * What the core wants done and has not handed out yet.
 *
 * Two kinds of messages: those that may leave at once, and those that speak of something which must be on disk first (a vote, an
 * acknowledged entry, the end of a log). The latter wait for the persist that covers everything up to the moment they were made.
 */
import { MessageType, type Message, type NodeId, type ReadState, type SnapshotMeta } from './types.ts'

/** More than a full window of every peer; a disk that stalls longer than that gets its peers' repeats again anyway. */
export const durableMessagesMax = 4096

export class Outbox {
  #messages: Message[] = []
  #durable: Message[] = []
  #readStates: ReadState[] = []
  #snapshots: { readonly to: NodeId; readonly meta: SnapshotMeta }[] = []

  send(message: Message): void {
    this.#messages.push(message)
  }

  /** Returns false when the queue is full and the message was dropped: its sender repeats it. */
  sendDurable(message: Message): boolean {
    const last = this.#durable.at(-1)
    if (last !== undefined && replaces(message, last)) this.#durable.pop()
    if (this.#durable.length >= durableMessagesMax) return false
    this.#durable.push(message)
    return true
  }

  answerRead(state: ReadState): void {
    this.#readStates.push(state)
  }

  requestSnapshot(to: NodeId, meta: SnapshotMeta): void {
    this.#snapshots.push({ to, meta })
  }

  hasDurable(): boolean {
    return this.#durable.length > 0
  }

  isEmpty(): boolean {
    return this.#messages.length === 0 && this.#readStates.length === 0 && this.#snapshots.length === 0
  }

  takeMessages(): Message[] {
    const messages = this.#messages
    this.#messages = []
    return messages
  }

  /**
   * Messages of an earlier term are left out: an acknowledgement that waited while a newer leader cut the acknowledged entries
   * would be a lie by the time it leaves, and could commit at the old leader what no majority holds.
   */
  takeDurable(term: number): Message[] {
    const messages = this.#durable
    this.#durable = []
    return messages.filter((message) => message.term === term || message.type === MessageType.preVoteReply)
  }

  takeReadStates(): ReadState[] {
    const states = this.#readStates
    this.#readStates = []
    return states
  }

  takeSnapshots(): { readonly to: NodeId; readonly meta: SnapshotMeta }[] {
    const snapshots = this.#snapshots
    this.#snapshots = []
    return snapshots
  }
}

/** A later acknowledgement says all that an earlier one says: only one waits, however slow the disk is. */
function replaces(next: Message, last: Message): boolean {
  const acknowledges = (message: Message): boolean => message.type === MessageType.appendReply && message.reject !== true
  return (
    acknowledges(next) &&
    acknowledges(last) &&
    next.to === last.to &&
    next.term === last.term &&
    (next.logIndex ?? 0) >= (last.logIndex ?? 0)
  )
}
