/**
 * The chain that ties a device's lines together. Each line ends in
 *
 *   "chain":{"node":N,"boot":B,"thread":0,"seq":S,"prev":P,"mac":M}}
 *
 * P is the SHA-256 (hex) of the line before, without its newline; null where there was none. S counts from 1 in each boot. M is the
 * HMAC-SHA-256 (hex), under a key behind the barrier, of the line's text up to and without `,"mac":`; null while the node is sealed:
 * such lines are proven by the next one that has a MAC.
 */
import { hash } from 'node:crypto'
import type { HmacKey } from './hmac.ts'

export interface ChainPlace {
  readonly node: string
  readonly boot: string
}

export interface ChainState {
  /** Of the last line. */
  readonly seq: number
  /** SHA-256 of the last line; null when there is none. */
  readonly head: string | null
}

/** SHA-256 of a line, hex. */
export const lineHash = (line: string): string => hash('sha256', line, 'hex')

const macMark = ',"mac":'

/** The MAC of a line's text before `,"mac":`. */
export const macOf = (key: HmacKey, text: string): string => key.hex(text)

/** Where the text that a line's MAC covers ends; -1 when the line has none. */
export const macStart = (line: string): number => line.lastIndexOf(macMark)

/** The finished line (without a newline) of a record that `formatRecord` made, and the state after it. */
export function chainLine(
  body: string,
  place: ChainPlace,
  before: ChainState,
  key: HmacKey | null,
): { readonly line: string; readonly state: ChainState } {
  const seq = before.seq + 1
  const prev = before.head === null ? 'null' : `"${before.head}"`
  const text = `${body},"chain":{"node":${JSON.stringify(place.node)},"boot":${JSON.stringify(place.boot)},"thread":0,"seq":${seq},"prev":${prev}`
  const line = `${text}${macMark}${key === null ? 'null' : `"${macOf(key, text)}"`}}}`
  return { line, state: { seq, head: lineHash(line) } }
}
