/** Prints answers as a table, JSON or YAML, or one field of them. */
import { isExactNumber } from '#base/exact-json.ts'
import type { Secret } from '#client/types.ts'
import type { Io } from './io.ts'
import { detailTable, keyInfoOf } from './key-info.ts'
import type { OutputFormat } from './settings.ts'
import { yamlOf } from './yaml.ts'
import { heading, printable, renderTable, shortDuration, valueText } from './table.ts'
import { RefusedError } from './types.ts'

export type Row = readonly [key: string, value: unknown]

export class Output {
  readonly format: OutputFormat
  readonly #field: string | undefined
  readonly #io: Io
  constructor(format: OutputFormat, field: string | undefined, io: Io) {
    this.format = format
    this.#field = field
    this.#io = io
  }

  /** One line for people; nothing where a program reads. */
  say(line: string): void {
    if (this.format === 'table') this.#io.out(`${this.#safe(line)}\n`)
  }

  /** Raw text: a policy, a completion script. */
  text(text: string): void {
    this.#io.out(text)
  }

  note(line: string): void {
    this.#io.err(`${line}\n`)
  }

  #safe(text: string): string {
    return this.#io.stdoutIsTty ? printable(text) : text
  }

  async #structured(value: unknown): Promise<void> {
    if (this.format === 'raw') this.#io.out(`${JSON.stringify(value)}\n`)
    else if (this.format === 'json') this.#io.out(`${JSON.stringify(value, null, 2)}\n`)
    else this.#io.out(await yamlOf(value))
  }

  /** The value of -field, bare: without a newline where a program reads it, so that nothing has to be cut off. */
  async #one(value: unknown): Promise<void> {
    if (this.format !== 'table' && this.format !== 'raw') return await this.#structured(value)
    const text = typeof value === 'object' && value !== null && !isExactNumber(value) ? JSON.stringify(value) : valueText(value)
    this.#io.out(this.#io.stdoutIsTty ? `${printable(text)}\n` : text)
  }

  async #pick(rows: readonly Row[], name: string): Promise<void> {
    const row = rows.find(([key]) => key === name)
    if (row === undefined) throw new RefusedError(`field "${name}" is not in the answer`, `it has: ${rows.map(([key]) => key).join(', ')}`)
    await this.#one(row[1])
  }

  keyValue(rows: readonly Row[]): string {
    return renderTable(
      ['Key', 'Value'],
      rows.map(([key, value]) => [key, this.#safe(valueText(value))]),
    )
  }

  /** `rows` for people (and for -field), `value` for programs. */
  async rows(rows: readonly Row[], value: unknown): Promise<void> {
    if (this.#field !== undefined) await this.#pick(rows, this.#field)
    else if (this.format === 'table') this.#io.out(this.keyValue(rows))
    else await this.#structured(value)
  }

  /** Several titled tables for people; `value` for programs; -field looks in the last table first. */
  async sections(sections: readonly (readonly [title: string, rows: readonly Row[]])[], value: unknown): Promise<void> {
    if (this.#field !== undefined)
      return await this.#pick(
        sections.toReversed().flatMap(([, rows]) => rows),
        this.#field,
      )
    if (this.format !== 'table') return await this.#structured(value)
    const parts = sections.map(([title, rows]) => {
      const table = this.keyValue(rows)
      return `${heading(title, table)}${table}`
    })
    this.#io.out(parts.join('\n'))
  }

  async table(header: readonly string[], rows: readonly (readonly string[])[], value: unknown): Promise<void> {
    if (this.format !== 'table') return await this.#structured(value)
    this.#io.out(
      renderTable(
        header,
        rows.map((row) => row.map((cell) => this.#safe(cell))),
      ),
    )
  }

  /** A list of keys. */
  async list(keys: readonly string[]): Promise<void> {
    await this.table(
      ['Keys'],
      keys.map((key) => [key]),
      keys,
    )
  }

  /** A list with what is said of each key; all of `data` for programs. Where nothing is said of any, people are told, and see the keys. */
  async details(keys: readonly string[], data: Readonly<Record<string, unknown>>): Promise<void> {
    const info = keyInfoOf(data)
    if (info === null && this.format === 'table') this.note('this list has no details')
    const { header, rows } = detailTable(keys, info ?? {})
    await this.table(header, rows, data)
  }

  warnings(secret: Secret | null): void {
    const warnings = secret?.warnings ?? []
    if (warnings.length > 0) this.#io.err(`warning: ${warnings.map(printable).join('\nwarning: ')}\n`)
  }

  /** Any answer of the API. */
  async secret(secret: Secret): Promise<void> {
    this.warnings(secret)
    await this.rows(secretRows(secret), secret)
  }
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const quoted = (value: unknown): string => (Array.isArray(value) ? `[${value.map((one) => JSON.stringify(one)).join(' ')}]` : '[]')

/** An envelope's content as rows: what is wrapped, else who is logged in, else the data with its lease. */
export function secretRows(secret: Secret): Row[] {
  const { wrap_info: wrap, auth } = secret
  if (wrap) return wrapRows(wrap)
  if (auth) return authRows(auth)
  const seconds = secret.lease_duration ?? 0
  const rows: Row[] = []
  if (seconds > 0 && text(secret.lease_id) !== '') {
    rows.push(['lease_id', secret.lease_id], ['lease_duration', shortDuration(seconds)], ['lease_renewable', secret.renewable === true])
  } else if (seconds > 0) rows.push(['refresh_interval', shortDuration(seconds)])
  const data = secret.data ?? {}
  return [
    ...rows,
    ...Object.keys(data)
      .toSorted()
      .map((key): Row => [key, data[key]]),
  ]
}

function wrapRows(wrap: Readonly<Record<string, unknown>>): Row[] {
  const rows: Row[] = [
    ['wrapping_token', wrap['token']],
    ['wrapping_accessor', wrap['accessor']],
    ['wrapping_token_ttl', shortDuration(Number(wrap['ttl'] ?? 0))],
    ['wrapping_token_creation_time', wrap['creation_time']],
    ['wrapping_token_creation_path', wrap['creation_path']],
  ]
  return text(wrap['wrapped_accessor']) === '' ? rows : [...rows, ['wrapped_accessor', wrap['wrapped_accessor']]]
}

function authRows(auth: Readonly<Record<string, unknown>>): Row[] {
  const seconds = Number(auth['lease_duration'] ?? 0)
  const metadata = (auth['metadata'] ?? {}) as Readonly<Record<string, unknown>>
  return [
    ['token', auth['client_token']],
    ['token_accessor', auth['accessor']],
    ['token_duration', seconds === 0 ? '\u221e' : shortDuration(seconds)],
    ['token_renewable', auth['renewable']],
    ['token_policies', quoted(auth['token_policies'])],
    ['identity_policies', quoted(auth['identity_policies'])],
    ['policies', quoted(auth['policies'])],
    ...Object.keys(metadata)
      .toSorted()
      .map((key): Row => [`token_meta_${key}`, metadata[key]]),
  ]
}
