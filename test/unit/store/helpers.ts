import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import type { Entry } from '#raft/types.ts'

const made: string[] = []

/** A fresh folder, removed after the test. */
export function temporaryFolder(): string {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-store-'))
  made.push(path)
  return path
}

afterEach(() => {
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true })
})

export function entry(index: number, term: number, text = `data ${index}/${term}`): Entry {
  return { index, term, type: 0, data: new Uint8Array(Buffer.from(text)) }
}

export function run(first: number, last: number, term: number, dataBytes = 0): Entry[] {
  return Array.from({ length: last - first + 1 }, (_, at) => entry(first + at, term, dataBytes > 0 ? 'x'.repeat(dataBytes) : undefined))
}

export const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
export const text = (value: Uint8Array | undefined): string | undefined => (value === undefined ? undefined : Buffer.from(value).toString())

/** Data of entries as plain values, to compare whatever kind of buffer holds them. */
export const plain = (entries: readonly Entry[] | null): unknown => entries?.map((each) => ({ ...each, data: text(each.data) })) ?? null
