/**
 * Test vectors in Wycheproof's form, and the implementations that must agree with them. Published ones are read where they stand beside the checkout; a small set
 * of our own making is committed (test/fixtures/vectors, made by scripts/make-vectors.ts), so that a clone elsewhere still proves something.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'

/** One vector; all values hex but `comment`, `result` and `size`. */
export interface Vector {
  readonly tcId: number
  readonly result: 'valid' | 'invalid' | 'acceptable'
  readonly comment?: string
  readonly [field: string]: unknown
}

export interface VectorGroup {
  readonly keySize?: number
  readonly ivSize?: number
  readonly tagSize?: number
  readonly publicKey?: { readonly pk: string }
  readonly tests: readonly Vector[]
}

export interface VectorFile {
  readonly algorithm: string
  readonly numberOfTests: number
  readonly testGroups: readonly VectorGroup[]
}

export interface VectorSource {
  readonly name: 'published' | 'committed'
  /** @throws when it has no such file: a source that is there is there as a whole. */
  readonly read: (file: string) => VectorFile
}

export const committedFolder = new URL('../fixtures/vectors/', import.meta.url)
const publishedFolder = new URL('../../../shared/vectors/', import.meta.url)

const sourceOf = (name: VectorSource['name'], folder: URL): VectorSource => ({
  name,
  read: (file) => JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as VectorFile,
})

export const publishedIsHere = existsSync(publishedFolder) && readdirSync(publishedFolder).some((name) => name.endsWith('_test.json'))

/** What this checkout can be held against. */
export function vectorSources(): readonly VectorSource[] {
  const committed = sourceOf('committed', committedFolder)
  return publishedIsHere ? [sourceOf('published', publishedFolder), committed] : [committed]
}

/** The bytes of a hex field; empty when absent. */
export function bytesOf(vector: Vector, field: string): Buffer {
  const text = vector[field]
  return Buffer.from(typeof text === 'string' ? text : '', 'hex')
}
