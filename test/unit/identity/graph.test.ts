import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkEdge, groupLevelsMax, groupsWalkedMax, membership } from '#identity/graph.ts'

interface Node {
  readonly id: string
  readonly parentIds: readonly string[]
  readonly memberGroupIds: readonly string[]
}

const nodeCount = 7
const nodeIds = Array.from({ length: nodeCount }, (_, at) => `g${at}`)

/** Edges parent -> member, any at all; those that would close a cycle or repeat one are left out, each on its own. */
type Edge = readonly [number, number]

/** The slow twin: reachability by multiplying the matrix until nothing changes. Shares nothing with the code. */
function reachSlow(edges: readonly Edge[]): boolean[][] {
  const reach = Array.from({ length: nodeCount }, () => Array.from({ length: nodeCount }, () => false))
  for (const [parent, member] of edges) reach[parent]![member] = true
  for (let round = 0; round < nodeCount; round += 1) {
    for (let a = 0; a < nodeCount; a += 1)
      for (let b = 0; b < nodeCount; b += 1) for (let c = 0; c < nodeCount; c += 1) if (reach[a]![b] && reach[b]![c]) reach[a]![c] = true
  }
  return reach
}

/** Groups in the longest line, by trying every one. */
function longestSlow(edges: readonly Edge[]): number {
  const from = (node: number): number => 1 + Math.max(0, ...edges.filter(([parent]) => parent === node).map(([, member]) => from(member)))
  return Math.max(...nodeIds.map((_, at) => from(at)))
}

const graphOf = (edges: readonly Edge[]): Map<string, Node> =>
  new Map(
    nodeIds.map((id, at) => [
      id,
      {
        id,
        parentIds: edges.filter(([, member]) => member === at).map(([parent]) => nodeIds[parent]!),
        memberGroupIds: edges.filter(([parent]) => parent === at).map(([, member]) => nodeIds[member]!),
      },
    ]),
  )

const finder =
  (graph: ReadonlyMap<string, Node>) =>
  async (id: string): Promise<Node | null> =>
    graph.get(id) ?? null

const edge = fc.tuple(fc.nat({ max: nodeCount - 1 }), fc.nat({ max: nodeCount - 1 }))

describe('groups in groups, against a slow twin', () => {
  test('an edge is refused exactly when it would close a cycle; the rest never has one', async () => {
    let refused = 0
    await fc.assert(
      fc.asyncProperty(fc.array(edge, { minLength: 6, maxLength: 18 }), async (wanted) => {
        const edges: Edge[] = []
        for (const [parent, member] of wanted) {
          const closes = reachSlow([...edges, [parent, member]]).some((row, at) => row[at])
          const verdict = await checkEdge(nodeIds[parent]!, nodeIds[member]!, finder(graphOf(edges))).then(
            () => 'taken',
            () => 'refused',
          )
          if (closes) refused += 1
          if (verdict !== (closes ? 'refused' : 'taken')) return false
          if (!closes && !edges.some(([a, b]) => a === parent && b === member)) edges.push([parent, member])
        }
        return true
      }),
      { numRuns: 400 },
    )
    expect(refused).toBeGreaterThan(300)
  })

  test('who is in a group is in all above it, and in no other', async () => {
    let inherited = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(edge, { maxLength: 14 }),
        fc.uniqueArray(fc.nat({ max: nodeCount }), { maxLength: 3 }),
        async (wanted, direct) => {
          const edges = acyclic(wanted)
          const reach = reachSlow(edges)
          // One index beyond the last: a group that is gone.
          const ids = direct.map((at) => nodeIds[at] ?? 'gone')
          const expected = nodeIds.filter((id, at) => ids.includes(id) || direct.some((below) => reach[at]?.[below]))
          const found = await membership(ids, finder(graphOf(edges)))
          inherited += expected.length - ids.filter((id) => id !== 'gone').length
          return JSON.stringify(found.map(({ id }) => id)) === JSON.stringify(expected)
        },
      ),
      { numRuns: 1_000 },
    )
    expect(inherited).toBeGreaterThan(500)
  })

  function acyclic(wanted: readonly Edge[]): Edge[] {
    const edges: Edge[] = []
    for (const next of wanted) if (!reachSlow([...edges, next]).some((row, at) => row[at])) edges.push(next)
    return edges
  }

  test('the longest line is what counts for the depth', async () => {
    const seen = new Set<number>()
    await fc.assert(
      fc.asyncProperty(fc.array(edge, { maxLength: 10 }), async (wanted) => {
        const edges = acyclic(wanted)
        const line = longestSlow(edges)
        seen.add(line)
        // A new group below the deepest end of a line as long as is allowed, less what the graph already has.
        const graph = graphOf(edges)
        const above = groupLevelsMax - line
        const [top] = nodeIds.filter((_, at) => longestFrom(edges, at) === line)
        const chain = chainAbove(above)
        await checkEdge(chain.at(-1) ?? 'none', top!, finder(chain.length === 0 ? graph : chained(graph, chain)))
        const longer = chainAbove(above + 1)
        await expect(checkEdge(longer.at(-1)!, top!, finder(chained(graph, longer)))).rejects.toThrow(/at most 16 in one line/)
      }),
      { numRuns: 60 },
    )
    expect(seen.size).toBeGreaterThan(3)
  })

  const longestFrom = (edges: readonly Edge[], node: number): number =>
    1 + Math.max(0, ...edges.filter(([parent]) => parent === node).map(([, member]) => longestFrom(edges, member)))

  /** `count` groups in one line, the last of which is to get another as its member. */
  const chainAbove = (count: number): string[] => Array.from({ length: count }, (_, at) => `above${at}`)

  const chained = (graph: ReadonlyMap<string, Node>, chain: readonly string[]): Map<string, Node> =>
    new Map([
      ...graph,
      ...chain.map((id, at): [string, Node] => [
        id,
        { id, parentIds: at === 0 ? [] : [chain[at - 1]!], memberGroupIds: at + 1 < chain.length ? [chain[at + 1]!] : [] },
      ]),
    ])

  test('a walk is bounded', async () => {
    const wide = async (id: string): Promise<Node | null> =>
      id === 'hub' ? { id, parentIds: Array.from({ length: groupsWalkedMax + 1 }, (_, at) => `p${at}`), memberGroupIds: [] } : null
    await expect(membership(['hub'], wide)).rejects.toThrow(/at most 4096/)
    await expect(checkEdge('hub', 'other', wide)).rejects.toThrow(/at most 4096/)
  })
})
