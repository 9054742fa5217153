/** What one configuration key is: its type, default, documentation. The tables in keys.ts are made of these; everything else follows from them. */

export type KeyKind = 'string' | 'choice' | 'bool' | 'int' | 'duration' | 'list' | 'cidrs' | 'url' | 'address' | 'any'

declare const value: unique symbol

/** `T` is what a loaded configuration holds under the key. Durations are milliseconds, sizes bytes. */
export interface KeyDef<T> {
  readonly [value]?: T
  readonly kind: KeyKind
  /** One or two sentences for docs/configuration.md. */
  readonly doc: string
  /** As written in the documentation; null: none. */
  readonly defaultText: string | null
  readonly default: T
  readonly choices?: readonly string[]
  readonly min?: number
  readonly max?: number
  readonly required?: boolean
  /** Never shown in an error. */
  readonly secret?: boolean
  /** Accepted for compatibility and has no effect: the reason, said as a warning. */
  readonly ignored?: string
  /** Not accepted: what to do instead. */
  readonly refused?: string
  /** Environment variables of the field that mean this key too, after our own. */
  readonly aliases?: readonly string[]
}

export type KeyTable = Readonly<Record<string, KeyDef<unknown>>>
export type ValuesOf<T extends KeyTable> = { readonly [K in keyof T]: T[K] extends KeyDef<infer V> ? V : never }

interface Extra {
  readonly required?: boolean
  readonly secret?: boolean
  readonly aliases?: readonly string[]
}

export const text = (doc: string, extra: Extra = {}): KeyDef<string | null> => ({
  kind: 'string',
  doc,
  default: null,
  defaultText: null,
  ...extra,
})
export const textOr = (fallback: string, doc: string, extra: Extra = {}): KeyDef<string> => ({
  kind: 'string',
  doc,
  default: fallback,
  defaultText: `"${fallback}"`,
  ...extra,
})
export const choice = <const V extends string>(choices: readonly V[], fallback: V, doc: string, extra: Extra = {}): KeyDef<V> => ({
  kind: 'choice',
  choices,
  doc,
  default: fallback,
  defaultText: `"${fallback}"`,
  ...extra,
})
export const bool = (fallback: boolean, doc: string, extra: Extra = {}): KeyDef<boolean> => ({
  kind: 'bool',
  doc,
  default: fallback,
  defaultText: String(fallback),
  ...extra,
})
/** Absent means "decided by other keys". */
export const maybeBool = (doc: string): KeyDef<boolean | null> => ({ kind: 'bool', doc, default: null, defaultText: null })
export const int = (fallback: number, doc: string, range: { readonly min?: number; readonly max?: number } = {}): KeyDef<number> => ({
  kind: 'int',
  doc,
  default: fallback,
  defaultText: String(fallback),
  ...range,
})
export const duration = (fallback: string, fallbackMs: number, doc: string): KeyDef<number> => ({
  kind: 'duration',
  doc,
  default: fallbackMs,
  defaultText: `"${fallback}"`,
})
export const maybeDuration = (doc: string): KeyDef<number | null> => ({ kind: 'duration', doc, default: null, defaultText: null })
export const list = (doc: string): KeyDef<readonly string[]> => ({ kind: 'list', doc, default: [], defaultText: '[]' })
export const cidrs = (doc: string): KeyDef<readonly string[]> => ({ kind: 'cidrs', doc, default: [], defaultText: '[]' })
export const url = (doc: string, extra: Extra = {}): KeyDef<string | null> => ({
  kind: 'url',
  doc,
  default: null,
  defaultText: null,
  ...extra,
})
export const address = (doc: string): KeyDef<string | null> => ({ kind: 'address', doc, default: null, defaultText: null })
export const ignored = (reason: string): KeyDef<null> => ({
  kind: 'any',
  doc: `Accepted and ignored: ${reason}.`,
  default: null,
  defaultText: null,
  ignored: reason,
})
export const refused = (hint: string): KeyDef<null> => ({
  kind: 'any',
  doc: `Refused: ${hint}.`,
  default: null,
  defaultText: null,
  refused: hint,
})
