/**
 * One file, line by line, in constant memory: does each line follow the one before, and is it what an anchor or a MAC says that it was?
 *
 * When a line does not name the hash of the one before, one of the two was changed, or something between them is gone. The line after tells which:
 * whoever changes a line does not change what its successor says of it.
 */
import { equalSecretStrings } from '#base/secret.ts'
import { chainOf, lineHash, type Chain } from '../chain.ts'
import type { Evidence } from './evidence.ts'
import { linesOf } from './lines.ts'

export type FindingKind = 'altered' | 'removed' | 'inserted' | 'gap' | 'forged anchor'

export interface Finding {
  readonly kind: FindingKind
  readonly file: string | null
  /** 1-based; null where it is about the whole file. */
  readonly line: number | null
  /** Of the last good line before it, where that helps. */
  readonly afterSeq: number | null
  readonly text: string
}

export interface Scanned {
  readonly file: string
  readonly lines: number
  readonly bytes: number
  readonly first: Chain | null
  readonly last: Chain | null
  /** Hash of the last whole line. */
  readonly head: string | null
  /** The last line that an anchor or a MAC proves; 0: none. */
  readonly anchoredLine: number
  readonly macLine: number
  /** The last line is half a line. */
  readonly torn: boolean
  /** Boots seen, with the highest number of each. */
  readonly boots: ReadonlyMap<string, number>
  readonly findings: readonly Finding[]
  /** More were found than are told. */
  readonly more: boolean
}

const findingsMax = 100
const progressEveryLines = 20_000

interface Seen {
  readonly chain: Chain | null
  readonly hash: string
  readonly line: number
}

/** A break whose meaning the next line tells: `here` does not name the hash of the line before it. */
interface Break {
  readonly before: Seen & { readonly chain: Chain }
  readonly here: Seen & { readonly chain: Chain }
  /** No line of its boot stands before it. */
  readonly newBoot: boolean
}

/** Rejects when the file can't be read. */
export async function scanFile(file: string, evidence: Evidence, onProgress: (bytes: number) => void = () => {}): Promise<Scanned> {
  const scan = new Scan(file, evidence)
  for await (const { bytes, whole } of linesOf(file)) {
    scan.line(bytes, whole)
    if (scan.lines % progressEveryLines === 0) onProgress(scan.bytes)
  }
  onProgress(scan.bytes)
  return scan.end()
}

class Scan {
  readonly #file: string
  readonly #evidence: Evidence
  readonly #findings: Finding[] = []
  readonly #boots = new Map<string, number>()
  #more = false
  lines = 0
  bytes = 0
  #before: Seen | null = null
  #break: Break | null = null
  #first: Chain | null = null
  #last: Chain | null = null
  #head: string | null = null
  #anchoredLine = 0
  #macLine = 0
  #torn = false
  /** A break was told since the last line that an anchor has found good: that anchor's mismatch would say it again. */
  #toldSinceAnchor = false

  constructor(file: string, evidence: Evidence) {
    this.#file = file
    this.#evidence = evidence
  }

  line(bytes: Buffer, whole: boolean): void {
    this.lines += 1
    this.bytes += bytes.length + 1
    if (!whole) {
      this.#torn = true
      return
    }
    const chain = chainOf(bytes)
    const here: Seen = { chain, hash: lineHash(bytes), line: this.lines }
    this.#head = here.hash
    if (chain === null) return this.#unreadable(here)
    this.#settle(here)
    this.#follow(here as Break['here'])
    this.#prove(here as Break['here'], bytes)
    this.#first ??= chain
    this.#last = chain
    this.#boots.set(chain.boot, Math.max(this.#boots.get(chain.boot) ?? 0, chain.seq))
    this.#before = here
  }

  end(): Scanned {
    this.#settle(null)
    return {
      file: this.#file,
      lines: this.lines,
      bytes: this.bytes,
      first: this.#first,
      last: this.#last,
      head: this.#head,
      anchoredLine: this.#anchoredLine,
      macLine: this.#macLine,
      torn: this.#torn,
      boots: this.#boots,
      findings: this.#findings,
      more: this.#more,
    }
  }

  #tell(kind: FindingKind, line: number, afterSeq: number | null, text: string): void {
    this.#toldSinceAnchor = true
    if (this.#findings.some((one) => one.line === line && one.kind === kind)) return
    if (this.#findings.length >= findingsMax) this.#more = true
    else this.#findings.push({ kind, file: this.#file, line, afterSeq, text })
  }

  #unreadable(here: Seen): void {
    this.#settle(null)
    this.#tell('altered', here.line, this.#before?.chain?.seq ?? null, `altered at line ${here.line}: it is no record`)
    this.#before = here
  }

  /** Does it stand where it says? Its hash and its number must both go on from the line before. */
  #follow(here: Break['here']): void {
    const { chain } = here
    const before = this.#before
    // After what could not be read nothing can be said of the next line's place.
    if (before === null || before.chain === null) return
    const ties = chain.prev === before.hash
    if (ties && counts(before.chain, chain)) return
    // A device that can't be read back begins anew after a failure.
    if (chain.prev === null && chain.seq === 1 && chain.boot !== before.chain.boot && !this.#boots.has(chain.boot)) return
    if (ties) {
      this.#tell('altered', here.line, before.chain.seq, `altered at line ${here.line}: its number does not follow`)
      return
    }
    this.#break = { before: before as Break['before'], here, newBoot: !this.#boots.has(chain.boot) }
  }

  /** What the last break was, now that the line after it is known. */
  #settle(next: Seen | null): void {
    const open = this.#break
    if (open === null) return
    this.#break = null
    const { before, here, newBoot } = open
    const chain = here.chain
    const nextChain = next?.chain ?? null
    // Its successor does not know it as it is now: it was changed itself.
    if (nextChain !== null && nextChain.prev !== here.hash && counts(here.chain, nextChain)) {
      this.#tell('altered', here.line, before.chain.seq, `altered at line ${here.line}`)
      // Said: the successor's own break is the same one.
      this.#before = { ...here, hash: nextChain.prev ?? '' }
      return
    }
    if (this.#findings.some(({ line }) => line === before.line)) return
    if (counts(before.chain, chain)) {
      const last = chain.boot === before.chain.boot ? '' : `, or removed after seq ${before.chain.seq}`
      this.#tell('altered', before.line, before.chain.seq - 1, `altered at line ${before.line}${last}`)
    } else if (chain.boot === before.chain.boot && chain.seq > before.chain.seq) {
      const count = chain.seq - before.chain.seq - 1
      this.#tell('removed', here.line, before.chain.seq, `removed after seq ${before.chain.seq}: ${count} before line ${here.line}`)
    } else if (newBoot) {
      this.#tell(
        'removed',
        here.line,
        before.chain.seq,
        `removed after seq ${before.chain.seq}: what stood before line ${here.line} is gone`,
      )
    } else {
      this.#tell('inserted', here.line, before.chain.seq, `inserted, or moved, at line ${here.line}`)
    }
  }

  #prove(here: Break['here'], bytes: Buffer): void {
    const { boot, seq, mac, macStart } = here.chain
    const key = mac === null ? null : this.#evidence.keyOf(boot, mac.epoch)
    if (mac !== null && key !== null) {
      if (equalSecretStrings(key.hex(bytes.subarray(0, macStart)), mac.hex)) this.#macLine = here.line
      else this.#tell('altered', here.line, this.#before?.chain?.seq ?? null, `altered at line ${here.line}: its MAC is another's`)
    }
    const anchored = this.#evidence.boots.get(boot)?.heads.get(seq)
    if (anchored === undefined) return
    if (anchored === here.hash) {
      this.#anchoredLine = here.line
      this.#toldSinceAnchor = false
    } else if (!this.#toldSinceAnchor && this.#break === null) {
      const since = this.#anchoredLine === 0 ? '' : `, or rebuilt since line ${this.#anchoredLine + 1}`
      this.#tell('altered', here.line, seq, `altered at line ${here.line}${since}: an anchor has another hash`)
    }
  }
}

/** Whether `chain` has the number that comes after that of `before`. */
const counts = (before: Chain, chain: Chain): boolean =>
  chain.boot === before.boot ? chain.seq === before.seq + 1 && chain.node === before.node : chain.seq === 1
