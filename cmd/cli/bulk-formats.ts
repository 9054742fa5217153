/**
 * Secrets as files: .env, JSON, YAML. A file is one secret when any of its values is no object, else several: each key is then a path, and its value that secret.
 * So what `kv export` writes, `kv import` reads.
 */
import { parseEnv } from 'node:util'
import { isExactNumber, parseExactJson } from '#base/exact-json.ts'
import type { Fields } from './kv-tree.ts'
import { UsageError } from './types.ts'
import { parseYaml, yamlOf } from './yaml.ts'

export const bulkFormats = ['env', 'json', 'yaml'] as const
export type BulkFormat = (typeof bulkFormats)[number]

/** By the name's ending; null: it does not say. */
export function formatOfName(name: string): BulkFormat | null {
  if (/(^|[./])env(\.[^/]*)?$/.test(name)) return 'env'
  if (name.endsWith('.json')) return 'json'
  return /\.ya?ml$/.test(name) ? 'yaml' : null
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !isExactNumber(value)

/** A file's secrets by path; '' is the path that was named itself. @throws UsageError that names keys, and no value. */
export async function parseSecrets(text: string, format: BulkFormat): Promise<ReadonlyMap<string, Fields>> {
  const parsed = await parsedOf(text, format)
  if (!isObject(parsed)) throw new UsageError(`expected an object of keys and values, got another kind of ${format.toUpperCase()}`)
  const entries = Object.entries(parsed)
  if (entries.length === 0) throw new UsageError('expected at least one key, got none')
  if (!entries.every(([, value]) => isObject(value))) return new Map([['', parsed]])
  const paths = entries.map(([path, value]) => [path.replace(/^\/+|\/+$/g, ''), value as Fields] as const)
  if (paths.some(([path]) => path === '')) throw new UsageError('a path expected a name, got an empty one')
  return new Map(paths)
}

async function parsedOf(text: string, format: BulkFormat): Promise<unknown> {
  if (format === 'env') return { ...parseEnv(text) }
  try {
    return format === 'json' ? parseExactJson(text) : await parseYaml(text)
  } catch {
    // The parser's own words would quote what it failed on: a secret.
    throw new UsageError(`expected ${format.toUpperCase()}, got something that does not parse`)
  }
}

/** As text that `parseSecrets` reads back. `single`: one secret, not by its path. @throws UsageError for what the format can't hold. */
export async function formatSecrets(secrets: ReadonlyMap<string, Fields>, format: BulkFormat, single: boolean): Promise<string> {
  if (format === 'env') return envOf(secrets)
  const value = single ? ([...secrets.values()][0] ?? {}) : Object.fromEntries(secrets)
  return format === 'json' ? `${JSON.stringify(value, null, 2)}\n` : yamlOf(value)
}

/** A name that shells and programs take: 'db-password' becomes DB_PASSWORD. */
export function variableName(key: string): string {
  const name = key.toUpperCase().replaceAll(/[^A-Z0-9_]/g, '_')
  return /^\d/.test(name) ? `_${name}` : name
}

/** A field's value as the text of a variable: text as it is, all else as JSON. */
export const variableText = (value: unknown): string => (typeof value === 'string' ? value : (JSON.stringify(value) ?? ''))

function envOf(secrets: ReadonlyMap<string, Fields>): string {
  const lines = new Map<string, string>()
  for (const fields of secrets.values()) {
    for (const [key, value] of Object.entries(fields)) {
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(key))
        throw new UsageError(`a variable can't be called ${JSON.stringify(key)}`, 'export it as json or yaml')
      if (lines.has(key)) throw new UsageError(`two secrets have the key ${key}`, 'export one of them, or as json or yaml')
      lines.set(key, `${key}=${quoted(key, variableText(value))}\n`)
    }
  }
  return [...lines.values()].join('')
}

/** In quotes that the value does not contain; within double ones a backslash would be read as an escape. */
function quoted(key: string, text: string): string {
  if (/^[A-Za-z0-9_./:@%+,-]+$/.test(text)) return text
  // Carriage returns are read back as line feeds.
  const quote = ["'", '`', '"'].find((one) => !text.includes(one) && (one !== '"' || !text.includes('\\')))
  if (quote === undefined || text.includes('\r')) throw new UsageError(`.env can't hold the value of ${key}`, 'export it as json or yaml')
  return `${quote}${text}${quote}`
}
