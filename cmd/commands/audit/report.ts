/** audit report: who asked for what, and when. */
import type { AuditRecord } from '#audit/types.ts'
import { call } from '../../cli/common.ts'
import { UsageError, type Command, type CommandContext } from '../../cli/types.ts'
import { columns, recordsOf, rowOf, type Row } from './records.ts'

const rowsShownMax = 10_000
const chunkRows = 500

interface Wanted {
  readonly fromMs: number
  readonly toMs: number
  readonly path: RegExp | null
  readonly namespace: string | null
  readonly accessor: string | null
  readonly token: string | null
  readonly entity: string | null
  readonly operation: string | null
  readonly types: ReadonlySet<string>
}

async function wantedOf(context: CommandContext): Promise<Wanted> {
  const { flags } = context
  const types = flags.bool('all') ? ['request', 'response', 'forward', 'disabled'] : ['response', 'disabled']
  return {
    fromMs: timeOf(flags.string('from'), '-from', -Infinity),
    toMs: timeOf(flags.string('to'), '-to', Infinity),
    path: patternOf(flags.string('path')),
    namespace: flags.string('ns')?.replace(/^\/+|\/+$/g, '') ?? null,
    accessor: await hashOf(context, flags.string('accessor')),
    token: await hashOf(context, flags.string('client-token')),
    entity: flags.string('entity') ?? null,
    operation: flags.string('operation') ?? null,
    types: new Set(types),
  }
}

function timeOf(text: string | undefined, flag: string, fallback: number): number {
  if (text === undefined) return fallback
  const ms = Date.parse(text)
  if (Number.isNaN(ms)) throw new UsageError(`${flag} expected a time as 2026-08-01T10:00:00Z, got ${JSON.stringify(text)}`)
  return ms
}

/** A path, with * for any text. */
function patternOf(text: string | undefined): RegExp | null {
  if (text === undefined) return null
  return new RegExp(
    `^${text
      .split('*')
      .map((part) => RegExp.escape(part))
      .join('.*')}$`,
    's',
  )
}

/** Files hold hashes: the cluster makes one of what is no hash yet. */
async function hashOf(context: CommandContext, text: string | undefined): Promise<string | null> {
  if (text === undefined) return null
  if (text.startsWith('hmac-sha256:')) return text
  const input = text === '-' ? await context.io.readSecret('Value (will be hidden)') : text
  const device = context.flags.string('device') ?? 'file'
  const secret = await call(context, { method: 'POST', path: `sys/audit-hash/${device}`, body: { input }, idempotent: true })
  return String(secret?.data?.['hash'] ?? secret?.['hash'])
}

function isWanted(record: AuditRecord, wanted: Wanted): boolean {
  const { request, auth, time, type } = record
  const timeMs = Date.parse(time)
  return (
    wanted.types.has(type) &&
    timeMs >= wanted.fromMs &&
    timeMs < wanted.toMs &&
    (wanted.path === null || wanted.path.test(request.path)) &&
    (wanted.namespace === null || (request.namespace?.path ?? '').replace(/\/$/, '') === wanted.namespace) &&
    (wanted.accessor === null || auth?.accessor === wanted.accessor) &&
    (wanted.token === null || auth?.client_token === wanted.token) &&
    (wanted.entity === null || auth?.entity_id === wanted.entity) &&
    (wanted.operation === null || request.operation === wanted.operation)
  )
}

async function report(context: CommandContext): Promise<number | void> {
  const wanted = await wantedOf(context)
  const json = context.output.format === 'json'
  const csv = context.flags.bool('csv')
  if (csv) context.output.text(`${columns.join(',')}\r\n`)
  const rows: Row[] = []
  let count = 0
  let begun = false
  // What is asked for whole may be longer than memory: it is written as it is found.
  const flush = (): void => {
    const some = rows.splice(0)
    if (csv) return context.output.text(some.map(csvLine).join(''))
    if (some.length === 0) return
    context.output.text(`${begun ? ',' : '['}\n${some.map(indented).join(',\n')}`)
    begun = true
  }
  for await (const record of recordsOf(context.args)) {
    if (!isWanted(record, wanted)) continue
    rows.push(rowOf(record))
    count += 1
    if ((csv || json) && rows.length >= chunkRows) flush()
    if (!csv && !json && count >= rowsShownMax) break
  }
  if (csv) return flush()
  if (json) {
    flush()
    return context.output.text(begun ? '\n]\n' : '[]\n')
  }
  const shown = ['time', 'operation', 'namespace', 'path', 'who', 'address', 'status'] as const
  await context.output.table(
    [...shown],
    rows.map((row) => shown.map((column) => row[column])),
    rows,
  )
  if (count >= rowsShownMax) context.output.note(`only the first ${rowsShownMax}: narrow it down, or take -csv or -format=json`)
}

/** As an element of the array that JSON.stringify would write with two spaces. */
const indented = (row: Row): string => JSON.stringify(row, null, 2).replaceAll(/^/gm, '  ')

/** A field that a spreadsheet would take for a formula is given as text. */
const csvField = (text: string): string => {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
const csvLine = (row: Row): string => `${columns.map((column) => csvField(row[column])).join(',')}\r\n`

export const reportCommand: Command = {
  path: ['audit', 'report'],
  synopsis: 'Show who asked for what between two times',
  args: 'FILE...',
  argsMin: 1,
  argsMax: Infinity,
  description:
    'Reads audit files, compressed or not; check them first with audit verify. Files hold hashes of tokens and accessors: a value that is none is hashed by the cluster, as the device has it.',
  examples: [
    'holdfast audit report -path="secret/data/payroll/*" -from=2026-08-01T00:00:00Z -to=2026-08-02T00:00:00Z audit.log*',
    'holdfast audit report -csv -accessor=hmac-sha256:... audit.log > rows.csv',
  ],
  flags: {
    from: { type: 'string', placeholder: 'TIME', description: 'Not before it.' },
    to: { type: 'string', placeholder: 'TIME', description: 'Before it.' },
    path: { type: 'string', placeholder: 'PATH', description: 'Only this path; * stands for any text.' },
    ns: { type: 'string', placeholder: 'NAMESPACE', description: 'Only this namespace.' },
    accessor: { type: 'string', placeholder: 'ACCESSOR', description: 'Only what the token of this accessor asked, or its hash.' },
    'client-token': { type: 'string', placeholder: 'HASH', description: 'Only what this token asked: its hash, or - to type it.' },
    entity: { type: 'string', placeholder: 'ID', description: 'Only what this entity asked.' },
    operation: { type: 'string', placeholder: 'NAME', description: 'Only read, list, create, update, patch, delete ...' },
    device: { type: 'string', placeholder: 'NAME', description: 'Whose hashes the files hold; "file" when absent.' },
    all: { type: 'bool', description: 'Requests and forwarded ones too, not only what was answered.' },
    csv: { type: 'bool', description: 'As CSV, with every column.' },
  },
  run: report,
}
