/**
 * What it costs to put into bytes what nodes say to each other and keep, and to take it out again: a command, its record in the log, a message with
 * entries, its frame. Microseconds of this thread, the best of 30 batches; and bytes of JavaScript objects that each leaves to the collector.
 * Run: node --expose-gc bench/codec.ts [--times 20000]
 */
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { EntryType, MessageType, type Entry, type Message } from '#raft/index.ts'
import { decodeCommand, encodeCommand } from '#replica/command.ts'
import { encodeMessage, messageFrom } from '#replica/messages.ts'
import { chainOrigin, clusterTag, decodeRecord, encodeRecord } from '#store/record.ts'
import { encodeFrame, FrameDecoder, FrameKind, frameValue } from '#transport/frames.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({ options: { times: { type: 'string', default: '20000' } } })
const times = Number(values.times)
const batches = 30
const frameBytesMax = 16 * 1_048_576
const level = 1

const gc = globalThis.gc
if (gc === undefined) throw new Error('expected to be run with --expose-gc, as the first comment says')

interface Cost {
  readonly us: number
  readonly heap_bytes: number
}

/** The work's own answer is kept until the end of its batch, so that it is not optimised away. */
function cost(work: () => unknown): Cost {
  const each = Math.ceil(times / batches)
  const kept: unknown[] = Array.from({ length: each }, () => null)
  const took: number[] = []
  for (let batch = 0; batch < batches; batch += 1) {
    const started = performance.now()
    for (let at = 0; at < each; at += 1) kept[at] = work()
    took.push(((performance.now() - started) * 1_000) / each)
  }
  kept.fill(null)
  gc?.()
  const before = process.memoryUsage().heapUsed
  for (let at = 0; at < each; at += 1) kept[at] = work()
  const grown = process.memoryUsage().heapUsed - before
  return { us: Math.round(Math.min(...took) * 100) / 100, heap_bytes: Math.max(0, Math.round(grown / each)) }
}

/** As kv's writes are: a few names, the rest ciphertext. */
const dataOf = (ops: number): Uint8Array =>
  encodeCommand({
    timeMs: 1_760_000_000_000,
    directory: null,
    sections: [{ section: randomBytes(16), ops: Array.from({ length: ops }, () => ({ key: randomBytes(48), value: randomBytes(400) })) }],
  })

function ofCommand(ops: number): Readonly<Record<string, Cost>> {
  const sections = [
    { section: randomBytes(16), ops: Array.from({ length: ops }, () => ({ key: randomBytes(48), value: randomBytes(400) })) },
  ]
  const command = { timeMs: 1_760_000_000_000, directory: null, sections }
  const data = encodeCommand(command)
  return { encode: cost(() => encodeCommand(command)), decode: cost(() => decodeCommand(data)) }
}

function ofRecord(): Readonly<Record<string, Cost>> {
  const cluster = clusterTag('bench')
  const entry: Entry = { index: 7, term: 1, type: EntryType.command, data: dataOf(4) }
  const before = chainOrigin(cluster, 6, 1)
  const { record } = encodeRecord(cluster, before, entry)
  return { encode: cost(() => encodeRecord(cluster, before, entry)), decode: cost(() => decodeRecord(cluster, 7, record, before)) }
}

/** Of a message that carries so many entries: its value for the wire, and its frame. */
function ofMessage(count: number): Readonly<Record<string, Cost>> {
  const data = dataOf(4)
  const entries = Array.from({ length: count }, (_, at): Entry => ({ index: 8 + at, term: 1, type: EntryType.command, data }))
  const message: Message = {
    version: 1,
    type: MessageType.append,
    from: 'a',
    to: 'b',
    term: 1,
    logIndex: 7,
    logTerm: 1,
    entries,
    commit: 7,
  }
  const value = encodeMessage(message, level)
  const frame = encodeFrame(FrameKind.message, value, frameBytesMax)
  const decoded = (): unknown => {
    const [found] = new FrameDecoder(frameBytesMax).push(frame)
    return found === undefined ? null : messageFrom(frameValue(found), 'a', 'b')
  }
  if (decoded() === null) throw new Error('expected the frame to hold a message, got none')
  return {
    encode: cost(() => encodeFrame(FrameKind.message, encodeMessage(message, level), frameBytesMax)),
    decode: cost(decoded),
  }
}

recordFigures('codec', `node --expose-gc bench/codec.ts --times ${times}`, {
  'command of 1 value': ofCommand(1),
  'command of 8 values': ofCommand(8),
  'record of the log, 4 values': ofRecord(),
  'message without entries': ofMessage(0),
  'message of 1 entry': ofMessage(1),
  'message of 64 entries': ofMessage(64),
})
