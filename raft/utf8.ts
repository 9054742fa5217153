/** UTF-8 by hand: the core imports nothing and leans on no host object, so that it can run wherever JavaScript runs. */

/** The bytes of `text`. A lone surrogate becomes U+FFFD, as TextEncoder has it. */
export function utf8Encode(text: string): Uint8Array {
  const bytes: number[] = []
  for (const character of text) {
    const scalar = character.codePointAt(0) ?? 0
    pushScalar(bytes, scalar >= 0xd800 && scalar <= 0xdfff ? 0xfffd : scalar)
  }
  return Uint8Array.from(bytes)
}

function pushScalar(bytes: number[], scalar: number): void {
  const tail = (shift: number): number => 0x80 | ((scalar >> shift) & 0x3f)
  if (scalar < 0x80) bytes.push(scalar)
  else if (scalar < 0x800) bytes.push(0xc0 | (scalar >> 6), tail(0))
  else if (scalar < 0x10000) bytes.push(0xe0 | (scalar >> 12), tail(6), tail(0))
  else bytes.push(0xf0 | (scalar >> 18), tail(12), tail(6), tail(0))
}

/** The text that `bytes` hold; null unless they are exactly what `utf8Encode` makes of it (no overlong forms, no surrogates). */
export function utf8Decode(bytes: Uint8Array): string | null {
  let text = ''
  for (let at = 0; at < bytes.length;) {
    const lead = bytes[at] ?? 0
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
    let scalar = length === 1 ? lead : lead & (0x7f >> length)
    for (let i = 1; i < length; i += 1) scalar = (scalar << 6) | ((bytes[at + i] ?? 0) & 0x3f)
    if (scalar > 0x10ffff) return null
    text += String.fromCodePoint(scalar)
    at += length
  }
  return sameBytes(utf8Encode(text), bytes) ? text : null
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
