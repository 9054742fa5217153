/** Reads of either side: what is not there is null, and lists come in pages where the server has them. */
import type { Client } from '#client/client.ts'
import { ApiError } from '#client/errors.ts'
import type { Fields } from './types.ts'

/** Names that one answer has at most, where the server knows pages; others answer with all of them. */
export const pageNames = 1_000

const isMissing = (error: unknown): boolean => error instanceof ApiError && error.status === 404

/** `data` of a read; null when there is nothing, no such route or nothing mounted. @throws ApiError for other refusals. */
export async function dataAt(client: Client, path: string, query: Readonly<Record<string, string>> = {}): Promise<Fields | null> {
  try {
    return (await client.read(path, query))?.data ?? null
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

/**
 * Names in a folder, in the server's order. A server that knows no pages answers all names each time: seen by more names than were asked for, or by
 * the same first one again. @throws ApiError.
 */
export async function* namesAt(client: Client, path: string): AsyncGenerator<string, void, undefined> {
  let first: string | null = null
  let after = ''
  for (;;) {
    const keys = await pageAt(client, path, after)
    const head = keys[0]
    if (head === undefined || head === first) return
    yield* keys
    if (keys.length !== pageNames) return
    first = head
    after = keys.at(-1) ?? ''
  }
}

async function pageAt(client: Client, path: string, after: string): Promise<readonly string[]> {
  try {
    const secret = await client.list(path, { limit: String(pageNames), ...(after === '' ? {} : { after }) })
    const keys = secret?.data?.['keys']
    return Array.isArray(keys) ? keys.map(String) : []
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}
