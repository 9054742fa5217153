import { expect, test } from 'vitest'
import { Compactor } from '#replica/compactor.ts'
import type { Driver } from '#replica/driver.ts'

interface Given {
  readonly applied: number
  /** Up to where `sync` makes the state durable. */
  readonly synced: number
  readonly lowestIndex: number
  readonly checkedIndex?: number
  readonly handed?: number
}

/** What a compactor does with a log of 100 entries, of which it should keep ten. */
async function compact({ applied, synced, lowestIndex, checkedIndex = Infinity, handed = Infinity }: Given): Promise<string[]> {
  const done: string[] = []
  const state = {
    meta: { applied },
    sync: () => {
      done.push('sync')
      return Promise.resolve(synced)
    },
  }
  const log = {
    stats: () => ({ entries: 100, bytes: 1_000 }),
    firstIndex: () => 1,
    lastIndex: () => 100,
    compact: (index: number) => {
      done.push(`compact ${index}`)
      return Promise.resolve()
    },
  }
  const settings = { trailingEntries: 10, logBytesMax: 1_000_000 }
  const chain = { checkedIndex }
  const driver = {
    options: { log, state },
    settings,
    chain,
    handed,
    repair: { reason: null },
    outgoing: { lowestIndex: () => lowestIndex },
    running: true,
    fail: () => {},
  }
  const compactor = new Compactor(driver as unknown as Driver)
  for (let tick = 0; tick < 20; tick += 1) compactor.tick()
  await compactor.idle()
  return done
}

test('the log is compacted only up to what was made durable before', async () => {
  expect(await compact({ applied: 100, synced: 100, lowestIndex: Infinity })).toEqual(['sync', 'compact 90'])
  expect(await compact({ applied: 100, synced: 42, lowestIndex: Infinity })).toEqual(['sync', 'compact 42'])
  expect(await compact({ applied: 60, synced: 60, lowestIndex: Infinity })).toEqual(['sync', 'compact 60'])
})

test('what the receiver of a snapshot will need next is kept', async () => {
  expect(await compact({ applied: 100, synced: 100, lowestIndex: 33 })).toEqual(['sync', 'compact 33'])
})

test('what a sealed node has not checked is kept until it can', async () => {
  expect(await compact({ applied: 100, synced: 100, lowestIndex: Infinity, checkedIndex: 20 })).toEqual(['sync', 'compact 20'])
})

test('what the core has still to hand out is kept, though a state that was fetched beside it covers it', async () => {
  expect(await compact({ applied: 100, synced: 100, lowestIndex: Infinity, handed: 4 })).toEqual(['sync', 'compact 4'])
})
