/**
 * Follows the message framing of one HTTP/1.1 connection, from the client's side, and turns the method LIST into LINK in place.
 *
 * Intuition: Node's parser knows no LIST and answers it 400, and no option changes that. LINK has the same length, is known to the
 * parser and used by nobody, so rewriting two bytes at the start of a message is all that is needed. The danger is a body that holds
 * "LIST /": a byte changed there would corrupt what a client stores. So the framer reads Content-Length and chunked bodies as the
 * parser does, and on any doubt (both of them, odd encodings, Upgrade, CONNECT, a line that is not CR LF) it stops for the rest of
 * the connection: a later LIST then gets the parser's 400, which is safe. It never has to accept what the parser refuses, only to
 * stand at a boundary exactly when the parser does.
 *
 * A message whose method really was LINK, or that would turn into LINK by half a rewrite (LISK), is poisoned with a NUL: the parser
 * refuses it. So every LINK that the handler sees while `lists` is above zero was a LIST.
 */

const state = {
  start: 0,
  method: 1,
  target: 2,
  version: 3,
  requestLineLf: 4,
  lineStart: 5,
  name: 6,
  value: 7,
  skipLine: 8,
  lineLf: 9,
  headEndLf: 10,
  body: 11,
  sizeStart: 12,
  size: 13,
  extension: 14,
  sizeLf: 15,
  chunk: 16,
  chunkCr: 17,
  chunkLf: 18,
  stopped: 19,
} as const
type State = (typeof state)[keyof typeof state]

const cr = 0x0d
const lf = 0x0a
const sp = 0x20
const tab = 0x09
const colon = 0x3a
const semicolon = 0x3b
const version = 'HTTP/1.1'

/** A method as the number that its bytes form in base 256: at most 6 letters, so it is exact. */
function packed(method: string): number {
  let value = 0
  for (const char of method) value = value * 256 + char.charCodeAt(0)
  return value
}
/** Methods whose requests are framed by their headers alone. OPTIONS has seven letters and is told apart by its first six and its last. */
const plainMethods: ReadonlySet<number> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'LIST'].map(packed))
const optionsHead = packed('OPTION')

/** How far the method at hand spells LIST; the third letter is rewritten before the fourth is known. */
const spelling = { other: 0, l: 1, li: 2, lis: 3, list: 4 } as const

const interestingNames: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding', 'upgrade', 'connection'])
const nameCharsMax = 17
const valueCharsMax = 32
const chunkSizeDigitsMax = 8

export class MessageFramer {
  #state: State = state.start
  #spelling: number = spelling.other
  #methodCode = 0
  #methodLength = 0
  #versionAt = 0
  #name = ''
  #value = ''
  #lengthSeen = false
  #chunkedSeen = false
  #inTrailer = false
  /** Bytes of the body or chunk that are still to come. */
  #left = 0
  #sizeDigits = 0
  /** Messages turned from LIST to LINK whose request the handler has not yet taken. */
  #lists = 0

  /** True once the framer has given up on this connection. */
  get stopped(): boolean {
    return this.#state === state.stopped
  }

  /** Takes one rewritten LIST off the count. False: this LINK was the client's own. Requests come in order, so a count is enough. */
  takeList(): boolean {
    if (this.#lists === 0) return false
    this.#lists -= 1
    return true
  }

  /** Reads the next bytes of the connection, in order, and rewrites LIST in them. Must run before the parser sees the same bytes. */
  feed(bytes: Uint8Array): void {
    const end = bytes.length
    let at = 0
    while (at < end) {
      const c = bytes[at] as number
      switch (this.#state) {
        case state.start:
          if (c !== cr && c !== lf) {
            this.#beginMessage()
            continue // The same byte is the method's first.
          }
          break
        case state.method:
          this.#methodByte(bytes, at, c)
          break
        case state.target:
          at = skipTarget(bytes, at)
          if (at === end) return
          if (bytes[at] !== sp) return this.#stop()
          this.#versionAt = 0
          this.#state = state.version
          break
        case state.version:
          if (this.#versionAt < version.length) {
            if (c !== version.charCodeAt(this.#versionAt)) return this.#stop()
            this.#versionAt += 1
          } else if (c === cr) this.#state = state.requestLineLf
          else return this.#stop()
          break
        case state.requestLineLf:
        case state.lineLf:
          if (c !== lf) return this.#stop()
          this.#state = state.lineStart
          break
        case state.lineStart:
          this.#lineStart(c)
          break
        case state.name:
          this.#nameByte(c)
          break
        case state.value:
          if (c === cr) this.#endOfValue()
          else if (c === lf || this.#value.length === valueCharsMax) this.#stop()
          else this.#value += String.fromCharCode(c)
          break
        case state.skipLine:
          at = skipLine(bytes, at)
          if (at === end) return
          if (bytes[at] === lf) return this.#stop()
          this.#state = state.lineLf
          break
        case state.headEndLf:
          if (c !== lf) return this.#stop()
          this.#endOfHead()
          break
        case state.body:
        case state.chunk: {
          const taken = Math.min(this.#left, end - at)
          this.#left -= taken
          at += taken
          if (this.#left === 0) this.#state = this.#state === state.body ? state.start : state.chunkCr
          continue
        }
        case state.sizeStart:
        case state.size:
          this.#sizeByte(c)
          break
        case state.extension:
          at = skipLine(bytes, at)
          if (at === end) return
          if (bytes[at] === lf) return this.#stop()
          this.#state = state.sizeLf
          break
        case state.sizeLf:
          if (c !== lf) return this.#stop()
          if (this.#left === 0) {
            this.#inTrailer = true
            this.#state = state.lineStart
          } else this.#state = state.chunk
          break
        case state.chunkCr:
          if (c !== cr) return this.#stop()
          this.#state = state.chunkLf
          break
        case state.chunkLf:
          if (c !== lf) return this.#stop()
          this.#state = state.sizeStart
          break
        case state.stopped:
          return
      }
      at += 1
    }
  }

  #stop(): void {
    this.#state = state.stopped
  }

  #beginMessage(): void {
    this.#state = state.method
    this.#spelling = spelling.other
    this.#methodCode = 0
    this.#methodLength = 0
    this.#lengthSeen = false
    this.#chunkedSeen = false
    this.#inTrailer = false
    this.#left = 0
  }

  #methodByte(bytes: Uint8Array, at: number, c: number): void {
    if (c === sp) return this.#endOfMethod()
    const index = this.#methodLength
    this.#methodLength += 1
    if (index < 6) this.#methodCode = this.#methodCode * 256 + c
    if (index === 0) this.#spelling = c === 0x4c ? spelling.l : spelling.other // L
    else if (this.#spelling !== spelling.other) this.#spell(bytes, at, c)
    if (this.#methodLength > 7) this.#stop()
  }

  /** The second and later letters of a method that began like LIST. */
  #spell(bytes: Uint8Array, at: number, c: number): void {
    const spelled = this.#spelling
    if (spelled === spelling.l && c === 0x49) this.#spelling = spelling.li
    else if (spelled === spelling.li && c === 0x53) {
      bytes[at] = 0x4e // S becomes N
      this.#spelling = spelling.lis
    } else if (spelled === spelling.lis && c === 0x54) {
      bytes[at] = 0x4b // T becomes K
      this.#spelling = spelling.list
    } else if (spelled === spelling.lis || spelled === spelling.list || (spelled === spelling.li && c === 0x4e)) {
      // A real LINK, or a method that half a rewrite would turn into one: it must not reach the handler.
      bytes[at] = 0
      this.#stop()
    } else this.#spelling = spelling.other
  }

  #endOfMethod(): void {
    if (this.#spelling === spelling.list) this.#lists += 1
    const known = this.#methodLength < 7 ? plainMethods.has(this.#methodCode) : this.#methodCode === optionsHead
    this.#state = known ? state.target : state.stopped
  }

  #lineStart(c: number): void {
    if (c === cr) this.#state = state.headEndLf
    else if (c === lf || c === sp || c === tab || c === colon) this.#stop()
    else {
      const lower = c | 0x20
      // Only names that begin with c, t or u can matter.
      if (lower === 0x63 || lower === 0x74 || lower === 0x75) {
        this.#name = String.fromCharCode(lower)
        this.#state = state.name
      } else this.#state = state.skipLine
    }
  }

  #nameByte(c: number): void {
    if (c === colon) {
      if (!interestingNames.has(this.#name)) this.#state = state.skipLine
      else if (this.#inTrailer || this.#name === 'upgrade') this.#stop()
      else {
        this.#value = ''
        this.#state = this.#name === 'connection' ? state.skipLine : state.value
      }
    } else if (c === cr || c === lf || c === sp || c === tab) this.#stop()
    else if (this.#name.length === nameCharsMax) this.#state = state.skipLine
    else this.#name += String.fromCharCode(c >= 0x41 && c <= 0x5a ? c | 0x20 : c)
  }

  #endOfValue(): void {
    const value = this.#value.replace(/^[ \t]+|[ \t]+$/g, '')
    if (this.#lengthSeen || this.#chunkedSeen) return this.#stop() // Repeated, or both.
    if (this.#name === 'content-length') {
      if (!/^\d{1,15}$/.test(value)) return this.#stop()
      this.#lengthSeen = true
      this.#left = Number(value)
    } else {
      if (value.toLowerCase() !== 'chunked') return this.#stop()
      this.#chunkedSeen = true
    }
    this.#state = state.lineLf
  }

  #endOfHead(): void {
    if (this.#inTrailer) this.#state = state.start
    else if (this.#chunkedSeen) this.#state = state.sizeStart
    else this.#state = this.#left > 0 ? state.body : state.start
  }

  #sizeByte(c: number): void {
    const digit = hexDigit(c)
    if (digit >= 0) {
      if (this.#state === state.sizeStart) {
        this.#left = 0
        this.#sizeDigits = 0
        this.#state = state.size
      }
      this.#sizeDigits += 1
      if (this.#sizeDigits > chunkSizeDigitsMax) return this.#stop()
      this.#left = this.#left * 16 + digit
    } else if (this.#state === state.sizeStart) this.#stop()
    else if (c === cr) this.#state = state.sizeLf
    else if (c === semicolon) this.#state = state.extension
    else this.#stop()
  }
}

/** Index of the first SP, CR or LF at or after `at`, or the length. */
function skipTarget(bytes: Uint8Array, at: number): number {
  const end = bytes.length
  let i = at
  while (i < end) {
    const c = bytes[i] as number
    if (c === sp || c === cr || c === lf) return i
    i += 1
  }
  return end
}

/** Index of the first CR or LF at or after `at`, or the length. */
function skipLine(bytes: Uint8Array, at: number): number {
  const end = bytes.length
  let i = at
  while (i < end) {
    const c = bytes[i] as number
    if (c === cr || c === lf) return i
    i += 1
  }
  return end
}

function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30
  const lower = c | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}
