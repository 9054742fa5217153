/**
 * Reads a snapshot file to its end and checks all that can be checked without a key: its blocks, its SHA-256, that header and body say the same, the order
 * of its keys, and the digest by which nodes compare their states. Counts what is in it on the way.
 */
import { bareKey, KeyClass } from '#barrier/bare.ts'
import { sectionBytes } from '#barrier/names.ts'
import { isHoldfastError } from '#base/errors.ts'
import { expand, StateDigest } from '#store/digest.ts'
import { decodeMeta } from '#store/statemeta.ts'
import { decodeSnapshot, type Pair } from '#store/stream.ts'
import type { StateMeta } from '#store/types.ts'
import { damaged } from './blocks.ts'
import { openSnapshotFile, type FileSeal, type OpenedSnapshotFile } from './file.ts'
import type { SnapshotFileHeader } from './header.ts'

/** How many pairs of some kind there are, and their bytes. */
export interface Tally {
  pairs: number
  keyBytes: number
  valueBytes: number
}

export interface SnapshotSummary {
  readonly header: SnapshotFileHeader
  readonly seal: FileSeal
  /** Members of the cluster as it was: voters, then learners. */
  readonly voters: readonly string[]
  readonly learners: readonly string[]
  readonly total: Tally
  /** 'everywhere', 'this cluster', 'clear records', 'cluster'. */
  readonly classes: Readonly<Record<string, Tally>>
  /** One for each mount of each namespace, by its hidden id: names are ciphertext. The largest first, at most `sectionsShownMax`. */
  readonly sections: readonly (Tally & { readonly section: string; readonly class: string })[]
  readonly sectionsInAll: number
}

export interface InspectOptions {
  /** Told of the bytes read so far, now and then. */
  readonly onProgress?: (bytes: number) => void
}

/** Counted one by one; what is beyond goes into the totals only. */
const sectionsMax = 100_000
const sectionsShownMax = 100

const classNames: Readonly<Record<number, string>> = {
  [KeyClass.everywhere]: 'everywhere',
  [KeyClass.thisCluster]: 'this cluster',
  [KeyClass.bare]: 'clear records',
}

const emptyTally = (): Tally => ({ pairs: 0, keyBytes: 0, valueBytes: 0 })

function count(tally: Tally, [key, value]: Pair): void {
  tally.pairs += 1
  tally.keyBytes += key.length
  tally.valueBytes += value.length
}

/** @throws ERR_SNAPSHOT_DAMAGED, ERR_UPGRADE_REQUIRED, and what `stream` throws. */
export async function inspectSnapshotFile(stream: AsyncIterable<Uint8Array>, options: InspectOptions = {}): Promise<SnapshotSummary> {
  return new Inspection(await openSnapshotFile(stream), options).run()
}

class Inspection {
  readonly #file: OpenedSnapshotFile
  readonly #options: InspectOptions
  readonly #total = emptyTally()
  readonly #classes: Record<string, Tally> = {}
  readonly #sections = new Map<string, Tally>()
  readonly #sum = new StateDigest()
  /** Records of the header that are still to be met in the body. */
  readonly #awaited: Map<string, Uint8Array>
  #meta: StateMeta | null = null

  constructor(file: OpenedSnapshotFile, options: InspectOptions) {
    this.#file = file
    this.#options = options
    const records = Object.entries(file.header.records)
    this.#awaited = new Map(records.map(([name, value]) => [Buffer.from(bareKey(name)).toString('latin1'), value]))
  }

  async run(): Promise<SnapshotSummary> {
    try {
      await decodeSnapshot(
        this.#file.body,
        (header) => this.#begin(header.clusterId, header.meta),
        async (pairs) => this.#take(pairs),
      )
    } catch (error) {
      // What is wrong within blocks that are as they were written: made so, or put together by somebody.
      if (isHoldfastError(error, 'ERR_FRAME') || isHoldfastError(error, 'ERR_STORE_CORRUPT')) throw this.#wrong(error.message)
      throw error
    }
    if (this.#meta === null || !this.#sum.equals(this.#meta.digest)) throw this.#wrong("expected its state's digest, got other pairs")
    if (this.#awaited.size > 0) throw this.#wrong('expected the records of its header in the body, got none')
    return this.#summary(this.#meta)
  }

  #wrong(what: string): Error {
    return damaged(0, this.#file.position, what)
  }

  #begin(clusterId: string, record: Uint8Array): void {
    const { header } = this.#file
    if (clusterId !== header.clusterId) throw this.#wrong('expected the state of the cluster that its header names, got that of another')
    const meta = decodeMeta(clusterId, record)
    if (meta.applied !== header.index || meta.appliedTerm !== header.term)
      throw this.#wrong(`expected the state at index ${header.index}, got the one at ${meta.applied}`)
    this.#meta = meta
  }

  #take(pairs: readonly Pair[]): void {
    for (const pair of pairs) {
      const [key, value] = pair
      this.#sum.add(expand(key, value))
      count(this.#total, pair)
      const name = classNames[key[0] ?? 0] ?? 'cluster'
      count((this.#classes[name] ??= emptyTally()), pair)
      if (key[0] === KeyClass.bare) this.#meet(key, value)
      else if (name !== 'cluster') this.#countSection(pair)
    }
    this.#options.onProgress?.(this.#file.position)
  }

  #countSection(pair: Pair): void {
    const id = Buffer.from(pair[0].subarray(0, sectionBytes)).toString('hex')
    let tally = this.#sections.get(id)
    if (tally === undefined) {
      if (this.#sections.size >= sectionsMax) return
      this.#sections.set(id, (tally = emptyTally()))
    }
    count(tally, pair)
  }

  #meet(key: Uint8Array, value: Uint8Array): void {
    const id = Buffer.from(key).toString('latin1')
    const expected = this.#awaited.get(id)
    if (expected === undefined) return
    if (Buffer.compare(expected, value) !== 0) throw this.#wrong('expected the records of its header in the body, got others')
    this.#awaited.delete(id)
  }

  #summary(meta: StateMeta): SnapshotSummary {
    const size = (tally: Tally): number => tally.keyBytes + tally.valueBytes
    const sections = Array.from(this.#sections, ([id, tally]) => ({
      section: id.slice(2, 18),
      class: classNames[Number.parseInt(id.slice(0, 2), 16)] ?? 'cluster',
      ...tally,
    }))
    return {
      header: this.#file.header,
      seal: this.#file.seal(),
      voters: meta.membership.voters,
      learners: meta.membership.learners,
      total: this.#total,
      classes: this.#classes,
      sections: sections.toSorted((a, b) => size(b) - size(a)).slice(0, sectionsShownMax),
      sectionsInAll: this.#sections.size,
    }
  }
}
