/**
 * The algebra of groups in groups. A group's members are members of its parents too, and so on upwards; there is no way back to where one
 * came from. Pure but for how a group is looked up, which is the caller's.
 */
import { HoldfastError } from '#base/errors.ts'

/** Levels of groups above an entity: bounds what one request walks. */
export const groupLevelsMax = 16
/** Groups that one walk may touch. */
export const groupsWalkedMax = 4_096

interface Node {
  readonly id: string
  readonly parentIds: readonly string[]
  readonly memberGroupIds: readonly string[]
}

/** null: there is none of that id (any more). */
export type FindGroup<G> = (id: string) => Promise<G | null>

const tooMany = (): HoldfastError =>
  new HoldfastError('ERR_BAD_REQUEST', `groups expected at most ${groupsWalkedMax} above or below one, got more`, {
    hint: 'put the members into fewer groups',
  })

/** The groups of `direct`, and all that have one of those as a member, at any level; each once, by id. @throws ERR_BAD_REQUEST beyond 4,096. */
export async function membership<G extends Node>(direct: readonly string[], find: FindGroup<G>): Promise<G[]> {
  const found = new Map<string, G>()
  const seen = new Set(direct)
  // `seen` grows while it is walked.
  for (const id of seen) {
    if (seen.size > groupsWalkedMax) throw tooMany()
    const group = await find(id)
    if (group === null) continue
    found.set(id, group)
    for (const parent of group.parentIds) seen.add(parent)
  }
  return [...found.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1))
}

/** Groups in the longest line from `from` along `next`, `from` included; `reaches` is called for each group met. */
async function walk<G extends Node>(
  from: string,
  next: (group: G) => readonly string[],
  find: FindGroup<G>,
  met: (id: string) => void,
): Promise<number> {
  const known = new Map<string, G | null>()
  let level: ReadonlySet<string> = new Set([from])
  let levels = 0
  // A line without a cycle never meets a group twice, so this ends with the longest one; the bound is for a graph that is broken already.
  while (level.size > 0 && levels <= groupLevelsMax) {
    const above = new Set<string>()
    for (const id of level) {
      met(id)
      if (!known.has(id)) known.set(id, await find(id))
      if (known.size > groupsWalkedMax) throw tooMany()
      const group = known.get(id) ?? null
      for (const other of group === null ? [] : next(group)) above.add(other)
    }
    levels += 1
    level = above
  }
  return levels
}

/**
 * Checks that `member` may become a member of `parent`. Where several are to be added, each must be there when the next is checked.
 * @throws ERR_BAD_REQUEST when it would be above or be the same as `parent`, or when more than 16 groups would stand in one line.
 */
export async function checkEdge<G extends Node>(parent: string, member: string, find: FindGroup<G>): Promise<void> {
  let cycle = false
  const above = await walk(
    parent,
    (group) => group.parentIds,
    find,
    (id) => {
      cycle ||= id === member
    },
  )
  if (cycle) throw new HoldfastError('ERR_BAD_REQUEST', `cyclic relationship detected for member group ID ${JSON.stringify(member)}`)
  const below = await walk(
    member,
    (group) => group.memberGroupIds,
    find,
    () => undefined,
  )
  if (above + below <= groupLevelsMax) return
  throw new HoldfastError('ERR_BAD_REQUEST', `groups expected at most ${groupLevelsMax} in one line, got more`, {
    hint: 'make it a member of a group that is nearer to the top',
  })
}
