/** What a namespace may be called, and how many there may be. */
import { HoldfastError } from '#base/errors.ts'

export const namespaceLimits = {
  /** Namespaces inside each other: every request of the innermost reads one record a level. */
  depthMax: 16,
  nameBytesMax: 128,
  pathBytesMax: 1_024,
  /** In a cluster, at all depths together. */
  countMax: 16_384,
  metadataPairsMax: 64,
  metadataKeyBytesMax: 128,
  metadataValueBytesMax: 512,
} as const

/**
 * What stands for something else in a path, in whatever letter case: mounts of the house, the root itself (a namespace of that name was taken for it,
 * GHSA-mwr2-wmgp-crj6), and the words that may follow a namespace's path under sys/namespaces/.
 */
const reserved: ReadonlySet<string> = new Set([
  'root',
  'sys',
  'audit',
  'auth',
  'cubbyhole',
  'identity',
  'api-lock',
  'seal',
  'unseal',
  'seal-status',
  'delete-sealed',
  'rotate',
  'key-status',
  'rekey',
])

const bad = (message: string, hint?: string): HoldfastError =>
  new HoldfastError('ERR_BAD_REQUEST', message, hint === undefined ? {} : { hint })

/**
 * Checks one segment of a namespace's path.
 * @throws ERR_BAD_REQUEST: reserved, empty, '.' or '..', too long, or with a character that means something in a path or a policy.
 */
export function checkNamespaceName(name: string): string {
  const shown = JSON.stringify(name.slice(0, 64))
  if (name === '') throw bad('namespace name cannot be empty')
  if (name === '.' || name === '..') throw bad(`${shown} is a reserved path and cannot be used as a namespace name`)
  if (reserved.has(name.toLowerCase())) throw bad(`${shown} is a reserved path and cannot be used as a namespace name`)
  const bytes = Buffer.byteLength(name)
  if (bytes > namespaceLimits.nameBytesMax) {
    throw bad(`namespace name expected at most ${namespaceLimits.nameBytesMax} bytes, got ${bytes}`)
  }
  // No '+', '*' or '{': the name stands before every path of the namespace's policies, where they would match its siblings. No white space, nothing
  // invisible, one spelling only: two namespaces that look alike would be taken for each other.
  if (!/^[\p{L}\p{N}_~@.][\p{L}\p{N}\p{M}_~@.-]*$/u.test(name) || name.normalize('NFC') !== name) {
    throw bad(`${shown} cannot be used as a namespace name`, "letters, digits and any of '_', '-', '.', '~', '@'")
  }
  return name
}

/** The names of a path; [] for ''. Slashes at its ends do not count. */
export function namespaceSegments(path: string): string[] {
  const clean = path.replace(/^\/+|\/+$/g, '')
  return clean === '' ? [] : clean.split('/')
}

/** @throws ERR_BAD_REQUEST for pairs that are no text, too many of them, or too large. */
export function checkNamespaceMetadata(metadata: Readonly<Record<string, unknown>>): Record<string, string> {
  const pairs = Object.entries(metadata)
  const { metadataPairsMax, metadataKeyBytesMax, metadataValueBytesMax } = namespaceLimits
  if (pairs.length > metadataPairsMax) throw bad(`custom_metadata expected at most ${metadataPairsMax} pairs, got ${pairs.length}`)
  for (const [key, value] of pairs) {
    if (typeof value !== 'string') throw bad('custom_metadata values must be strings')
    if (key === '' || Buffer.byteLength(key) > metadataKeyBytesMax) {
      throw bad(`custom_metadata keys expected 1 to ${metadataKeyBytesMax} bytes, got ${Buffer.byteLength(key)}`)
    }
    const bytes = Buffer.byteLength(value)
    if (bytes > metadataValueBytesMax) throw bad(`custom_metadata values expected at most ${metadataValueBytesMax} bytes, got ${bytes}`)
  }
  return Object.fromEntries(pairs) as Record<string, string>
}
