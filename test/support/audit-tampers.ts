/** Ways to tamper with audit files, at random, and what must be said of each. */
export interface Tampering {
  readonly files: Map<string, Buffer>
  /** The number of the first line, over all files in order, that is not what it was or where it was. */
  readonly at: number
  readonly kind: string
}

export type Random = (below: number) => number

export const tamperKinds = ['flip', 'drop', 'swap', 'duplicate', 'insert', 'truncate', 'splice', 'remove'] as const

/** A generator of numbers from a seed (mulberry32), so that a failure can be run again. */
export function seeded(seed: number): Random {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

const newline = 10

/** Whole lines with their newlines; what is left half at the end counts as one. */
function split(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = []
  for (let from = 0; from < bytes.length;) {
    const end = bytes.indexOf(newline, from)
    const to = end < 0 ? bytes.length : end + 1
    lines.push(bytes.subarray(from, to))
    from = to
  }
  return lines
}

/** One tampering with `files` (in order), or null when what came out is what went in. */
export function tamper(
  original: ReadonlyMap<string, Buffer>,
  random: Random,
  kind = tamperKinds[random(tamperKinds.length)]!,
): Tampering | null {
  const names = [...original.keys()]
  const lines = names.map((name) => split(original.get(name)!))
  const before = lines.map((_, f) => lines.slice(0, f).reduce((sum, of) => sum + of.length, 0))
  const f = random(names.length)
  const of = lines[f]!
  if (of.length === 0) return null
  const i = random(of.length)
  const g = random(names.length)
  const j = random(Math.max(1, lines[g]!.length))
  let at = before[f]! + i
  if (kind === 'flip') {
    const line = Buffer.from(of[i]!)
    const place = random(line.length)
    line[place] = line[place]! ^ (1 << random(7))
    of[i] = line
  } else if (kind === 'drop') of.splice(i, 1)
  else if (kind === 'swap') {
    if (lines[g]!.length === 0) return null
    const line = of[i]!
    of[i] = lines[g]![j]!
    lines[g]![j] = line
    at = Math.min(at, before[g]! + j)
  } else if (kind === 'duplicate') {
    of.splice(i, 0, of[i]!)
    at += 1
  } else if (kind === 'insert') {
    if (lines[g]!.length === 0) return null
    of.splice(i, 0, lines[g]![j]!)
  } else if (kind === 'truncate') {
    const text = Buffer.concat(of)
    const keep = random(text.length)
    const left = split(text.subarray(0, keep))
    at = before[f]! + left.length - (left.length > 0 && left.at(-1)!.at(-1) !== newline ? 1 : 0)
    lines[f] = left
  } else if (kind === 'splice') {
    if (f === g) return null
    lines[f] = [...of.slice(0, i), ...lines[g]!.slice(j)]
  } else if (kind === 'remove') {
    lines[f] = []
    at = before[f]!
  }
  const files = new Map<string, Buffer>()
  names.forEach((name, n) => {
    if (!(kind === 'remove' && n === f)) files.set(name, Buffer.concat(lines[n]!))
  })
  const same = files.size === names.length && names.every((name) => files.get(name)!.equals(original.get(name)!))
  return same ? null : { files, at, kind }
}

/** Where line `at`, counted over all files, stands. */
export function placeOf(original: ReadonlyMap<string, Buffer>, at: number): { file: string; line: number } {
  let left = at
  let last = ''
  for (const [file, bytes] of original) {
    const { length } = split(bytes)
    if (left < length) return { file, line: left + 1 }
    left -= length
    last = file
  }
  return { file: last, line: split(original.get(last)!).length }
}

/** How many lines stand up to and with the last one whose text `isAnchored`; 0: none. */
export function provenLines(original: ReadonlyMap<string, Buffer>, isAnchored: (line: Buffer) => boolean): number {
  const all = [...original.values()].flatMap(split)
  return all.findLastIndex((line) => isAnchored(line.at(-1) === newline ? line.subarray(0, -1) : line)) + 1
}
