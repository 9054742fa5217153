/** audit tail: the newest records of a file, and those that come. */
import { open, stat } from 'node:fs/promises'
import { sleep, systemClock } from '#base/clock.ts'
import { linesOf } from '#audit/verify/lines.ts'
import { UsageError, type Command, type CommandContext } from '../../cli/types.ts'
import { parseRecord, rowOf } from './records.ts'

const lastDefault = 10
const lastMax = 10_000
const pollMs = 250
const readBytesMax = 1024 * 1024
const newline = 10

async function tail(context: CommandContext): Promise<void> {
  const [file = ''] = context.args
  const count = context.flags.int('lines') ?? lastDefault
  if (count < 0 || count > lastMax) throw new UsageError(`-lines expected 0 to ${lastMax}, got ${count}`)
  const last: Buffer[] = []
  let bytes = 0
  for await (const line of linesOf(file)) {
    if (!line.whole) break
    bytes += line.bytes.length + 1
    last.push(Buffer.from(line.bytes))
    if (last.length > count) last.shift()
  }
  for (const line of last) show(context, line)
  if (context.flags.bool('follow')) await follow(context, file, bytes)
}

function show(context: CommandContext, line: Buffer): void {
  const record = parseRecord(line)
  if (record === null) return context.output.note('a line that is no record')
  if (context.output.format === 'json') return context.output.text(`${line.toString('utf8')}\n`)
  const { time, type, operation, namespace, path, who, address, status, error } = rowOf(record)
  const where = namespace === '' ? path : `${namespace.replace(/\/$/, '')}/${path}`
  context.output.text(`${[time, type, operation, where, who || '-', address, status, error].filter((word) => word !== '').join('  ')}\n`)
}

/** Until it is interrupted. A file that became shorter, or another one of that name, is begun from its start. */
async function follow(context: CommandContext, path: string, from: number): Promise<never> {
  let at = from
  let inode = (await stat(path)).ino
  let rest: Buffer = Buffer.alloc(0)
  for (;;) {
    const now = await stat(path).catch(() => null)
    if (now !== null && (now.ino !== inode || now.size < at)) {
      inode = now.ino
      at = 0
      rest = Buffer.alloc(0)
    }
    const more = now !== null && now.size > at ? await readFrom(path, at) : null
    if (more === null || more.length === 0) {
      await sleep(systemClock, pollMs)
      continue
    }
    at += more.length
    rest = Buffer.concat([rest, more])
    for (let end = rest.indexOf(newline); end >= 0; end = rest.indexOf(newline)) {
      show(context, rest.subarray(0, end))
      rest = rest.subarray(end + 1)
    }
  }
}

async function readFrom(path: string, at: number): Promise<Buffer> {
  const file = await open(path, 'r')
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(readBytesMax), 0, readBytesMax, at)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

export const tailCommand: Command = {
  path: ['audit', 'tail'],
  synopsis: 'Show the newest records of an audit file, a line each',
  args: 'FILE',
  argsMin: 1,
  argsMax: 1,
  examples: ['holdfast audit tail -follow /var/log/holdfast/audit.log'],
  flags: {
    lines: { type: 'int', placeholder: 'COUNT', description: `How many to begin with; ${lastDefault} when absent.` },
    follow: { type: 'bool', description: 'Go on as records come, over rotations too.' },
  },
  local: true,
  run: tail,
}
