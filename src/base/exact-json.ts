/**
 * JSON whose numbers keep their digits. A double holds about 15; a secret may be a number of 20, and must come back as it was sent. Such a
 * number is kept as its text (JSON.rawJSON), which JSON.stringify writes out again. It is an object to `typeof`: whoever looks
 * into values of a client asks `isExactNumber` first.
 */

/** A number with more digits than this may not survive as a double. */
export const exactDigitsMax = 15

/** A number that no double holds, as its text. Immutable. */
export interface ExactNumber {
  readonly rawJSON: string
}

/** Both stand in Node 26, but not yet in the checker's library. */
const json = JSON as unknown as { rawJSON(text: string): unknown; isRawJSON(value: unknown): boolean }

export const isExactNumber = (value: unknown): value is ExactNumber => json.isRawJSON(value)

/** `value` as near as a double comes to it, when it is a number of either kind; anything else as it is. For comparing, never for keeping. */
export const nearestNumber = (value: unknown): unknown => (isExactNumber(value) ? Number(value.rawJSON) : value)

function keepExact(this: unknown, _key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || context?.source === undefined) return value
  const source = context.source
  if (String(value) === source || (Number.isFinite(value) && source.length <= exactDigitsMax)) return value
  return json.rawJSON(source)
}

/** Three times as slow as JSON.parse: only for a text that may hold such a number. @throws SyntaxError, whose message may quote the text. */
export const parseExactJson = (text: string): unknown => JSON.parse(text, keepExact)

/** A number that begins with so many digits, or has an exponent, in a text without white space. Text inside a string may look like one: that costs time only. */
const longNumber = /[:,[]-?(?:[\d.]{16}|[\d.]+[eE])/

/** A text that JSON.stringify made, with every number as it was. @throws SyntaxError, whose message may quote the text. */
export const parseOwnJson = (text: string): unknown => (longNumber.test(text) ? parseExactJson(text) : JSON.parse(text))
