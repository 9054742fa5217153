/**
 * How a secret of version 2 comes over with the numbers of its versions: pure decisions about two states, contents asked for where they decide.
 *
 * The API writes one version after the other and numbers them by itself. So the target writes all from 1 on: those that the source no longer has, or
 * does not show (deleted, destroyed), as empty ones, which then get the source's mark. A copy that was broken off, or of which the source has newer
 * versions by now, is a beginning of the source's versions: the rest is appended. Anything else is a conflict, for a person to decide.
 */
export type VersionState = 'live' | 'deleted' | 'destroyed'

export interface VersionedSecret {
  readonly current: number
  readonly states: ReadonlyMap<number, VersionState>
}

/** Versions that are missing before the oldest one which the source still has are filled up to so many; beyond, its oldest one becomes version 1. */
export const gapVersionsMax = 1_000

export interface VersionPlan {
  /** What is subtracted from the source's numbers. */
  readonly offset: number
  /** Numbers of the source, in order. */
  readonly write: readonly number[]
  /** Numbers of the target, to be marked when all is written. */
  readonly mark: Readonly<Record<'deleted' | 'destroyed', readonly number[]>>
}

/** Contents, asked for one at a time. `same`: of the source's version, and the target's. `blank`: the target's is the empty one of an earlier copy. */
export interface Contents {
  readonly same: (source: number, target: number) => Promise<boolean>
  readonly blank: (target: number) => Promise<boolean>
}

const oldest = ({ states, current }: VersionedSecret): number => Math.min(current === 0 ? 1 : current, ...states.keys())

/** Which numberings to try: the source's own, unless too much would have to be filled up. */
function offsets(source: VersionedSecret, target: VersionedSecret): readonly number[] {
  const gap = oldest(source) - 1
  if (gap <= gapVersionsMax) return [0]
  const complete = source.current - target.current
  return target.current === 0 || complete === gap ? [gap] : [gap, complete].filter((offset) => offset >= 0)
}

/** What is left to do, or why the target's versions are no beginning of the source's. */
export async function versionPlan(source: VersionedSecret, target: VersionedSecret, contents: Contents): Promise<VersionPlan | string> {
  let why = ''
  for (const offset of offsets(source, target)) {
    const found = await planAt(offset, source, target, contents)
    if (typeof found !== 'string') return found
    why = found
  }
  return why
}

async function planAt(offset: number, source: VersionedSecret, target: VersionedSecret, contents: Contents): Promise<VersionPlan | string> {
  if (target.current + offset > source.current) return `the target has version ${target.current}, newer than the source's ${source.current}`
  const mark = { deleted: [] as number[], destroyed: [] as number[] }
  for (const [number, state] of target.states) {
    const wanted = source.states.get(number + offset) ?? 'destroyed'
    const forgotten = number + offset < oldest(source)
    const verdict = await compared(number, state, wanted, forgotten, offset, contents)
    if (verdict === 'differs') return `version ${number} differs`
    if (verdict === 'mark' && wanted !== 'live') mark[wanted].push(number)
  }
  const write: number[] = []
  for (let number = target.current + 1 + offset; number <= source.current; number += 1) {
    const wanted = source.states.get(number) ?? 'destroyed'
    write.push(number)
    if (wanted !== 'live') mark[wanted].push(number - offset)
  }
  return { offset, write, mark }
}

/** `forgotten`: the source does not keep the version any more, so whatever the target has may stay, but for blanks of an earlier copy. */
async function compared(
  number: number,
  state: VersionState,
  wanted: VersionState,
  forgotten: boolean,
  offset: number,
  contents: Contents,
): Promise<'same' | 'mark' | 'differs'> {
  if (forgotten) return state === 'live' && (await contents.blank(number)) ? 'mark' : 'same'
  if (wanted === 'live') return state === 'live' && (await contents.same(number + offset, number)) ? 'same' : 'differs'
  if (state === 'live') return (await contents.blank(number)) ? 'mark' : 'differs'
  return state === wanted || state === 'destroyed' ? 'same' : 'differs'
}
