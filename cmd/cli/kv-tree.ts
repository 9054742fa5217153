/** Secrets of a whole folder: walked, read and compared, on both versions of the engine. Bounded in what is asked at a time and in all. */
import type { Client } from '#client/client.ts'
import { ApiError } from '#client/errors.ts'
import { apiPath, type KvPath } from './kv-paths.ts'
import { UsageError } from './types.ts'

export type Fields = Readonly<Record<string, unknown>>

export const treeLimits = { secretsMax: 100_000, atOnceMax: 8, depthMax: 64 } as const

/** `at` with another key. */
const below = (at: KvPath, key: string): KvPath => ({ ...at, key })

/** What was left out because the token may not see it. */
export interface Skipped {
  folders: number
  secrets: number
}

const isDenied = (error: unknown): boolean => error instanceof ApiError && error.status === 403

/** Names in the folder; null: it may not be listed. */
async function namesIn(client: Client, at: KvPath): Promise<readonly string[] | null> {
  try {
    const secret = await client.list(`${apiPath(at, 'metadata').replace(/\/+$/, '')}/`)
    const keys = secret?.data?.['keys']
    return Array.isArray(keys) ? keys.map(String) : []
  } catch (error) {
    if (isDenied(error)) return null
    throw error
  }
}

/** Every secret below `at`, in order, as keys below the mount. What may not be listed is counted in `skipped`. @throws UsageError beyond the bounds. */
export async function* walk(client: Client, at: KvPath, skipped: Skipped, depth = 0): AsyncGenerator<string, void, undefined> {
  if (depth > treeLimits.depthMax) throw new UsageError(`folders expected at most ${treeLimits.depthMax} deep, got more`)
  const names = await namesIn(client, at)
  if (names === null) skipped.folders += 1
  const prefix = at.key === '' ? '' : `${at.key.replace(/\/+$/, '')}/`
  for (const name of names ?? []) {
    if (name.endsWith('/')) yield* walk(client, below(at, `${prefix}${name.slice(0, -1)}`), skipped, depth + 1)
    else yield `${prefix}${name}`
  }
}

export interface ReadSecret {
  /** null: there is none, or it is deleted. */
  readonly fields: Fields | null
  /** 0 where the engine keeps none, or there is none. */
  readonly version: number
}

/** `version` 0: the newest. @throws ApiError. */
export async function readSecret(client: Client, at: KvPath, version = 0): Promise<ReadSecret> {
  const query = version === 0 || at.version === 1 ? {} : { version: String(version) }
  const secret = await client.read(apiPath(at, 'data'), query, { wrapTtl: '' })
  if (at.version === 1) return { fields: secret?.data ?? null, version: 0 }
  const metadata = secret?.data?.['metadata'] as Fields | undefined
  return { fields: (secret?.data?.['data'] ?? null) as Fields | null, version: Number(metadata?.['version'] ?? 0) }
}

/** Each of `keys` with what `work` makes of it, in their order, a few at a time. */
export async function* eachOf<In, Out>(
  inputs: AsyncIterable<In>,
  work: (input: In) => Promise<Out>,
): AsyncGenerator<readonly [In, Out], void, undefined> {
  let waiting: { readonly input: In; readonly result: Promise<Out> }[] = []
  let count = 0
  const drain = async function* (leave: number): AsyncGenerator<readonly [In, Out], void, undefined> {
    while (waiting.length > leave) {
      const [first, ...rest] = waiting
      waiting = rest
      if (first !== undefined) yield [first.input, await first.result]
    }
  }
  for await (const input of inputs) {
    if (++count > treeLimits.secretsMax) throw new UsageError(`expected at most ${treeLimits.secretsMax} secrets, got more`)
    const result = work(input)
    // Awaited in its turn: until then its failure is nobody's, and must not end the process.
    result.catch(() => {})
    waiting.push({ input, result })
    yield* drain(treeLimits.atOnceMax - 1)
  }
  yield* drain(0)
}

/** Key and secret of all below `at`; of `at` itself when it is a secret and no folder. */
export async function* secretsBelow(
  client: Client,
  at: KvPath,
  skipped: Skipped,
): AsyncGenerator<readonly [key: string, secret: ReadSecret], void, undefined> {
  const read = async (key: string): Promise<ReadSecret | null> => {
    try {
      return await readSecret(client, below(at, key))
    } catch (error) {
      if (!isDenied(error)) throw error
      skipped.secrets += 1
      return null
    }
  }
  for await (const [key, secret] of eachOf(walk(client, at, skipped), read)) if (secret !== null) yield [key, secret]
}

export function skippedNote({ folders, secrets }: Skipped): string | null {
  if (folders === 0 && secrets === 0) return null
  return `warning: left out what the token may not see: ${folders} folder(s) not listed, ${secrets} secret(s) not read`
}

export interface Change {
  readonly kind: 'added' | 'removed' | 'changed'
  readonly key: string
  readonly before?: unknown
  readonly after?: unknown
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b))

/** With the keys of objects in order: JSON has none. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, one]) => [key, sorted(one)]),
  )
}

/** What leads from `before` to `after`, by key in order; null is a secret that is not there. */
export function changesOf(before: Fields | null, after: Fields | null): readonly Change[] {
  const keys = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])].toSorted()
  return keys.flatMap((key): Change[] => {
    const was = before !== null && Object.hasOwn(before, key)
    const is = after !== null && Object.hasOwn(after, key)
    if (!was) return [{ kind: 'added', key, after: after?.[key] }]
    if (!is) return [{ kind: 'removed', key, before: before[key] }]
    return same(before[key], after[key]) ? [] : [{ kind: 'changed', key, before: before[key], after: after[key] }]
  })
}
