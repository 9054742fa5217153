/** What is moved, one thing at a time: each says by itself whether it is there already, and how it would be copied. */
import type { Client } from '#client/client.ts'

export const kinds = ['kv', 'policies', 'auth', 'identity', 'audit', 'other'] as const
export type Kind = (typeof kinds)[number]

/** What is known after both sides were read, and nothing was written. */
export type Decision =
  /** The target has it, the same. */
  | { readonly status: 'equal' }
  /** It is not copied, by anybody's wish; why, and what to do instead. */
  | { readonly status: 'skipped'; readonly reason: string }
  /** The target has none. */
  | { readonly status: 'copy'; readonly apply: Apply }
  /** The target has another one. `apply` puts the source's in its place; null: the API has no way. */
  | { readonly status: 'conflict'; readonly reason: string; readonly apply: Apply | null }

/** Writes to the target. @returns what came out otherwise than at the source, null when nothing did. */
export type Apply = () => Promise<string | null>

export interface Item {
  readonly kind: Kind
  /** As people name it at the source: 'secret/app/db', 'auth/approle/role/ci'. */
  readonly path: string
  /** Reads both sides. @throws ApiError, UnreachableError. */
  readonly decide: () => Promise<Decision>
}

/** Things that do not depend on each other; those of a later stage may depend on those of an earlier one. */
export interface Stage {
  readonly title: string
  readonly items: () => AsyncIterable<Item>
}

/** Both servers, in the namespaces that were asked for. Nothing is ever written to `from`. */
export interface Sides {
  readonly from: Client
  readonly to: Client
  /** Wall-clock time of this machine. */
  readonly nowMs: () => number
}

export type Fields = Readonly<Record<string, unknown>>

/** One thing that is told and not done. */
export const told = (kind: Kind, path: string, reason: string): Item => ({
  kind,
  path,
  decide: () => Promise.resolve({ status: 'skipped', reason }),
})
