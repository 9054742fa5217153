/**
 * What the barrier costs: sealing and opening, reads with and without the cache, and listings of a folder of 10,000 and of 1,000,000 names over a real
 * LevelDB. CPU time is what the main thread used; it hardly depends on what else the machine does, wall time does.
 *
 * Run on a quiet machine: HOLDFAST_FIGURES=bench/results node bench/barrier.ts [--names 10000] [--many 1000000]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createBarrier, type BarrierOptions } from '#barrier/barrier.ts'
import { Envelope } from '#barrier/envelope.ts'
import { Keyring } from '#barrier/keyring.ts'
import { createNameCache, NamespaceNames } from '#barrier/names.ts'
import type { BarrierControl, ListOptions, Section } from '#barrier/types.ts'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import type { Replica } from '#replica/types.ts'
import { serveFixture } from '#test/support/data-folder.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values: flags } = parseArgs({
  options: { names: { type: 'string', default: '10000' }, many: { type: 'string', default: '1000000' } },
})
const kv: Section = { namespace: 'root', mount: 'kv' }
const linear = { kind: 'linearizable' } as const
const off = { valueCacheBytesMax: 0, folderIndexBytesMax: 0, nameCacheBytesMax: 0 }
const perWrite = 10_000

const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}
const rounded = (value: number, digits = 2): number => Math.round(value * 10 ** digits) / 10 ** digits

/** The kernel counts CPU time in ticks of some milliseconds: a round must last for many of them, or it is rounded to nothing. */
const roundCpuMsMin = 100

/** CPU microseconds of one run, best of five rounds. */
async function usOf(runs: number, work: (i: number) => unknown): Promise<number> {
  let best = Infinity
  for (let round = 0; round < 5; round++) {
    const start = cpuMs()
    let done = 0
    while (cpuMs() - start < roundCpuMsMin) {
      for (let i = 0; i < runs; i++) await work(i)
      done += runs
    }
    best = Math.min(best, ((cpuMs() - start) * 1_000) / done)
  }
  return rounded(best)
}

const perSecond = (us: number): number => Math.round(1_000_000 / us)

/** The longest time that passed between two turns of the event loop, on the CPU: what nobody else could use. */
class Turns {
  #start = cpuMs()
  longestMs = 0

  begin(): void {
    this.longestMs = 0
    this.#start = cpuMs()
  }

  end(): void {
    this.longestMs = Math.max(this.longestMs, cpuMs() - this.#start)
    this.#start = cpuMs()
  }

  /** For the barrier's `yieldTurn`. */
  readonly yield = async (): Promise<void> => {
    this.end()
    await nextTurn()
    this.#start = cpuMs()
  }
}

const turns = new Turns()

interface Listed {
  readonly names: number
  readonly cpu_ms: number
  readonly wall_ms: number
  /** The longest turn, on the CPU. */
  readonly longest_turn_cpu_ms: number
  /** The event loop's longest delay meanwhile, as perf_hooks saw it: other processes included. */
  readonly loop_delay_max_ms: number
}

async function listed(barrier: BarrierControl, folder: string, options: ListOptions = {}): Promise<Listed> {
  await nextTurn()
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const [cpu, wall] = [cpuMs(), performance.now()]
  const names = await barrier.read(linear, async (view) => {
    turns.begin()
    const found = await view.list(kv, folder, options)
    turns.end()
    return found.length
  })
  const [cpuEnd, wallEnd] = [cpuMs(), performance.now()]
  await nextTurn()
  delay.disable()
  return {
    names,
    cpu_ms: rounded(cpuEnd - cpu),
    wall_ms: rounded(wallEnd - wall),
    longest_turn_cpu_ms: rounded(turns.longestMs),
    loop_delay_max_ms: rounded(delay.max / 1e6),
  }
}

const rootKey = (): SecretBytes => new SecretBytes(new Uint8Array(32).fill(7))

/** A node of one on a disk; its commands are signed by itself, so that several barriers can be opened over it one after the other. */
async function onDisk(): Promise<{
  open: (options?: Partial<BarrierOptions>) => BarrierControl
  stop: () => Promise<void>
  first: BarrierControl
}> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
  const real = await serveFixture(folder)
  const replica = new Proxy(real, {
    get(target, name) {
      if (name === 'setAuthenticator') return () => {}
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  }) as Replica
  const make = (options: Partial<BarrierOptions> = {}): BarrierControl =>
    createBarrier({ replica, clock: systemClock, random: systemRandom, log: silentLogger, yieldTurn: turns.yield, ...options })
  const first = make()
  await first.initialize(rootKey(), { 'core/seal-config': Buffer.from('{}') })
  return {
    first,
    open: (options) => {
      const barrier = make(options)
      barrier.open(rootKey())
      return barrier
    },
    stop: async () => {
      await real.stop({ handOver: false })
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

const nameOf = (i: number): string => `secret-${String((i * 7_919) % 10_000_019).padStart(8, '0')}`

async function fill(barrier: BarrierControl, folder: string, count: number, valueBytes: number): Promise<void> {
  for (let from = 0; from < count; from += perWrite)
    await barrier.transact(async (tx) => {
      for (let i = from; i < Math.min(count, from + perWrite); i++) tx.put(kv, `${folder}/${nameOf(i)}`, new Uint8Array(valueBytes))
    })
}

async function sealing(): Promise<object> {
  const keyring = Keyring.create(systemRandom, 0)
  const envelope = new Envelope({ random: systemRandom, nodeId: 'bench' })
  const key = systemRandom.bytes(80)
  const figures: Record<string, object> = {}
  for (const bytes of [256, 4_096]) {
    const value = systemRandom.bytes(bytes)
    const record = envelope.seal(keyring, 1, 1, key, value)
    const [seal, open] = [
      await usOf(10_000, () => envelope.seal(keyring, 1, 1, key, value)),
      await usOf(10_000, () => envelope.open(keyring, key, record)),
    ]
    figures[`${bytes} bytes`] = { seal_us: seal, open_us: open, seals_per_second: perSecond(seal), opens_per_second: perSecond(open) }
  }
  const names = (cacheBytes: number) => new NamespaceNames('root', systemRandom.bytes(64), createNameCache(cacheBytes)).section('kv', 0x20)
  const [cold, warm] = [names(0), names(1 << 24)]
  return {
    ...figures,
    'a path of three segments': {
      hide_us: await usOf(5_000, () => cold.leaf('data/team/name')),
      hide_cached_us: await usOf(20_000, () => warm.leaf('data/team/name')),
    },
  }
}

async function reads(house: Awaited<ReturnType<typeof onDisk>>): Promise<object> {
  const figures: Record<string, number> = {}
  const hot = 2_000
  for (const [label, barrier] of [
    ['with the cache', house.open()],
    ['without', house.open(off)],
  ] as const) {
    await barrier.read(linear, async (view) => {
      const us = await usOf(hot, (i) => view.get(kv, `ten/${nameOf(i)}`))
      figures[`get_us, ${label}`] = us
      figures[`gets_per_second, ${label}`] = perSecond(us)
    })
    barrier.close()
  }
  return { of: 'values of 256 bytes in a view, no consensus and no HTTP', ...figures }
}

async function listings(house: Awaited<ReturnType<typeof onDisk>>, folder: string): Promise<object> {
  const barrier = house.open()
  const first = await listed(barrier, folder)
  const again = await listed(barrier, folder)
  await barrier.transact(async (tx) => tx.put(kv, `${folder}/new`, new Uint8Array(16)))
  const afterWrite = await listed(barrier, folder)
  barrier.close()
  const bare = house.open(off)
  const uncached = await listed(bare, folder)
  bare.close()
  return { first, again, 'after a write': afterWrite, 'cache disabled': uncached }
}

/** Pages of 100: one after the other from the start, in the middle, at the end. */
async function pages(house: Awaited<ReturnType<typeof onDisk>>, folder: string, count: number): Promise<object> {
  const sorted = Array.from({ length: count }, (_, i) => nameOf(i)).toSorted()
  const barrier = house.open()
  const page = (at: number): Promise<Listed> =>
    listed(barrier, folder, { limit: 100, ...(at === 0 ? {} : { after: sorted[at - 1] ?? '' }) })
  const first = await page(0)
  const figures: Record<string, Listed> = {
    first,
    'the second': await page(100),
    'in the middle': await page(count / 2),
    'the last': await page(count - 100),
  }
  await barrier.transact(async (tx) => tx.put(kv, `${folder}/new`, new Uint8Array(16)))
  figures['after a write'] = await page(count / 4)
  const { cache } = barrier.status()
  barrier.close()
  return { ...figures, memory_bytes: cache?.bytes ?? 0 }
}

const [names, many] = [Number(flags.names), Number(flags.many)]
const load = loadavg()
const house = await onDisk()
try {
  const sealed = await sealing()
  await fill(house.first, 'ten', names, 256)
  const read = await reads(house)
  const list = await listings(house, 'ten')
  const building = performance.now()
  if (many > 0) await fill(house.first, 'many', many, 16)
  const builtMs = performance.now() - building
  const paged = many > 0 ? await pages(house, 'many', many) : {}
  recordFigures('barrier', `node bench/barrier.ts --names ${names} --many ${many}`, {
    load_average: { before: rounded(load[0] ?? 0), after: rounded(loadavg()[0] ?? 0) },
    'seal and open': sealed,
    read,
    [`list of ${names}`]: list,
    [`pages of 100 of ${many}`]: { ...paged, built_seconds: rounded(builtMs / 1_000, 0) },
  })
} finally {
  await house.stop()
}
