/**
 * A policy's text as a tree that keeps its comments, for `policy fmt`. Only for texts that `parseHcl` has taken: nothing is refused here.
 * A comment belongs to what follows it, or, on the same line, to what stands before it. One that stands in an odd place (between a key
 * and its value) moves before the entry that it stands in.
 */
export interface Entry<T> {
  /** Lines of comments before it; '' is an empty line. */
  readonly before: string[]
  readonly node: T
  /** A comment behind it on its line; '' when there is none. */
  readonly after: string
}

export interface Item {
  readonly key: string
  readonly labels: readonly string[]
  readonly value: Value
}

export type Value =
  | { readonly kind: 'string'; readonly text: string }
  /** Number, word or here document: as written. */
  | { readonly kind: 'raw'; readonly text: string }
  | { readonly kind: 'list'; readonly entries: Entry<Value>[]; readonly rest: string[] }
  | ObjectValue

export interface ObjectValue {
  readonly kind: 'object'
  readonly entries: Entry<Item>[]
  /** Comments after the last entry. */
  readonly rest: string[]
}

interface Token {
  readonly kind: 'string' | 'raw' | 'mark' | 'comment' | 'end'
  readonly text: string
  /** An empty line stands before it. */
  readonly afterBlank: boolean
  /** It stands on the line of the token before it. */
  readonly sameLine: boolean
}

const comment = /#[^\n]*|\/\/[^\n]*|\/\*[^]*?\*\//y
const text = /"(?:\\.|[^"\\])*"/suy
const heredoc = /<<-?([\p{L}_][\p{L}\p{N}_]*)[ \t]*\r?\n[^]*?^[ \t]*\1[ \t]*\r?$/muy
const mark = /[{}[\],=:]/y
const word = /[^\s{}[\],=:"#]+/y
const kinds = [
  [comment, 'comment'],
  [text, 'string'],
  [heredoc, 'raw'],
  [mark, 'mark'],
  [word, 'raw'],
] as const

function tokensOf(source: string): Token[] {
  const tokens: Token[] = []
  let at = 0
  while (at < source.length) {
    const space = /\s*/y
    space.lastIndex = at
    const gap = space.exec(source)?.[0] ?? ''
    at += gap.length
    const found = nextToken(source, at)
    if (found === null) break
    const newlines = gap.split('\n').length - 1
    tokens.push({ ...found, afterBlank: newlines > 1, sameLine: newlines === 0 && tokens.length > 0 })
    at += found.text.length
  }
  return [...tokens, { kind: 'end', text: '', afterBlank: false, sameLine: false }]
}

function nextToken(source: string, at: number): Pick<Token, 'kind' | 'text'> | null {
  for (const [pattern, kind] of kinds) {
    pattern.lastIndex = at
    const found = pattern.exec(source)?.[0]
    if (found) return { kind, text: found }
  }
  return null
}

/** The whole text as one object, whether it is HCL or JSON. */
export function parseTree(source: string): ObjectValue {
  const reader = new Reader(tokensOf(source.replace(/^\ufeff/, '').replaceAll('\r\n', '\n')))
  return /^\s*\{/.test(source) ? (reader.value() as ObjectValue) : reader.items()
}

class Reader {
  readonly #tokens: readonly Token[]
  #at = 0
  /** Comments that wait for the entry that they stand before. */
  #pending: string[] = []

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens
  }

  #peek(): Token {
    return this.#tokens[this.#at] ?? this.#tokens.at(-1)!
  }

  /** Takes comments, keeping empty lines between them. */
  #comments(): void {
    for (let token = this.#peek(); token.kind === 'comment'; token = this.#peek()) {
      if (token.afterBlank) this.#pending.push('')
      this.#pending.push(token.text.trimEnd())
      this.#at += 1
    }
    if (this.#peek().afterBlank) this.#pending.push('')
  }

  #next(): Token {
    this.#comments()
    const token = this.#peek()
    this.#at += 1
    return token
  }

  #isMark(...marks: readonly string[]): boolean {
    const token = this.#peek()
    return token.kind === 'mark' && marks.includes(token.text)
  }

  #taken(): string[] {
    const taken = this.#pending
    this.#pending = []
    return taken
  }

  /** What stands behind an entry: its comma, and a comment on its line, in either order. Comments between them wait for the next entry. */
  #after(): string {
    let after = this.#sameLineComment()
    let ahead = this.#at
    while (this.#tokens[ahead]?.kind === 'comment') ahead += 1
    const comma = this.#tokens[ahead]
    if (comma?.kind !== 'mark' || comma.text !== ',') return after
    this.#comments()
    this.#at += 1
    after ||= this.#sameLineComment()
    return after
  }

  #sameLineComment(): string {
    const token = this.#peek()
    if (token.kind !== 'comment' || !token.sameLine) return ''
    this.#at += 1
    return token.text.trimEnd()
  }

  #entries<T>(close: string, read: () => T): { entries: Entry<T>[]; rest: string[] } {
    const entries: Entry<T>[] = []
    for (;;) {
      this.#comments()
      if (this.#peek().kind === 'end' || (close !== '' && this.#isMark(close))) return { entries, rest: this.#taken() }
      const own = this.#taken()
      const node = read()
      // What waits now stood inside of the entry.
      entries.push({ before: [...own, ...this.#taken()], node, after: this.#after() })
    }
  }

  items(close = ''): ObjectValue {
    return { kind: 'object', ...this.#entries(close, () => this.#item()) }
  }

  #item(): Item {
    const key = this.#next().text
    const labels: string[] = []
    for (;;) {
      this.#comments()
      if (this.#isMark('{')) return { key, labels, value: this.value() }
      const token = this.#next()
      if (token.kind === 'mark' || token.kind === 'end') return { key, labels, value: this.value() }
      labels.push(token.text)
    }
  }

  value(): Value {
    const token = this.#next()
    if (token.kind === 'string') return { kind: 'string', text: token.text }
    if (token.kind !== 'mark') return { kind: 'raw', text: token.text }
    // Comments before a bracket stay with the entry; those behind it belong inside.
    const outer = this.#taken()
    const close = token.text === '[' ? ']' : '}'
    const value: Value = close === ']' ? { kind: 'list', ...this.#entries(close, () => this.value()) } : this.items(close)
    this.#at += 1
    this.#pending = outer
    return value
  }
}
