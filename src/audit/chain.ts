/**
 * The chain that ties a device's lines together. Each line ends in
 *
 *   "chain":{"node":N,"boot":B,"thread":0,"seq":S,"prev":P,"mac":M}}
 *
 * B is one life of one device in one process; S counts from 1 in it. P is the SHA-256 (hex) of the line before, without its newline; null
 * where there was none. M stands in the last line of each flush and is "E:H": H the HMAC-SHA-256 (hex) of the line's text up to and without
 * `,"mac":`, under the key of epoch E of this life (epochs.ts). It proves the lines before it too, since each names its predecessor. null in
 * the other lines, and while the node is sealed.
 */
import { hash } from 'node:crypto'
import type { HmacKey } from './hmac.ts'
import type { LineBatch } from './line-batch.ts'

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

/** The key that a flush's last line is proven under. */
export interface MacKey {
  readonly epoch: number
  readonly key: HmacKey
}

/** What a line says of its place. */
export interface Chain extends ChainPlace {
  readonly seq: number
  readonly prev: string | null
  readonly mac: { readonly epoch: number; readonly hex: string } | null
  /** Where the text ends that the MAC covers, from the line's start; in bytes. */
  readonly macStart: number
}

/** SHA-256 of a line, hex. */
export const lineHash = (line: string | Uint8Array): string => hash('sha256', line, 'hex')

const macMark = ',"mac":'

/** The chain's beginning in each line of a life. */
export interface WritingPlace extends ChainPlace {
  readonly text: string
}

export const writingPlace = (node: string, boot: string): WritingPlace => ({
  node,
  boot,
  text: `,"chain":{"node":${JSON.stringify(node)},"boot":"${boot}","thread":0,"seq":`,
})

/** Puts the finished line of a record that `formatRecord` made behind those in `batch`. Gives the state after it. `mac`: null for all but a flush's last. */
export function chainLine(body: string, place: WritingPlace, before: ChainState, mac: MacKey | null, batch: LineBatch): ChainState {
  const seq = before.seq + 1
  const text = body + place.text + seq + (before.head === null ? ',"prev":null' : ',"prev":"' + before.head + '"')
  const line = batch.add(text + (mac === null ? ',"mac":null}}' : `${macMark}"${mac.epoch}:${mac.key.hex(text)}"}}`))
  return { seq, head: lineHash(line) }
}

/** No chain is longer: a node's name has at most 255 characters, of up to six bytes each. */
export const chainBytesMax = 2_048
const chainPattern =
  /,"chain":\{"node":("(?:[^"\\]|\\.)*"),"boot":"([0-9a-f-]{36})","thread":\d+,"seq":([1-9]\d{0,15}),"prev":(?:null|"([0-9a-f]{64})"),"mac":(?:null|"([1-9]\d{0,8}):([0-9a-f]{64})")\}\}$/

/** The chain at the end of a line; null when there is none, or it is written in another way than ours. The text before it is not looked at. */
export function chainOf(line: Buffer): Chain | null {
  const from = line.lastIndexOf(',"chain":{"node":')
  if (from < 0 || line.length - from > chainBytesMax) return null
  // No more of it becomes a string: what stands before it are names, which a sealed node that reads its last line must not keep in memory.
  const tail = line.toString('latin1', from)
  const found = chainPattern.exec(tail)
  if (found === null || found.index !== 0) return null
  const [, node = '""', boot = '', seq = '', prev, epoch, hex] = found
  try {
    return {
      node: JSON.parse(Buffer.from(node, 'latin1').toString('utf8')) as string,
      boot,
      seq: Number(seq),
      prev: prev ?? null,
      mac: epoch === undefined || hex === undefined ? null : { epoch: Number(epoch), hex },
      macStart: from + tail.lastIndexOf(macMark),
    }
  } catch {
    return null
  }
}
