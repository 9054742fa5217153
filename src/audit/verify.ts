/** Checks a file that the file device wrote: that no line was changed, removed, added or moved. Reads line by line, in constant memory. */
import { createReadStream } from 'node:fs'
import { equalSecretStrings } from '#base/secret.ts'
import { lineHash, macOf, macStart } from './chain.ts'
import { chainLabel, deriveKey } from './hashing.ts'

const chunkBytes = 1024 * 1024
const newline = 10

export type AuditVerdict =
  | {
      readonly ok: true
      readonly lines: number
      /** Lines up to here are proven by a MAC (0 without a key): whoever has no key can't have made them. */
      readonly provenLines: number
      /** `prev` of the first line: the hash of the last line of the file before; null at the very beginning. */
      readonly firstPrev: string | null
      /** Hash of the last line; null for an empty file. */
      readonly head: string | null
    }
  | {
      readonly ok: false
      /** 1-based: the first line that does not fit to what stands before it. */
      readonly line: number
      readonly reason: 'not a record' | 'changed, or a line before it was' | 'not in sequence' | 'forged' | 'cut'
    }

interface Chain {
  readonly node: string
  readonly boot: string
  readonly seq: number
  readonly prev: string | null
  readonly mac: string | null
}

function chainOf(line: string): Chain | null {
  try {
    const { chain } = JSON.parse(line) as { chain?: Partial<Chain> }
    const isHash = (value: unknown): boolean => value === null || (typeof value === 'string' && /^[0-9a-f]{64}$/.test(value))
    const { node, boot, seq, prev, mac } = chain ?? {}
    if (typeof node !== 'string' || typeof boot !== 'string' || !Number.isSafeInteger(seq) || !isHash(prev) || !isHash(mac)) return null
    return chain as Chain
  } catch {
    return null
  }
}

const follows = (chain: Chain, before: Chain | null): boolean =>
  before === null || (chain.boot === before.boot ? chain.seq === before.seq + 1 && chain.node === before.node : chain.seq === 1)

/**
 * Verifies a file; `key` is the audit key (what the broker is given), null to check the hashes alone, which a forger could have made.
 * A changed line is named itself when it has a MAC and a key is given, else by the line after it. Rejects when the file can't be read.
 */
export async function verifyAuditFile(path: string, key: Uint8Array | null): Promise<AuditVerdict> {
  const macKey = key === null ? null : deriveKey(key, chainLabel)
  let lines = 0
  let provenLines = 0
  let head: string | null = null
  let firstPrev: string | null = null
  let before: Chain | null = null
  for await (const { text: line, whole } of linesOf(path)) {
    lines += 1
    if (!whole) return { ok: false, line: lines, reason: 'cut' }
    const chain = chainOf(line)
    if (chain === null) return { ok: false, line: lines, reason: 'not a record' }
    if (lines === 1) firstPrev = chain.prev
    else if (chain.prev !== head) return { ok: false, line: lines, reason: 'changed, or a line before it was' }
    if (!follows(chain, before)) return { ok: false, line: lines, reason: 'not in sequence' }
    if (macKey && chain.mac !== null) {
      if (!equalSecretStrings(chain.mac, macOf(macKey, line.slice(0, macStart(line))))) return { ok: false, line: lines, reason: 'forged' }
      provenLines = lines
    }
    head = lineHash(line)
    before = chain
  }
  return { ok: true, lines, provenLines, firstPrev, head }
}

/** Lines by '\n' alone: readline also splits at U+2028, which may stand inside a JSON string. */
async function* linesOf(path: string): AsyncGenerator<{ readonly text: string; readonly whole: boolean }> {
  let rest: Buffer[] = []
  for await (const chunk of createReadStream(path, { highWaterMark: chunkBytes }) as AsyncIterable<Buffer>) {
    let from = 0
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
      const piece = chunk.subarray(from, end)
      yield { text: (rest.length === 0 ? piece : Buffer.concat([...rest, piece])).toString('utf8'), whole: true }
      rest = []
      from = end + 1
    }
    if (from < chunk.length) rest.push(chunk.subarray(from))
  }
  if (rest.length > 0) yield { text: Buffer.concat(rest).toString('utf8'), whole: false }
}
