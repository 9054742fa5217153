/**
 * From what the transport decoded to a raft message. Only known fields pass, so that nothing a peer adds travels on; the core checks how they
 * relate (raft/messages.ts), but must never be handed something whose shape could make it throw.
 */
import { HoldfastError } from '#base/errors.ts'
import type { Entry, Message, NodeId } from '#raft/types.ts'

type Fields = Record<string, unknown>

const optionalFields = ['logIndex', 'logTerm', 'commit', 'reject', 'rejectHint', 'context', 'sealed', 'leaderTimeMs', 'force'] as const
const booleanFields = new Set<string>(['reject', 'sealed', 'force'])

/** @throws ERR_FRAME when `value` is no message from `from` to `to`. Entries' data are views into what was decoded. */
export function messageFrom(value: unknown, from: NodeId, to: NodeId): Message {
  if (typeof value !== 'object' || value === null) throw refused('an object')
  const fields = value as Fields
  if (fields['version'] !== 1) throw refused('message version 1', 'upgrade the older of the two nodes')
  if (fields['from'] !== from) throw refused(`the sender '${from}' that its certificate names`)
  if (fields['to'] !== to) throw refused(`this node '${to}' as receiver`)
  if (!isCount(fields['type']) || !isCount(fields['term'])) throw refused('a type and a term')
  const message: Fields = { version: 1, type: fields['type'], from, to, term: fields['term'] }
  for (const name of optionalFields) {
    const field = fields[name]
    if (field === undefined || field === null) continue
    const fits = booleanFields.has(name) ? typeof field === 'boolean' : typeof field === 'number' && Number.isFinite(field)
    if (!fits) throw refused(`a ${booleanFields.has(name) ? 'boolean' : 'number'} as ${name}`)
    message[name] = field
  }
  if (fields['entries'] !== undefined && fields['entries'] !== null) message['entries'] = entriesFrom(fields['entries'])
  return message as unknown as Message
}

function entriesFrom(value: unknown): readonly Entry[] {
  if (!Array.isArray(value)) throw refused('a list of entries')
  return value.map((each: unknown) => {
    const { index, term, type, data } = (typeof each === 'object' && each !== null ? each : {}) as Fields
    if (!isCount(index) || !isCount(term) || !isCount(type) || !(data instanceof Uint8Array)) throw refused('an entry')
    return { index, term, type: type as Entry['type'], data }
  })
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function refused(expected: string, hint?: string): HoldfastError {
  return new HoldfastError('ERR_FRAME', `raft message: expected ${expected}, got something else`, hint === undefined ? {} : { hint })
}
