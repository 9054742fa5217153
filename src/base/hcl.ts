/**
 * HCL as Vault's configurations and policies use it (the common ground of HCL1 and HCL2), and JSON when the text starts with '{'.
 * The result is a tree that keeps the order of keys, their repetitions, and the line of each.
 *
 * Intuition: no schema here. `path "a" { ... }`, `path = { "a" = { ... } }` and JSON's `{"path": {"a": {...}}}` say the same to
 * their readers, but which keys are labels only the reader knows: `blocksOf` folds the three forms into one when asked for a key.
 * Expressions, functions and `${...}` are not evaluated: neither file may depend on anything but its own text.
 *
 * Errors name places and kinds of tokens and never the text of a value: configurations hold keys.
 */
import { HoldfastError } from './errors.ts'
import type { ErrorCode } from './errors.ts'

export interface HclPlace {
  /** 1-based, both. Columns count UTF-16 units. */
  readonly line: number
  readonly column: number
}

export interface HclString extends HclPlace {
  readonly kind: 'string'
  readonly value: string
}
export interface HclNumber extends HclPlace {
  readonly kind: 'number'
  readonly value: number
}
export interface HclBool extends HclPlace {
  readonly kind: 'bool'
  readonly value: boolean
}
export interface HclNull extends HclPlace {
  readonly kind: 'null'
  readonly value: null
}
export interface HclList extends HclPlace {
  readonly kind: 'list'
  readonly elements: readonly HclNode[]
}
export interface HclObject extends HclPlace {
  readonly kind: 'object'
  /** In order, repeated keys kept. */
  readonly items: readonly HclItem[]
}
export type HclNode = HclString | HclNumber | HclBool | HclNull | HclList | HclObject

/** `key = value`, or a block: `key "label" ... { items }`, whose value is an object. Place is the key's. */
export interface HclItem extends HclPlace {
  readonly key: string
  readonly labels: readonly string[]
  readonly value: HclNode
}

export interface HclOptions {
  /** Default 4 MiB of UTF-16 units. */
  readonly charsMax?: number
  /** Nesting of lists and objects; default 64. */
  readonly depthMax?: number
  /** The code of errors; default ERR_CONFIG. */
  readonly code?: ErrorCode
}

const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '"': '"', '\\': '\\' }
const jsonEscapes: Readonly<Record<string, string>> = { ...escapes, b: '\b', f: '\f', '/': '/' }
const identifierStart = /[\p{L}_]/u
const identifier = /[\p{L}\p{N}_.-]+/uy
const hclNumber = /[-+]?(?:0[xX][0-9a-fA-F]+|(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)/y
const jsonNumber = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/y
const labelsMax = 8

/**
 * Parses HCL, or JSON when the first character other than white space is '{'.
 * @throws HoldfastError of `options.code` (ERR_CONFIG): "line L, column C: expected X, got Y".
 */
export function parseHcl(text: string, options: HclOptions = {}): HclObject {
  const charsMax = options.charsMax ?? 4 * 1024 * 1024
  if (text.length > charsMax) {
    throw new HoldfastError(options.code ?? 'ERR_CONFIG', `expected at most ${charsMax} characters, got ${text.length}`)
  }
  return new Parser(text, options.depthMax ?? 64, options.code ?? 'ERR_CONFIG').document()
}

class Parser {
  readonly #text: string
  readonly #depthMax: number
  readonly #code: ErrorCode
  #at = 0
  #line = 1
  #lineStart = 0
  #depth = 0
  /** JSON: commas and colons are required, comments and bare keys are not. */
  #json = false

  constructor(text: string, depthMax: number, code: ErrorCode) {
    this.#text = text.startsWith('\ufeff') ? text.slice(1) : text
    this.#depthMax = depthMax
    this.#code = code
  }

  document(): HclObject {
    this.#json = /^\s*\{/.test(this.#text)
    this.#skip()
    const place = this.#place()
    if (!this.#json) return { kind: 'object', items: this.#items(''), ...place }
    const root = this.#object()
    this.#skip()
    if (this.#at < this.#text.length) this.#fail('the end of the text', this.#got())
    return root
  }

  #place(): HclPlace {
    return { line: this.#line, column: this.#at - this.#lineStart + 1 }
  }

  #fail(expected: string, got: string, place: HclPlace = this.#place(), hint?: string): never {
    const message = `line ${place.line}, column ${place.column}: expected ${expected}, got ${got}`
    throw new HoldfastError(this.#code, message, hint === undefined ? {} : { hint })
  }

  /** Names what stands at the cursor by kind; never its text beyond one punctuation mark. */
  #got(): string {
    const char = this.#text[this.#at]
    if (char === undefined) return 'the end of the text'
    if (char === '\n' || char === '\r') return 'the end of the line'
    if (char === '"') return 'a string'
    if (/\d/.test(char)) return 'a number'
    if (identifierStart.test(char)) return 'a name'
    return char >= ' ' && char <= '~'
      ? `'${char}'`
      : `character U+${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`
  }

  #newline(): void {
    this.#line += 1
    this.#lineStart = this.#at
  }

  /** White space and, in HCL, comments. */
  #skip(): void {
    for (;;) {
      const char = this.#text[this.#at]
      if (char === '\n') {
        this.#at += 1
        this.#newline()
      } else if (char === ' ' || char === '\t' || char === '\r') this.#at += 1
      else if (this.#json || !this.#comment(char)) return
    }
  }

  #comment(char: string | undefined): boolean {
    if (char === '#' || (char === '/' && this.#text[this.#at + 1] === '/')) {
      const end = this.#text.indexOf('\n', this.#at)
      this.#at = end < 0 ? this.#text.length : end
      return true
    }
    if (char !== '/' || this.#text[this.#at + 1] !== '*') return false
    const place = this.#place()
    const end = this.#text.indexOf('*/', this.#at + 2)
    if (end < 0) this.#fail("'*/' to close the comment", 'the end of the text', place)
    this.#countLines(this.#at, end)
    this.#at = end + 2
    return true
  }

  #countLines(from: number, to: number): void {
    for (let at = this.#text.indexOf('\n', from); at >= 0 && at < to; at = this.#text.indexOf('\n', at + 1)) {
      this.#line += 1
      this.#lineStart = at + 1
    }
  }

  /** Items up to `close` ('' : the end of the text), which is not consumed. */
  #items(close: string): HclItem[] {
    const items: HclItem[] = []
    for (;;) {
      this.#skip()
      const char = this.#text[this.#at]
      if (char === close || (char === undefined && close === '')) return items
      if (char === undefined) this.#fail(`'${close}'`, 'the end of the text')
      items.push(this.#item())
      this.#skip()
      const comma = this.#text[this.#at] === ','
      if (comma && close !== '') this.#at += 1
      if (this.#json) this.#checkJsonComma(comma, close)
    }
  }

  #checkJsonComma(comma: boolean, close: string): void {
    this.#skip()
    const atEnd = this.#text[this.#at] === close
    if (comma && atEnd) this.#fail('another entry after the comma', `'${close}'`)
    if (!comma && !atEnd) this.#fail(`',' or '${close}'`, this.#got())
  }

  #item(): HclItem {
    const place = this.#place()
    const mayShow = this.#mayShowKey()
    const key = this.#key()
    const keyName = mayShow ? `"${shown(key)}"` : 'the key'
    this.#skip()
    if (this.#json) {
      if (this.#text[this.#at] !== ':') this.#fail("':'", this.#got())
      this.#at += 1
      return { key, labels: [], value: this.#value(), ...place }
    }
    const labels: string[] = []
    for (;;) {
      const char = this.#text[this.#at]
      if (char === '{') return { key, labels, value: this.#object(), ...place }
      if ((char === '=' || char === ':') && labels.length === 0) {
        this.#at += 1
        return { key, labels, value: this.#value(), ...place }
      }
      if (char !== '"' && !(char !== undefined && identifierStart.test(char))) {
        this.#fail(labels.length === 0 ? `'=' or '{' after ${keyName}` : `'{' after the labels of ${keyName}`, this.#got())
      }
      if (labels.length === labelsMax) this.#fail(`at most ${labelsMax} labels`, 'another')
      labels.push(this.#label(keyName, place))
      this.#skip()
    }
  }

  /** A label is a string or a bare name. A bare name on a later line is a mistake: the block's brace was forgotten. */
  #label(keyName: string, place: HclPlace): string {
    if (this.#text[this.#at] === '"') return this.#string()
    if (place.line !== this.#line) this.#fail(`'=' or '{' after ${keyName}`, 'a name')
    return this.#name()
  }

  /** A quoted key, or one behind something else on its line, may be the rest of a value that was written wrongly: it is not repeated. */
  #mayShowKey(): boolean {
    return this.#text[this.#at] !== '"' && this.#text.slice(this.#lineStart, this.#at).trim() === ''
  }

  #key(): string {
    const char = this.#text[this.#at]
    if (char === '"') return this.#string()
    if (this.#json || char === undefined || !identifierStart.test(char))
      this.#fail(this.#json ? 'a key in double quotes' : 'a key', this.#got())
    return this.#name()
  }

  #name(): string {
    identifier.lastIndex = this.#at
    const name = identifier.exec(this.#text)?.[0] ?? ''
    this.#at += name.length
    return name
  }

  #value(): HclNode {
    this.#skip()
    const place = this.#place()
    const char = this.#text[this.#at]
    if (char === '"') return { kind: 'string', value: this.#string(), ...place }
    if (char === '[') return this.#list()
    if (char === '{') return this.#object()
    if (char === '<' && !this.#json) return { kind: 'string', value: this.#heredoc(), ...place }
    if (char !== undefined && /[-+.\d]/.test(char)) return { kind: 'number', value: this.#number(), ...place }
    return this.#word(place)
  }

  #word(place: HclPlace): HclNode {
    const got = this.#got()
    const word = got === 'a name' ? this.#name() : ''
    if (word === 'true' || word === 'false') return { kind: 'bool', value: word === 'true', ...place }
    if (word === 'null') return { kind: 'null', value: null, ...place }
    return this.#fail('a value (string, number, true, false, list or object)', got, place, 'put strings in double quotes')
  }

  #number(): number {
    const pattern = this.#json ? jsonNumber : hclNumber
    pattern.lastIndex = this.#at
    const text = pattern.exec(this.#text)?.[0] ?? ''
    const next = this.#text[this.#at + text.length] ?? ''
    if (text === '' || /[\p{L}\p{N}_.]/u.test(next)) {
      this.#fail('a number', 'one with other characters in it', this.#place(), 'put durations and sizes in double quotes: "30s"')
    }
    this.#at += text.length
    const sign = text.startsWith('-') ? -1 : 1
    const value = sign * Number(text.replace(/^[-+]/, ''))
    if (!Number.isFinite(value)) this.#fail('a finite number', 'one out of range')
    return value
  }

  #enter(): void {
    this.#depth += 1
    if (this.#depth > this.#depthMax) this.#fail(`at most ${this.#depthMax} levels`, 'deeper nesting')
  }

  #object(): HclObject {
    const place = this.#place()
    this.#enter()
    this.#at += 1
    const items = this.#items('}')
    this.#at += 1
    this.#depth -= 1
    return { kind: 'object', items, ...place }
  }

  #list(): HclList {
    const place = this.#place()
    this.#enter()
    this.#at += 1
    const elements: HclNode[] = []
    for (let comma = false; ;) {
      this.#skip()
      if (this.#text[this.#at] === ']' && !(this.#json && comma)) break
      if (this.#text[this.#at] === undefined) this.#fail("']'", 'the end of the text')
      elements.push(this.#value())
      this.#skip()
      comma = this.#text[this.#at] === ','
      if (comma) this.#at += 1
      else if (this.#text[this.#at] !== ']') this.#fail("',' or ']'", this.#got())
    }
    this.#at += 1
    this.#depth -= 1
    return { kind: 'list', elements, ...place }
  }

  #string(): string {
    const place = this.#place()
    let text = ''
    let from = (this.#at += 1)
    for (;;) {
      const char = this.#text[this.#at]
      if (char === undefined || char === '\n') this.#fail("'\"' to close the string", this.#got(), place)
      if (this.#json && char < ' ') this.#fail('an escape', 'a control character in a string')
      if (char === '"') break
      this.#at += 1
      if (char !== '\\') continue
      text += this.#text.slice(from, this.#at - 1) + this.#escape()
      from = this.#at
    }
    text += this.#text.slice(from, this.#at)
    this.#at += 1
    return text
  }

  /** After the backslash. */
  #escape(): string {
    const char = this.#text[this.#at] ?? ''
    const plain = (this.#json ? jsonEscapes : escapes)[char]
    const digits = char === 'u' ? 4 : char === 'U' && !this.#json ? 8 : 0
    if (plain === undefined && digits === 0) this.#fail('an escape (\\n \\t \\r \\" \\\\ \\uXXXX)', 'another character after the backslash')
    this.#at += 1
    if (plain !== undefined) return plain
    const hex = this.#text.slice(this.#at, this.#at + digits)
    const code = /^[0-9a-fA-F]+$/.test(hex) && hex.length === digits ? Number.parseInt(hex, 16) : Number.NaN
    if (!(code <= 0x10ffff)) this.#fail(`${digits} hexadecimal digits of a character`, 'something else')
    this.#at += digits
    return String.fromCodePoint(code)
  }

  /** `<<EOF` to a line that holds EOF alone; `<<-EOF` also takes away the indentation that all its lines share. */
  #heredoc(): string {
    const place = this.#place()
    const opening = /<<(-?)([\p{L}_][\p{L}\p{N}_]*)[ \t]*\r?\n/uy
    opening.lastIndex = this.#at
    const match = opening.exec(this.#text)
    if (match === null) this.#fail("a value, or '<<NAME' and a new line", "'<'")
    this.#at = opening.lastIndex
    this.#newline()
    const lines: string[] = []
    for (;;) {
      const newline = this.#text.indexOf('\n', this.#at)
      const end = newline < 0 ? this.#text.length : newline
      const line = this.#text.slice(this.#at, end).replace(/\r$/, '')
      if (line.trim() === match[2]) {
        this.#at = end // The newline that follows stays: the next `skip` counts it.
        return unindent(lines, match[1] === '-')
      }
      if (newline < 0) this.#fail(`a line with ${match[2]} alone`, 'the end of the text', place)
      lines.push(line)
      this.#at = end + 1
      this.#newline()
    }
  }
}

function unindent(lines: readonly string[], wanted: boolean): string {
  const indents = lines.filter((line) => line.trim() !== '').map((line) => line.length - line.trimStart().length)
  const cut = wanted && indents.length > 0 ? indents.reduce((least, indent) => Math.min(least, indent)) : 0
  return lines.map((line) => `${line.slice(cut)}\n`).join('')
}

/** A key for an error message: keys are names, not values, but a stray value could be long. */
function shown(key: string): string {
  return key.length > 64 ? `${key.slice(0, 64)}...` : key
}

export interface HclBlock extends HclPlace {
  readonly labels: readonly string[]
  readonly body: HclObject
}

/**
 * Every block called `key`, in order, each with exactly `labelCount` labels, whichever way it is written: `listener "tcp" {}`, `listener = { tcp = {} }`,
 * JSON's `{"listener": {"tcp": {}}}` or `{"listener": [{"tcp": {}}, {"tcp": {}}]}`. Labels that are missing are taken from the keys inside.
 * @throws HoldfastError of `code` where something else than an object stands, or a label is too many.
 */
export function blocksOf(body: HclObject, key: string, labelCount: number, code: ErrorCode = 'ERR_CONFIG'): HclBlock[] {
  const blocks: HclBlock[] = []
  const visit = (node: HclNode, labels: readonly string[], place: HclPlace): void => {
    if (node.kind === 'list') return node.elements.forEach((element) => visit(element, labels, element))
    if (labels.length > labelCount) refuseAt(place, `${labelCount} labels after "${shown(key)}"`, String(labels.length), code)
    if (node.kind !== 'object') refuseAt(node, `an object for "${shown(key)}"`, `a ${node.kind}`, code)
    if (labels.length === labelCount) return void blocks.push({ labels, body: node, line: place.line, column: place.column })
    for (const item of node.items) visit(item.value, [...labels, item.key, ...item.labels], item)
  }
  for (const item of body.items) if (item.key === key) visit(item.value, item.labels, item)
  return blocks
}

/** Throws the error that names a place of an already parsed tree: "line 3, column 5: expected X, got Y". For readers of trees. */
export function refuseAt(place: HclPlace, expected: string, got: string, code: ErrorCode = 'ERR_CONFIG', hint?: string): never {
  const message = `line ${place.line}, column ${place.column}: expected ${expected}, got ${got}`
  throw new HoldfastError(code, message, hint === undefined ? {} : { hint })
}

/**
 * Plain JavaScript of a node: objects without a prototype's keys (null prototype), the last of repeated keys wins, labels nest
 * (`a "b" {}` is {a: {b: {}}}). Loses the lines.
 */
export function toPlain(node: HclNode): unknown {
  if (node.kind === 'list') return node.elements.map(toPlain)
  if (node.kind !== 'object') return node.value
  const plain = Object.create(null) as Record<string, unknown>
  for (const item of node.items) {
    plain[item.key] = item.labels.reduceRight<unknown>((inner, label) => {
      const wrapper = Object.create(null) as Record<string, unknown>
      wrapper[label] = inner
      return wrapper
    }, toPlain(item.value))
  }
  return plain
}
