/**
 * Many small byte strings by byte strings, in a few large blocks of memory that the garbage collector never looks into.
 *
 * An opened secret of 400 bytes as a Uint8Array in a Map costs V8 some 1.3 KB: a view, its buffer, a backing store of its own, an entry, the key as a
 * string; and each major collection marks all of it. Here it costs its own bytes and 32 more, so that the same memory holds twice as many, and what
 * is forgotten can be overwritten, since whoever asks is given a copy.
 *
 * Blocks are filled one after the other; when the last one is full, the oldest is used again: what was asked for since it was last looked at stays
 * (at most half of the block), the rest goes. So eviction is by second chance, costs one walk over a block in many hundred insertions, and nothing
 * is ever fragmented. The index is a table of open addressing; a run of collisions is bounded, since names are chosen by clients: what finds no
 * slot within the bound is not kept.
 */

/** Rounded down to a power of two for small caches. */
const blockBytesMax = 128 * 1024
/** A small cache has at least so many blocks, so that evicting one does not empty it. */
const blocksMin = 8
const entryBytesMaxDefault = 8 * 1024
const probesMax = 64
const slotsMin = 64
/** Less keeps nothing: the smallest index alone would take more than its share. */
const bytesMin = 4_096
/** Of the whole, for the index: a slot has four bytes, an entry eighty or more. */
const indexShare = 1 / 16

/** An entry: head, key, value, each entry at a multiple of eight bytes. */
const headBytes = 24
const Head = { hash: 0, keyBytes: 1, valueBytes: 2, sinceLow: 3, sinceHigh: 4, state: 5 } as const
const State = { dead: 0, unused: 1, used: 2 } as const
const absent = 0xffff_ffff
const align = 8

interface Block {
  readonly bytes: Buffer
  readonly words: Uint32Array
  /** Where the next entry would begin. */
  end: number
}

export class PackedCache {
  readonly #blockBytes: number
  readonly #blocksMax: number
  readonly #slotsMax: number
  readonly #entryBytesMax: number
  readonly #blocks: Block[] = []
  /** The block that is being filled. */
  #current = -1
  /** Each 0, or one more than an entry's position in units of `align`. */
  #slots = new Int32Array(0)
  #count = 0
  /** Of the entry that `find` found. */
  #block: Block | null = null
  #at = 0

  /** @param bytesMax of blocks and index together; what is too small for a few entries keeps none. */
  constructor(bytesMax: number) {
    const blocksBytes = bytesMax * (1 - indexShare)
    this.#blockBytes = Math.min(blockBytesMax, 2 ** Math.floor(Math.log2(Math.max(1, blocksBytes / blocksMin))))
    this.#blocksMax = bytesMax < bytesMin ? 0 : Math.floor(blocksBytes / this.#blockBytes)
    this.#slotsMax = Math.max(slotsMin, 2 ** Math.floor(Math.log2(Math.max(1, (bytesMax * indexShare) / 4))))
    this.#entryBytesMax = Math.min(entryBytesMaxDefault, this.#blockBytes / 2)
  }

  /** Entries that can be found. */
  get size(): number {
    return this.#count
  }

  /** Memory that is taken: blocks, whether full or not, and the index. */
  get bytes(): number {
    return this.#blocks.length * this.#blockBytes + this.#slots.byteLength
  }

  /** Whether a value of so many bytes under a key of so many is kept at all. */
  fits(keyBytes: number, valueBytes: number): boolean {
    return this.#blocksMax > 0 && headBytes + keyBytes + valueBytes <= this.#entryBytesMax
  }

  /** Finds the entry of `key`, for `value` and `since`; counts as a use. */
  find(key: Uint8Array): boolean {
    if (this.#count === 0 || this.#slotOf(key, hashOf(key)) < 0) return false
    this.#block!.words[(this.#at >> 2) + Head.state] = State.used
    return true
  }

  /** A copy of what `find` has just found, the caller's; null where that is known to be absent. Nothing may have been set or deleted in between. */
  value(): Uint8Array | null {
    const { bytes, words } = this.#block!
    const word = this.#at >> 2
    const length = words[word + Head.valueBytes]!
    if (length === absent) return null
    const from = this.#at + headBytes + words[word + Head.keyBytes]!
    const value = room(length)
    bytes.copy(value, 0, from, from + length)
    return value
  }

  /** The number that was set beside it; as for `value`. */
  since(): number {
    const { words } = this.#block!
    const word = this.#at >> 2
    return words[word + Head.sinceHigh]! * 2 ** 32 + words[word + Head.sinceLow]!
  }

  /** Keeps copies of `key` and `value` (null: known to be absent) with a whole number below 2^53, in place of what was there. */
  set(key: Uint8Array, value: Uint8Array | null, since = 0): void {
    this.delete(key)
    const length = value?.length ?? 0
    if (!this.fits(key.length, length)) return
    const size = (headBytes + key.length + length + align - 1) & -align
    const block = this.#roomFor(size)
    if (block === null) return
    const hash = hashOf(key)
    const at = block.end
    if (!this.#place(hash, this.#ref(this.#current, at))) return
    const word = at >> 2
    block.words[word + Head.hash] = hash
    block.words[word + Head.keyBytes] = key.length
    block.words[word + Head.valueBytes] = value === null ? absent : length
    block.words[word + Head.sinceLow] = since % 2 ** 32
    block.words[word + Head.sinceHigh] = Math.floor(since / 2 ** 32)
    block.words[word + Head.state] = State.unused
    block.bytes.set(key, at + headBytes)
    if (value !== null) block.bytes.set(value, at + headBytes + key.length)
    block.end = at + size
    this.#count += 1
  }

  /** Forgets `key`, and overwrites its value. */
  delete(key: Uint8Array): void {
    if (this.#count === 0) return
    const slot = this.#slotOf(key, hashOf(key))
    if (slot >= 0) this.#drop(this.#block!, this.#at, slot)
  }

  /** Forgets every key that begins with `prefix`, and overwrites the values. Looks at all of them. */
  deletePrefix(prefix: Uint8Array): void {
    for (const [index, block] of this.#blocks.entries()) {
      for (let at = 0; at < block.end; at += sizeAt(block, at)) {
        const word = at >> 2
        if (block.words[word + Head.state] === State.dead || block.words[word + Head.keyBytes]! < prefix.length) continue
        if (!sameBytes(block.bytes, at + headBytes, prefix)) continue
        this.#drop(block, at, this.#slotAt(block.words[word + Head.hash]!, this.#ref(index, at)))
      }
    }
  }

  /** Forgets and overwrites everything; the memory is let go. */
  clear(): void {
    for (const block of this.#blocks) block.bytes.fill(0, 0, block.end)
    this.#blocks.length = 0
    this.#current = -1
    this.#slots = new Int32Array(0)
    this.#count = 0
    this.#block = null
  }

  #ref(block: number, at: number): number {
    return (block * this.#blockBytes + at) / align + 1
  }

  /** The slot of `key`, or -1; leaves `#block` and `#at` at its entry. */
  #slotOf(key: Uint8Array, hash: number): number {
    const slots = this.#slots
    const mask = slots.length - 1
    for (let slot = hash & mask, probes = 0; probes < probesMax; slot = (slot + 1) & mask, probes += 1) {
      const ref = slots[slot]!
      if (ref === 0) return -1
      const position = (ref - 1) * align
      const block = this.#blocks[Math.floor(position / this.#blockBytes)]!
      const at = position % this.#blockBytes
      const word = at >> 2
      if (block.words[word] !== hash || block.words[word + Head.keyBytes] !== key.length) continue
      if (!sameBytes(block.bytes, at + headBytes, key)) continue
      this.#block = block
      this.#at = at
      return slot
    }
    return -1
  }

  /** The slot that holds `ref`, which is there. */
  #slotAt(hash: number, ref: number): number {
    const mask = this.#slots.length - 1
    let slot = hash & mask
    while (this.#slots[slot] !== ref) slot = (slot + 1) & mask
    return slot
  }

  /** False where its neighbourhood is full. */
  #place(hash: number, ref: number): boolean {
    const mask = this.#slots.length - 1
    for (let slot = hash & mask, probes = 0; probes < probesMax; slot = (slot + 1) & mask, probes += 1) {
      if (this.#slots[slot] !== 0) continue
      this.#slots[slot] = ref
      return true
    }
    return false
  }

  #hashAt(ref: number): number {
    const position = (ref - 1) * align
    return this.#blocks[Math.floor(position / this.#blockBytes)]!.words[(position % this.#blockBytes) >> 2]!
  }

  #drop(block: Block, at: number, slot: number): void {
    const word = at >> 2
    block.words[word + Head.state] = State.dead
    const from = at + headBytes + block.words[word + Head.keyBytes]!
    if (block.words[word + Head.valueBytes] !== absent) block.bytes.fill(0, from, from + block.words[word + Head.valueBytes]!)
    this.#free(slot)
    this.#count -= 1
  }

  /** Empties a slot, and moves those behind it that had to go on past it: no search ends at a gap too early. */
  #free(slot: number): void {
    const slots = this.#slots
    const mask = slots.length - 1
    let gap = slot
    for (let next = (gap + 1) & mask; slots[next] !== 0; next = (next + 1) & mask) {
      const home = this.#hashAt(slots[next]!) & mask
      if (((next - home) & mask) < ((next - gap) & mask)) continue
      slots[gap] = slots[next]!
      gap = next
    }
    slots[gap] = 0
  }

  /** The block that is being filled, with `size` bytes free and a slot to be had; null where there is none. */
  #roomFor(size: number): Block | null {
    if (this.#current < 0 || this.#blocks[this.#current]!.end + size > this.#blockBytes) this.#advance()
    if (this.#isCrowded()) this.#grow()
    return this.#isCrowded() ? null : this.#blocks[this.#current]!
  }

  /** Fuller than five eighths, searches grow long. */
  #isCrowded(): boolean {
    return (this.#count + 1) * 8 > this.#slots.length * 5
  }

  #grow(): void {
    // An index that may not grow makes room as a full block does.
    if (this.#slots.length >= this.#slotsMax) return this.#advance()
    const before = this.#slots
    this.#slots = new Int32Array(Math.max(slotsMin, before.length * 2))
    for (const ref of before) {
      if (ref === 0) continue
      const hash = this.#hashAt(ref)
      if (this.#place(hash, ref)) continue
      const position = (ref - 1) * align
      this.#blocks[Math.floor(position / this.#blockBytes)]!.words[((position % this.#blockBytes) >> 2) + Head.state] = State.dead
      this.#count -= 1
    }
  }

  #advance(): void {
    if (this.#blocks.length < this.#blocksMax) {
      const bytes = Buffer.alloc(this.#blockBytes)
      this.#blocks.push({ bytes, words: new Uint32Array(bytes.buffer, bytes.byteOffset, this.#blockBytes >> 2), end: 0 })
      this.#current = this.#blocks.length - 1
      return
    }
    this.#current = (this.#current + 1) % this.#blocks.length
    this.#evict(this.#current)
  }

  /** Keeps what was used, moved together at the block's beginning, as far as half of it; forgets the rest. */
  #evict(index: number): void {
    const block = this.#blocks[index]!
    const { bytes, words, end } = block
    let to = 0
    for (let at = 0, next = 0; at < end; at = next) {
      const size = sizeAt(block, at)
      next = at + size
      const word = at >> 2
      if (words[word + Head.state] === State.dead) continue
      const slot = this.#slotAt(words[word]!, this.#ref(index, at))
      if (words[word + Head.state] === State.used && to + size <= this.#blockBytes / 2) {
        words[word + Head.state] = State.unused
        this.#slots[slot] = this.#ref(index, to)
        bytes.copyWithin(to, at, next)
        to += size
      } else {
        this.#free(slot)
        this.#count -= 1
      }
    }
    bytes.fill(0, to, end)
    block.end = to
  }
}

/**
 * Small copies are cut from one piece of memory: one of its own each would cost five times as much to make, and V8 another walk to free. Not from
 * Buffer's pool: what others cut from that holds what was there before. Who keeps such a copy keeps the piece, and copies it for that once more.
 */
const pieceBytes = 8 * 1024
const piecePartMax = pieceBytes / 4
let piece = new ArrayBuffer(pieceBytes)
let pieceUsed = 0

function room(bytes: number): Uint8Array {
  if (bytes > piecePartMax) return new Uint8Array(bytes)
  if (pieceUsed + bytes > pieceBytes) {
    piece = new ArrayBuffer(pieceBytes)
    pieceUsed = 0
  }
  const part = new Uint8Array(piece, pieceUsed, bytes)
  pieceUsed += bytes
  return part
}

function sizeAt({ words }: Block, at: number): number {
  const word = at >> 2
  const value = words[word + Head.valueBytes]!
  return (headBytes + words[word + Head.keyBytes]! + (value === absent ? 0 : value) + align - 1) & -align
}

function sameBytes(bytes: Uint8Array, from: number, key: Uint8Array): boolean {
  // From the end: the keys of one folder begin alike.
  for (let i = key.length - 1; i >= 0; i -= 1) if (bytes[from + i] !== key[i]) return false
  return true
}

/** All bytes, mixed after each: names of a folder differ in their last ones. Not for secrets. */
function hashOf(key: Uint8Array): number {
  let hash = key.length
  for (let i = 0; i < key.length; i += 1) {
    hash = Math.imul(hash ^ key[i]!, 0x5bd1_e995)
    hash ^= hash >>> 15
  }
  return hash >>> 0
}
