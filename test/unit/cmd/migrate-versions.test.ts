/** The plan by which a secret's versions come over: whatever the source keeps, wherever a copy was broken off, the end is the same, and once. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  gapVersionsMax,
  versionPlan,
  type VersionedSecret,
  type VersionPlan,
  type VersionState,
} from '#cmd/commands/migrate/kv-versions.ts'

/** An engine of version 2, as far as its numbers go. Contents are what was written; '' is the empty one. */
class Engine implements VersionedSecret {
  current = 0
  readonly states = new Map<number, VersionState>()
  readonly texts = new Map<number, string>()
  write(text: string): void {
    this.current += 1
    this.states.set(this.current, 'live')
    this.texts.set(this.current, text)
  }
  forget(below: number): void {
    for (const number of this.states.keys()) if (number < below) this.states.delete(number)
  }
  shown(number: number): string | null {
    return this.states.get(number) === 'live' ? (this.texts.get(number) ?? null) : null
  }
}

const planOf = (source: Engine, target: Engine): Promise<VersionPlan | string> =>
  versionPlan(source, target, {
    same: async (number, there) => source.shown(number) !== null && source.shown(number) === target.shown(there),
    blank: async (there) => target.shown(there) === '',
  })

/** Carries out the first `steps` of the plan: writes, then marks. */
function apply(source: Engine, target: Engine, plan: VersionPlan, steps: number): void {
  const todo = [
    ...plan.write.map((number) => () => target.write(source.shown(number) ?? '')),
    ...(['deleted', 'destroyed'] as const).flatMap((mark) => plan.mark[mark].map((number) => () => void target.states.set(number, mark))),
  ]
  for (const step of todo.slice(0, steps)) step()
}

const state = fc.constantFrom<VersionState>('live', 'live', 'deleted', 'destroyed')
const history = fc.record({
  states: fc.array(state, { minLength: 1, maxLength: 9 }),
  oldest: fc.integer({ min: 1, max: 9 }),
  stops: fc.array(fc.nat({ max: 12 }), { maxLength: 3 }),
})

function sourceOf(states: readonly VersionState[], oldest: number): Engine {
  const source = new Engine()
  for (const at of states.keys()) source.write(`text ${at}`)
  for (const [at, one] of states.entries()) source.states.set(at + 1, one)
  source.forget(Math.min(oldest, states.length))
  return source
}

async function planned(source: Engine, target: Engine): Promise<VersionPlan> {
  const plan = await planOf(source, target)
  if (typeof plan === 'string') throw new Error(plan)
  return plan
}

test('broken off anywhere, it goes on and ends with the same versions, states and contents', async () => {
  await fc.assert(
    fc.asyncProperty(history, async ({ states, oldest, stops }) => {
      const source = sourceOf(states, oldest)
      const target = new Engine()
      for (const steps of [...stops, Infinity]) apply(source, target, await planned(source, target), steps)
      expect(target.current).toBe(source.current)
      for (const [number, wanted] of source.states) {
        expect(target.states.get(number)).toBe(wanted)
        expect(target.shown(number)).toBe(source.shown(number))
      }
      // What the source has forgotten is nobody's empty secret here.
      for (const [number, there] of target.states) if (!source.states.has(number)) expect(there).toBe('destroyed')
      expect(await planned(source, target)).toEqual({ offset: 0, write: [], mark: { deleted: [], destroyed: [] } })
    }),
    { numRuns: 500 },
  )
})

test("somebody else's version is never written over", async () => {
  await fc.assert(
    fc.asyncProperty(history, fc.nat({ max: 9 }), async ({ states, oldest }, before) => {
      const source = sourceOf(states, oldest)
      const target = new Engine()
      apply(source, target, await planned(source, target), Math.min(before, states.length))
      target.write('mine')
      const plan = await planOf(source, target)
      const forgotten = target.current < Math.min(...source.states.keys())
      if (!forgotten) expect(plan).toEqual(expect.any(String))
      else if (typeof plan !== 'string') expect([...plan.mark.deleted, ...plan.mark.destroyed]).not.toContain(target.current)
    }),
    { numRuns: 500 },
  )
})

test('numbers begin at 1 where too many are missing, and a second run knows it', async () => {
  const source = new Engine()
  source.current = gapVersionsMax + 3
  for (const number of [source.current - 1, source.current]) {
    source.states.set(number, 'live')
    source.texts.set(number, `text ${number}`)
  }
  const target = new Engine()
  const plan = await planned(source, target)
  expect(plan).toEqual({ offset: gapVersionsMax + 1, write: [source.current - 1, source.current], mark: { deleted: [], destroyed: [] } })
  apply(source, target, plan, Infinity)
  expect([target.current, (await planned(source, target)).write]).toEqual([2, []])
})
