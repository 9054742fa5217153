/**
 * Data from the command line: `key=value`, `key=@file`, `key=-` (the value from standard input), `@file.json` and `-` (a whole
 * JSON object). `key=\@text` is the text "@text". A key given twice becomes a list.
 */
import { parseExactJson } from '#base/exact-json.ts'
import type { Io } from './io.ts'
import { UsageError } from './types.ts'

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

/** @throws UsageError, which names keys and never values. */
export async function readPairs(words: readonly string[], io: Io): Promise<Record<string, unknown>> {
  if (words.filter((word) => word === '-' || word.endsWith('=-')).length > 1) {
    throw new UsageError('standard input expected to be used once, got it twice')
  }
  const data = new Map<string, unknown>()
  for (const word of words) {
    if (word === '-') addObject(data, await io.readStdin(), 'standard input')
    else if (word.startsWith('@')) addObject(data, io.readFile(word.slice(1)), word.slice(1))
    else await addPair(data, word, io)
  }
  return Object.fromEntries(data)
}

function addObject(data: Map<string, unknown>, text: string, from: string): void {
  let parsed: unknown
  try {
    parsed = parseExactJson(text)
  } catch {
    // The parser's own words would quote what it failed on: a secret.
    throw new UsageError(`${from} expected a JSON object, got something that is not JSON`)
  }
  if (!isObject(parsed)) throw new UsageError(`${from} expected a JSON object, got another kind of JSON`)
  for (const [key, value] of Object.entries(parsed)) data.set(key, value)
}

async function addPair(data: Map<string, unknown>, word: string, io: Io): Promise<void> {
  const at = word.indexOf('=')
  if (at < 1) {
    // The word may be a secret typed without its key: it is not shown.
    throw new UsageError(
      'expected key=value, got a word without "="',
      'a JSON object comes from standard input with "-", or from a file with @FILE',
    )
  }
  const key = word.slice(0, at)
  const value = await valueOf(key, word.slice(at + 1), io)
  const earlier = data.get(key)
  if (!data.has(key)) data.set(key, value)
  else data.set(key, Array.isArray(earlier) ? [...(earlier as unknown[]), value] : [earlier, value])
}

async function valueOf(key: string, text: string, io: Io): Promise<string> {
  if (text === '-') return await io.readValue(key)
  if (text.startsWith('@')) return io.readFile(text.slice(1))
  return text.startsWith('\\@') ? text.slice(1) : text
}
