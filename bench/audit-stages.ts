/** Where the CPU of a request's two audit records goes: one stage after the other is left in, by the product's own functions, 64 lines a flush. */
import { writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { chainLine, writingPlace, type ChainState } from '#audit/chain.ts'
import { FormatMemo, formatRecord } from '#audit/format.ts'
import { createValueHasher } from '#audit/hashing.ts'
import { HmacKey } from '#audit/hmac.ts'
import { LineBatch } from '#audit/line-batch.ts'
import { openFileSink } from '#audit/sinks/file.ts'
import type { AuditSink } from '#audit/types.ts'
import { pair } from './audit-pair.ts'

const stages = [
  'the request itself',
  'its records',
  'as text',
  'chained and encoded',
  'written at once',
  'written by the thread pool',
] as const
const linesOfFlush = 64
const slices = 40
const requestsOfSlice = 1_024
const none = { request: [], response: [] }

interface Pipe {
  readonly hasher: ReturnType<typeof createValueHasher>
  readonly memo: FormatMemo
  readonly lines: LineBatch
  readonly sink: AuditSink
  readonly fd: number
  state: ChainState
}

const place = writingPlace('n1', '7d2e3179-f69b-450c-7179-ac8ee8bd8ca9')
const mac = { epoch: 1, key: new HmacKey(Buffer.alloc(32, 2)) }

async function flush(bodies: readonly string[], depth: number, pipe: Pipe): Promise<void> {
  if (depth < 3) return
  bodies.forEach((body, i) => (pipe.state = chainLine(body, place, pipe.state, i === bodies.length - 1 ? mac : null, pipe.lines)))
  if (depth === 4) writeSync(pipe.fd, pipe.lines.bytes)
  if (depth === 5) await pipe.sink.write(pipe.lines)
  pipe.lines.clear()
}

async function slice(write: boolean, depth: number, pipe: Pipe): Promise<void> {
  let bodies: string[] = []
  for (let i = 0; i < requestsOfSlice; i += 1) {
    for (const make of pair(write)) {
      const record = depth < 1 ? null : make()
      if (record !== null && depth >= 2) bodies.push(formatRecord(record, none, pipe.hasher, pipe.memo))
    }
    if (bodies.length < linesOfFlush) continue
    await flush(bodies, depth, pipe)
    bodies = []
  }
}

/** CPU in microseconds, the quarter of all slices that was least disturbed: the others tell of what else the machine does. */
async function measure(write: boolean, depth: number, pipe: Pipe): Promise<number> {
  const found: number[] = []
  for (let n = 0; n < slices; n += 1) {
    const cpu = process.cpuUsage()
    await slice(write, depth, pipe)
    const { user, system } = process.cpuUsage(cpu)
    found.push((user + system) / requestsOfSlice)
  }
  return found.sort((a, b) => a - b)[slices / 4]!
}

/** `path` is written to. Rows for a table; a stage's cost is what it adds to those before it. */
export async function measureStages(path: string): Promise<Record<string, string | number>[]> {
  const file = await open(path, 'a', 0o600)
  const sink = await openFileSink({ path })
  const hasher = createValueHasher(new HmacKey(Buffer.alloc(32, 1)))
  const pipe: Pipe = { hasher, memo: new FormatMemo(), lines: new LineBatch(), sink, fd: file.fd, state: { seq: 0, head: null } }
  const rows: Record<string, string | number>[] = []
  for (const write of [false, true]) {
    const sums: number[] = []
    for (let depth = 0; depth < stages.length; depth += 1) sums.push(await measure(write, depth, pipe))
    const adds = sums.map((sum, depth) => sum - (depth === 5 ? sums[3]! : (sums[depth - 1] ?? 0)))
    stages.forEach((stage, depth) =>
      rows.push({ records: write ? 'of a kv write' : 'of a kv read', stage, cpuUs: Math.round(adds[depth]! * 100) / 100 }),
    )
  }
  await sink.close()
  await file.close()
  return rows
}
