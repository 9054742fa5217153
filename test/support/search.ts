/** Finds marked secrets wherever they may lie: in data folders, through LevelDB, in logs, in the memory of processes. */
import { closeSync, globSync, openSync, readFileSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'

/** What is searched for, under the name that a hit is reported by: that of a key must not be the key. */
export interface Mark {
  readonly kind: string
  readonly bytes: Buffer
}

export interface Hit {
  readonly kind: string
  /** How it was written: 'as it is', 'hex', 'base64' ... */
  readonly form: string
}

const chunkBytes = 16 * 1024 * 1024
/** Shorter needles would be found by chance. */
const needleBytesMin = 8
/** What nothing was ever written to is looked over in blocks of this size. */
const zeros = Buffer.alloc(64 * 1024)

export const textMark = (kind: string, text: string): Mark => ({ kind, bytes: Buffer.from(text) })

/** As base64url writes it. */
const urlSafe = (text: string): string => text.replaceAll('+', '-').replaceAll('/', '_')

/** How a mark could be written: as it is, as hex in both cases, as base64 at each of the three alignments (and its URL form), and as UTF-16, as V8 keeps some strings. */
export function formsOf({ bytes }: Mark): readonly (readonly [form: string, needle: Buffer])[] {
  const aligned = [0, 1, 2].map((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .replace(/=+$/, '')
    // The first and last characters mix with the neighbours' bits: leave out those that do.
    return text.slice(Math.ceil((shift * 8) / 6), -1)
  })
  const hex = bytes.toString('hex')
  const written: [string, string | Buffer][] = [
    ['as it is', bytes],
    ['UTF-16', Buffer.from(bytes.toString('latin1'), 'utf16le')],
    ['hex', hex],
    ['hex', hex.toUpperCase()],
    ...aligned.flatMap((text): [string, string][] => [
      ['base64', text],
      ['base64', urlSafe(text)],
    ]),
  ]
  const distinct = new Map(written.map(([form, needle]) => [Buffer.from(needle as string).toString('latin1'), form]))
  return [...distinct].map(([needle, form]) => [form, Buffer.from(needle, 'latin1')])
}

/** Thousands of needles in one pass: tables of the first and the next two bytes rule out almost every offset, a map of the first eight the rest. */
export class Searcher {
  readonly #pairs = new Uint8Array(65_536)
  readonly #nextPairs = new Uint8Array(65_536)
  readonly #byStart = new Map<string, { readonly needle: Buffer; readonly hit: Hit }[]>()
  readonly #longest: number
  readonly needles: number
  /** Bytes looked at so far. */
  searchedBytes = 0

  constructor(marks: readonly Mark[]) {
    let longest = 0
    let needles = 0
    for (const mark of marks) {
      for (const [form, needle] of formsOf(mark)) {
        if (needle.length < needleBytesMin) throw new Error(`a mark expected at least ${needleBytesMin} bytes, got ${needle.length}`)
        this.#pairs[needle.readUInt16LE(0)] = 1
        this.#nextPairs[needle.readUInt16LE(2)] = 1
        const start = needle.toString('latin1', 0, needleBytesMin)
        const known = this.#byStart.get(start) ?? []
        known.push({ needle, hit: { kind: mark.kind, form } })
        this.#byStart.set(start, known)
        longest = Math.max(longest, needle.length)
        needles++
      }
    }
    if (longest * 2 > zeros.length) throw new Error(`a mark expected at most ${zeros.length / 2} bytes in every form, got ${longest}`)
    this.#longest = longest
    this.needles = needles
  }

  /** What stands somewhere in `haystack`, each mark and form once, by 'kind, form'. */
  find(haystack: Buffer): Map<string, Hit> {
    this.searchedBytes += haystack.length
    const found = new Map<string, Hit>()
    const [pairs, nextPairs] = [this.#pairs, this.#nextPairs]
    for (let at = 0; at + needleBytesMin <= haystack.length; at++) {
      if (at % zeros.length === 0 && zeros.equals(haystack.subarray(at, at + zeros.length))) {
        at += zeros.length - this.#longest // What begins with zeros at the end of the block may go on in the next.
        continue
      }
      if (pairs[(haystack[at] as number) | ((haystack[at + 1] as number) << 8)] === 0) continue
      if (nextPairs[(haystack[at + 2] as number) | ((haystack[at + 3] as number) << 8)] === 0) continue
      for (const { needle, hit } of this.#byStart.get(haystack.toString('latin1', at, at + needleBytesMin)) ?? []) {
        if (haystack.subarray(at, at + needle.length).equals(needle)) found.set(`${hit.kind}, ${hit.form}`, hit)
      }
    }
    return found
  }

  /** The same in many pieces, none of which goes on in the next. */
  findInAll(pieces: Iterable<Buffer>): Map<string, Hit> {
    const found = new Map<string, Hit>()
    for (const piece of pieces) for (const [name, hit] of this.find(piece)) found.set(name, hit)
    return found
  }

  /** The same in a file of any size. */
  findInFile(path: string): Map<string, Hit> {
    const found = new Map<string, Hit>()
    const buffer = Buffer.allocUnsafe(chunkBytes)
    const file = openSync(path, 'r')
    const overlap = this.#longest - 1
    try {
      let kept = 0
      for (;;) {
        const read = readSync(file, buffer, kept, chunkBytes - kept, null)
        if (read === 0) break
        const end = kept + read
        for (const [name, hit] of this.find(buffer.subarray(0, end))) found.set(name, hit)
        this.searchedBytes -= kept // Counted with the chunk before.
        kept = Math.min(overlap, end)
        buffer.copyWithin(0, end - kept, end)
      }
    } finally {
      closeSync(file)
    }
    return found
  }
}

/** All files below `dir`, and every key and value of each LevelDB in it, as one searchable buffer a piece. */
export async function piecesOf(dir: string): Promise<{ name: string; bytes: Buffer }[]> {
  const files = globSync(`${dir}/**/*`).filter((path) => statSync(path).isFile())
  const found = files.map((name) => ({ name, bytes: readFileSync(name) }))
  for (const current of files.filter((path) => path.endsWith('/CURRENT'))) {
    const db = new ClassicLevel<Buffer, Buffer>(join(current, '..'), {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      createIfMissing: false,
    })
    await db.open()
    const parts: Buffer[] = []
    for await (const [key, value] of db.iterator()) parts.push(key, Buffer.from('\n'), value, Buffer.from('\n'))
    await db.close()
    found.push({ name: `${join(current, '..')} through LevelDB`, bytes: Buffer.concat(parts) })
  }
  return found
}
