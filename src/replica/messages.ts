/**
 * From what the transport decoded to a raft message. Only known fields pass, so that nothing a peer adds travels on; the core checks how they
 * relate (raft/messages.ts), but must never be handed something whose shape could make it throw.
 */
import { HoldfastError } from '#base/errors.ts'
import { firstLevel, levelOf, rehearsalLevel, releasedFormats, type FormatRange } from '#base/formats.ts'
import { EntryType, type Entry, type Message, type NodeId } from '#raft/types.ts'
import { membershipChangeIn } from './entries.ts'

type Fields = Record<string, unknown>

const optionalFields = [
  'logIndex',
  'logTerm',
  'commit',
  'reject',
  'rejectHint',
  'context',
  'sealed',
  'leaderTimeMs',
  'promiseMs',
  'force',
] as const
const booleanFields = new Set<string>(['reject', 'sealed', 'force'])

const messageVersion = 1

/** A core's message as it travels in a cluster at `level`. Shares its entries with `message`. */
export function encodeMessage(message: Message, level: number): unknown {
  if (level !== rehearsalLevel) return message
  const { version: _, ...fields } = message
  return { version: level, fields }
}

/**
 * @throws ERR_FRAME when `value` is no message from `from` to `to`; ERR_UPGRADE_REQUIRED when it, or a membership change in it, is of a
 *   newer version than `formats` has. Entries' data are views into what was decoded.
 */
export function messageFrom(value: unknown, from: NodeId, to: NodeId, formats: FormatRange = releasedFormats): Message {
  const outer = object(value)
  // Older ones too: a member that lags does not know yet that the level was raised, and writes as before.
  const level = levelOf('raft message', messageVersion, outer['version'], { min: firstLevel, max: formats.max })
  if (level === null) throw refused('a version')
  const fields = level === rehearsalLevel ? object(outer['fields']) : outer
  if (fields['from'] !== from) throw refused(`the sender '${from}' that its certificate names`)
  if (fields['to'] !== to) throw refused(`this node '${to}' as receiver`)
  if (!isCount(fields['type']) || !isCount(fields['term'])) throw refused('a type and a term')
  const message: Fields = { version: firstLevel, type: fields['type'], from, to, term: fields['term'] }
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
    if (type > EntryType.membership) throw refused(`an entry of type 0 to ${EntryType.membership}`)
    if (type === EntryType.membership) membershipChangeIn(data)
    return { index, term, type: type as Entry['type'], data }
  })
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function object(value: unknown): Fields {
  if (typeof value !== 'object' || value === null) throw refused('an object')
  return value as Fields
}

function refused(expected: string): HoldfastError {
  return new HoldfastError('ERR_FRAME', `raft message: expected ${expected}, got something else`)
}
