/**
 * JSON bodies of strangers. A scan over the raw bytes, as they arrive, bounds depth, strings and items before JSON.parse builds anything:
 * a body of 32 MiB of '[' or of empty strings costs the parser gigabytes, the scan nothing.
 */
import { isUtf8 } from 'node:buffer'
import { HoldfastError } from '#base/errors.ts'
import { exactDigitsMax, parseExactJson } from '#base/exact-json.ts'

export interface JsonLimits {
  readonly jsonDepthMax: number
  readonly jsonStringsMax: number
}

/** Elements and members of one body that are not strings count too, more loosely. */
export const jsonItemsMax = 262_144

function refuse(detail: string, hint?: string): never {
  throw new HoldfastError('ERR_BAD_REQUEST', `error parsing JSON: ${detail}`, hint === undefined ? {} : { hint })
}

export class JsonScanner {
  readonly #limits: JsonLimits
  #inString = false
  #escaped = false
  #depth = 0
  #strings = 0
  #items = 0
  #digits = 0
  /** True when a number was seen that a double may not hold exactly. */
  longNumbers = false

  constructor(limits: JsonLimits) {
    this.#limits = limits
  }

  /** The next bytes of the body. @throws HoldfastError ERR_BAD_REQUEST when a bound is passed; syntax is JSON.parse's business. */
  feed(bytes: Uint8Array): void {
    const end = bytes.length
    let at = 0
    while (at < end) {
      if (this.#inString) at = this.#string(bytes, at)
      else {
        this.#structure(bytes[at] as number)
        at += 1
      }
    }
  }

  /** Skips to behind the closing quote, or to the end. */
  #string(bytes: Uint8Array, from: number): number {
    const end = bytes.length
    let at = from
    if (this.#escaped && at < end) {
      this.#escaped = false
      at += 1
    }
    while (at < end) {
      const c = bytes[at] as number
      at += 1
      if (c === 0x22) {
        this.#inString = false
        return at
      }
      if (c === 0x5c) {
        if (at === end) this.#escaped = true
        at += 1
      }
    }
    return end
  }

  #structure(c: number): void {
    if (c >= 0x30 && c <= 0x39) {
      this.#digits += 1
      if (this.#digits > exactDigitsMax) this.longNumbers = true
      return
    }
    if (c === 0x22) {
      this.#inString = true
      this.#strings += 1
      if (this.#strings > this.#limits.jsonStringsMax) {
        refuse(`expected at most ${this.#limits.jsonStringsMax} strings (keys and values), got more`, 'split the request')
      }
    } else if (c === 0x7b || c === 0x5b) {
      this.#depth += 1
      if (this.#depth > this.#limits.jsonDepthMax) refuse(`expected at most ${this.#limits.jsonDepthMax} levels, got more`)
    } else if (c === 0x7d || c === 0x5d) this.#depth -= 1
    else if (c === 0x2c) {
      this.#items += 1
      if (this.#items > jsonItemsMax) refuse(`expected at most ${jsonItemsMax} items, got more`)
    } else if ((c | 0x20) === 0x65 && this.#digits > 0) this.longNumbers = true
    if (c !== 0x2e) this.#digits = 0
  }
}

/**
 * The object of a body that a scanner has passed. Empty and `null` are {}. Numbers that a double can't hold keep their text
 * (exact-json.ts), so that what stores JSON gives back what the client sent.
 * @throws HoldfastError ERR_BAD_REQUEST; its message never quotes the body.
 */
export function parseJsonObject(body: Uint8Array, longNumbers: boolean): Record<string, unknown> {
  if (!isUtf8(body)) refuse('expected UTF-8, got other bytes')
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8')
  if (/^[ \t\r\n]*$/.test(text)) return {}
  const value = parse(text, longNumbers)
  if (value === null) return {}
  if (typeof value !== 'object' || Array.isArray(value)) {
    refuse(`expected an object, got ${Array.isArray(value) ? 'an array' : `a ${typeof value}`}`)
  }
  return value as Record<string, unknown>
}

function parse(text: string, longNumbers: boolean): unknown {
  try {
    return longNumbers ? parseExactJson(text) : JSON.parse(text)
  } catch (error) {
    // The parser's own message quotes the text around the fault, and the text may be a secret: only the position is taken from it.
    const position = /at position (\d+)/.exec(error instanceof Error ? error.message : '')?.[1]
    return refuse(position === undefined ? 'expected a JSON object, got something else' : `syntax error at character ${position}`)
  }
}
