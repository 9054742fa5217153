/** What the barrier costs by itself, over a replica without disk or network. Run: node bench/barrier.ts */
import { Envelope } from '#barrier/envelope.ts'
import { Keyring } from '#barrier/keyring.ts'
import { createNameCache, NamespaceNames } from '#barrier/names.ts'
import type { Section } from '#barrier/types.ts'
import { systemRandom } from '#base/random.ts'
import { openBarriers } from '#test/support/open-barrier.ts'

const kv: Section = { namespace: 'root', mount: 'kv' }
const linear = { kind: 'linearizable' } as const

/** Microseconds a run, best of five. */
async function time(runs: number, work: (i: number) => unknown): Promise<number> {
  let best = Infinity
  for (let round = 0; round < 5; round++) {
    const start = performance.now()
    for (let i = 0; i < runs; i++) await work(i)
    best = Math.min(best, ((performance.now() - start) * 1_000) / runs)
  }
  return Math.round(best * 100) / 100
}

const figures: Record<string, number> = {}
const keyring = Keyring.create(systemRandom, 0)
const envelope = new Envelope({ random: systemRandom, nodeId: 'bench' })
const key = systemRandom.bytes(80)
const value = systemRandom.bytes(256)
const record = envelope.seal(keyring, 1, 1, key, value)
figures['seal 256 B, us'] = await time(20_000, () => envelope.seal(keyring, 1, 1, key, value))
figures['open 256 B, us'] = await time(20_000, () => envelope.open(keyring, key, record))

const cold = new NamespaceNames('root', systemRandom.bytes(64), createNameCache(0)).section('kv', 0x20)
const warm = new NamespaceNames('root', systemRandom.bytes(64), createNameCache(1 << 24)).section('kv', 0x20)
figures['hide a path of 3 segments, cold, us'] = await time(5_000, () => cold.leaf('data/team/name'))
figures['hide a path of 3 segments, cached, us'] = await time(50_000, () => warm.leaf('data/team/name'))

for (const [label, bytes] of [
  ['caches off', 0],
  ['caches on', 32 << 20],
] as const) {
  const { barrier } = await openBarriers(1, { valueCacheBytesMax: bytes, folderIndexBytesMax: bytes })
  for (let from = 0; from < 10_000; from += 1_000)
    await barrier.transact(async (tx) => {
      for (let i = from; i < from + 1_000; i++) tx.put(kv, `folder/secret-${i}`, Uint8Array.from(value))
    })
  await barrier.read(linear, async (view) => {
    figures[`get 256 B in a view, ${label}, us`] = await time(10_000, (i) => view.get(kv, `folder/secret-${i}`))
  })
  const list = () => barrier.read(linear, (view) => view.list(kv, 'folder'))
  const changeAndList = async (i: number): Promise<void> => {
    await barrier.transact(async (tx) => tx.put(kv, `folder/new-${i}`, Uint8Array.from(value)))
    await list()
  }
  figures[`list 10,000 names, ${label}, us`] = await time(3, list)
  figures[`write one, list 10,000 names, ${label}, us`] = await time(3, changeAndList)
}
for (const [name, figure] of Object.entries(figures)) console.log(name.padEnd(60), figure)
