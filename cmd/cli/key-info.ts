/** Lists with what the server says of each entry (`key_info`): a row an entry, a column a fact. */
import { valueText } from './table.ts'

type Info = Readonly<Record<string, Readonly<Record<string, unknown>>>>

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The `key_info` of a list's data; null where the list has none. Entries that are no maps are left out. */
export function keyInfoOf(data: Readonly<Record<string, unknown>>): Info | null {
  const info = data['key_info']
  if (!isMap(info)) return null
  return Object.fromEntries(Object.entries(info).filter((entry): entry is [string, Readonly<Record<string, unknown>>] => isMap(entry[1])))
}

/**
 * Columns in the order of their names; what an entry does not have is `n/a`, a folder has nothing. A map of maps (the versions of a secret) is told by
 * their number: written out, one old secret would push every other column off the screen. Programs get all of it, in another format.
 */
export function detailTable(keys: readonly string[], info: Info): { readonly header: string[]; readonly rows: string[][] } {
  const columns = [...new Set(keys.flatMap((key) => Object.keys(info[key] ?? {})))].toSorted()
  const cell = (key: string, column: string): string => {
    const facts = info[key]
    return facts === undefined || !Object.hasOwn(facts, column) ? 'n/a' : factText(facts[column])
  }
  return { header: ['Keys', ...columns], rows: keys.map((key) => [key, ...columns.map((column) => cell(key, column))]) }
}

function factText(value: unknown): string {
  if (value === '') return 'n/a'
  if (!isMap(value)) return valueText(value)
  const inner = Object.values(value)
  return inner.length > 0 && inner.every(isMap) ? String(inner.length) : valueText(value)
}
