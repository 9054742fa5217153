/** Appends and applies until it is killed, saying after each what was acknowledged. Arguments: folder, cluster id. */
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import { emptyMeta } from '#store/statemeta.ts'

const [directory = '', clusterId = ''] = process.argv.slice(2)
const log = await openLogStore({ directory, clusterId })
const state = await openStateStore({ directory, clusterId })
let term = log.hardState.term + 1
// A driver persists the term before an entry of it: killed in between, the next run would find an entry that no hard state knows.
await log.append({ term, vote: null, commit: log.hardState.commit }, [])
for (let index = log.lastIndex() + 1; ;) {
  const count = 1 + (index % 5)
  const entries = Array.from({ length: count }, (_, at) => ({
    index: index + at,
    term,
    type: 0 as const,
    data: Buffer.from(`entry ${index + at} of ${term}`),
  }))
  const newTerm = index % 7 === 0
  if (newTerm) term += 1
  await log.append(newTerm ? { term, vote: 'a', commit: index - 1 } : null, newTerm ? [] : entries)
  if (newTerm) {
    process.stdout.write(`term ${term}\n`)
    index += 1
    // The same index again: nothing was appended in this round.
    await log.append(null, [{ index: index - 1, term, type: 0, data: Buffer.from(`entry ${index - 1} of ${term}`) }])
  } else index += count
  const applied = { key: Buffer.from('\x10applied'), value: Buffer.from(String(index - 1)) }
  await state.apply([applied], { ...emptyMeta, applied: index - 1, appliedTerm: term })
  if (index % 50 === 0) await log.compact(Math.min(await state.sync(), index - 20))
  process.stdout.write(`index ${index - 1}\n`)
}
