import { existsSync, readFileSync } from 'node:fs'

export interface VectorGroup {
  readonly keySize: number
  readonly ivSize?: number
  readonly tagSize?: number
  readonly tests: readonly Readonly<Record<string, string>>[]
}

const folder = new URL('../../../shared/vectors/', import.meta.url)

/** Wycheproof's test groups in `file`; null where the vectors are not beside the checkout: skip, and say so. */
export function vectorGroups(file: string): readonly VectorGroup[] | null {
  const url = new URL(file, folder)
  if (!existsSync(url)) return null
  return (JSON.parse(readFileSync(url, 'utf8')) as { testGroups: VectorGroup[] }).testGroups
}
