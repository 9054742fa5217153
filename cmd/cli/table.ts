/** Plain tables in the look that the field's people know: two columns Key and Value, or several. */
import { isExactNumber } from '#base/exact-json.ts'

/** A value as one line's text, as Go prints it: <nil>, [a b], map[k:v]. */
export function valueText(value: unknown): string {
  if (value === null || value === undefined) return '<nil>'
  if (isExactNumber(value)) return value.rawJSON
  if (Array.isArray(value)) return `[${value.map(valueText).join(' ')}]`
  if (typeof value !== 'object') return String(value as string | number | boolean)
  const pairs = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `map[${pairs.map(([key, inner]) => `${key}:${valueText(inner)}`).join(' ')}]`
}

/** Without escape sequences and other control characters, which could play tricks on a terminal; lines and tabs stay. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- finding control characters is the purpose.
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (letter) => `\\x${letter.charCodeAt(0).toString(16).padStart(2, '0')}`)
}

const width = (text: string): number => Array.from(text).length

/** Columns as wide as their widest cell, four spaces between; the last one not padded. */
export function renderTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, header.map((name) => '-'.repeat(name.length)), ...rows]
  const widths = header.map((_, column) => Math.max(...lines.map((line) => width(line[column] ?? ''))))
  const pad = (cell: string, column: number): string =>
    column === header.length - 1 ? cell : cell + ' '.repeat((widths[column] ?? 0) - width(cell) + 4)
  return lines
    .map(
      (line) =>
        `${header
          .map((_, column) => pad(line[column] ?? '', column))
          .join('')
          .trimEnd()}\n`,
    )
    .join('')
}

/** `== Title ==` in the middle of a table's width. */
export function heading(title: string, table: string): string {
  const width = Math.max(...table.split('\n').map((line) => line.length), title.length + 6)
  const left = Math.floor((width - title.length - 2) / 2)
  return `${'='.repeat(left)} ${title} ${'='.repeat(width - title.length - 2 - left)}\n`
}

/** Seconds as people read them: 768h, 1m30s, 0s. */
export function shortDuration(seconds: number): string {
  const units = [
    ['h', 3_600],
    ['m', 60],
    ['s', 1],
  ] as const
  let rest = Math.trunc(seconds)
  let text = ''
  for (const [unit, size] of units) {
    const count = Math.trunc(rest / size)
    if (count !== 0) text += `${count}${unit}`
    rest -= count * size
  }
  return text === '' ? '0s' : text
}
