/**
 * Compiles the patterns of an engine's path table into a trie, so that finding the handler costs a step a segment
 * whatever the size of the table (a list of regular expressions would cost one test a route: sys has over a hundred).
 *
 * A literal segment beats `:name`, which beats `:name*`; a dead end backtracks. After `:name*` literal segments may follow
 * (a mount's `tune`); the longest such tail wins over the bare rest.
 */
import { assert } from '#base/assert.ts'
import type { PathDef } from './types.ts'

export interface PathMatch {
  readonly def: PathDef
  readonly params: Readonly<Record<string, string>>
}

export interface PathTable {
  readonly defs: readonly PathDef[]
  /** `path` below the mount, with or without one trailing slash. null when no pattern fits. */
  match(path: string): PathMatch | null
}

interface RestRoute {
  readonly name: string
  readonly optional: boolean
  readonly tail: readonly string[]
  readonly def: PathDef
}

interface TrieNode {
  readonly literals: Map<string, TrieNode>
  params: { readonly name: string; readonly node: TrieNode }[]
  /** Longest tail first. */
  rests: RestRoute[]
  def: PathDef | null
}

const emptyNode = (): TrieNode => ({ literals: new Map(), params: [], rests: [], def: null })

/** @throws AssertionError when two patterns are the same or one is malformed: a bug in the engine's table. */
export function compilePaths(defs: readonly PathDef[]): PathTable {
  const root = emptyNode()
  for (const def of defs) insert(root, def)
  return { defs, match: (path) => match(root, path) }
}

function insert(root: TrieNode, def: PathDef): void {
  const segments = def.pattern === '' ? [] : def.pattern.split('/')
  let node = root
  for (const [index, segment] of segments.entries()) {
    const rest = /^:(\w+)\*(\??)$/.exec(segment)
    if (rest) {
      insertRest(node, { name: rest[1]!, optional: rest[2] === '?', tail: segments.slice(index + 1), def })
      return
    }
    node = segment.startsWith(':') ? paramChild(node, segment.slice(1)) : literalChild(node, segment, def)
  }
  assert(node.def === null, `expected each pattern once, got '${def.pattern}' twice`)
  node.def = def
}

function insertRest(node: TrieNode, route: RestRoute): void {
  const same = node.rests.some((other) => other.tail.join('/') === route.tail.join('/'))
  assert(!same, `expected each pattern once, got '${route.def.pattern}' twice`)
  assert(
    route.tail.every((segment) => segment !== '' && !segment.startsWith(':')),
    `expected literals after the rest, got '${route.def.pattern}'`,
  )
  node.rests = [...node.rests, route].toSorted((a, b) => b.tail.length - a.tail.length)
}

function paramChild(node: TrieNode, name: string): TrieNode {
  const found = node.params.find((param) => param.name === name)
  if (found) return found.node
  const child = emptyNode()
  node.params = [...node.params, { name, node: child }]
  return child
}

function literalChild(node: TrieNode, segment: string, def: PathDef): TrieNode {
  assert(segment !== '' && !segment.includes(':') && !segment.includes('*'), `malformed pattern '${def.pattern}'`)
  let child = node.literals.get(segment)
  if (!child) node.literals.set(segment, (child = emptyNode()))
  return child
}

function match(root: TrieNode, path: string): PathMatch | null {
  const trimmed = path.endsWith('/') ? path.slice(0, -1) : path
  const segments = trimmed === '' ? [] : trimmed.split('/')
  const captured: [string, string][] = []
  const def = walk(root, segments, 0, captured, path.endsWith('/'))
  if (!def) return null
  const params: Record<string, string> = Object.create(null)
  for (const [name, value] of captured) params[name] = value
  return { def, params }
}

/** Depth is bounded by the pattern's length, work by the table's: each branch consumes a segment of some pattern. */
function walk(node: TrieNode, segments: readonly string[], at: number, captured: [string, string][], listing: boolean): PathDef | null {
  if (at === segments.length) {
    // A folder's slash: where the path itself can't be listed (`leases/lookup`), the rest that may be empty can.
    if (node.def && (!listing || canList(node.def))) return node.def
    return matchRest(node, segments, at, captured) ?? node.def
  } else {
    const segment = segments[at]!
    const literal = node.literals.get(segment)
    const found = literal ? walk(literal, segments, at + 1, captured, listing) : null
    if (found) return found
    if (segment !== '') {
      for (const param of node.params) {
        captured.push([param.name, segment])
        const deeper = walk(param.node, segments, at + 1, captured, listing)
        if (deeper) return deeper
        captured.pop()
      }
    }
  }
  return matchRest(node, segments, at, captured)
}

const canList = ({ operations }: PathDef): boolean => operations.list !== undefined || operations.scan !== undefined

function matchRest(node: TrieNode, segments: readonly string[], at: number, captured: [string, string][]): PathDef | null {
  for (const route of node.rests) {
    const end = segments.length - route.tail.length
    if (end < at || (end === at && !route.optional)) continue
    if (!route.tail.every((literal, index) => segments[end + index] === literal)) continue
    captured.push([route.name, segments.slice(at, end).join('/')])
    return route.def
  }
  return null
}
