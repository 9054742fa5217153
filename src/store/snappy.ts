/** Raw snappy, decompression only (its format description, 2011): enough to read the index block of a LevelDB table. Null when malformed. */
const outputBytesMax = 64 * 1024 * 1024

export function uncompress(input: Buffer): Buffer | null {
  let at = 0
  let size = 0
  for (let scale = 1; ; scale *= 128) {
    const byte = input[at]
    at += 1
    if (byte === undefined || scale > 2 ** 28) return null
    size += (byte & 0x7f) * scale
    if (byte < 0x80) break
  }
  if (size > outputBytesMax) return null
  const output = Buffer.alloc(size)
  let filled = 0
  while (at < input.length) {
    const tag = input[at] ?? 0
    const step = (tag & 3) === 0 ? literal(input, at, tag) : copy(input, at, tag)
    if (step === null || filled + step.length > size) return null
    if (step.from !== null) input.copy(output, filled, step.from, step.from + step.length)
    else {
      if (step.offset === 0 || step.offset > filled) return null
      // Byte by byte: source and target may overlap, and then what was just written is repeated.
      for (let i = 0; i < step.length; i += 1) output[filled + i] = output[filled + i - step.offset] ?? 0
    }
    filled += step.length
    at = step.next
  }
  return filled === size ? output : null
}

interface Step {
  readonly length: number
  /** Where in the input a literal lies; null for a copy. */
  readonly from: number | null
  /** How far back a copy reaches. */
  readonly offset: number
  readonly next: number
}

function literal(input: Buffer, at: number, tag: number): Step | null {
  const short = tag >>> 2
  const extra = short < 60 ? 0 : short - 59
  if (at + 1 + extra > input.length) return null
  const length = (extra === 0 ? short : input.readUIntLE(at + 1, extra)) + 1
  const from = at + 1 + extra
  return from + length > input.length ? null : { length, from, offset: 0, next: from + length }
}

function copy(input: Buffer, at: number, tag: number): Step | null {
  const kind = tag & 3
  const next = at + (kind === 1 ? 2 : kind === 2 ? 3 : 5)
  if (next > input.length) return null
  if (kind === 1) return { length: ((tag >>> 2) & 7) + 4, from: null, offset: ((tag >>> 5) << 8) | (input[at + 1] ?? 0), next }
  const offset = kind === 2 ? input.readUInt16LE(at + 1) : input.readUInt32LE(at + 1)
  return { length: (tag >>> 2) + 1, from: null, offset, next }
}
