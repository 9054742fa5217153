/**
 * Many tokens and leases in one node over real LevelDB: what they cost in memory, how soon a new leader serves, how late what is due is ended, and
 * what happens when all of it is due at once.
 *
 *   node bench/leases.ts [--tokens 1000000] [--leases 1000000] [--rate 1000] [--seconds 300] [--burst 1000000]
 *   node bench/leases.ts --nodes 3 [--tokens 20000]
 *
 * With `--nodes` it is server processes whose leader is killed, and only how soon the next one serves and ends what is due (leases-cluster.ts).
 *
 * In one process: the store, the replica and the barrier are the real ones, consensus is alone. What is measured is this process's own clock and memory.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createBarrier } from '#barrier/barrier.ts'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import type { Barrier, Transaction } from '#barrier/types.ts'
import { bootstrapStorage } from '#core/bootstrap.ts'
import { Leasing } from '#core/leasing.ts'
import { MountReader, newMount, writeMounts } from '#core/mounts.ts'
import type { EngineDef } from '#core/types.ts'
import { LeaseLedger } from '#leases/ledger.ts'
import { LeaseStore } from '#leases/store.ts'
import { createNamespaceStore } from '#namespaces/store.ts'
import { createTokenStore } from '#tokens/store.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { serveFixture } from '#test/support/data-folder.ts'
import { recordFigures } from '#test/support/figures.ts'
import { overNodes } from './leases-cluster.ts'

const { values } = parseArgs({
  options: {
    tokens: { type: 'string' },
    leases: { type: 'string', default: '1000000' },
    rate: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '300' },
    burst: { type: 'string', default: '1000000' },
    nodes: { type: 'string', default: '1' },
  },
})
const nodes = Number(values.nodes)
const tokensWanted = Number(values.tokens ?? (nodes > 1 ? 20_000 : 1_000_000))
const perTransaction = 500
/** Of those that fall due a second: as many at one moment as one transaction has made would be what a burst is, and that is measured by itself. */
const perFlowTransaction = 50
const lateMsMax = 2_000

const engine: EngineDef = {
  type: 'bench',
  kind: 'secret',
  description: 'lends what costs nothing to take back',
  paths: () => [],
  leases: { thing: { revoke: async (call) => call.storage.delete(`thing/${String(call.internal.at)}`) } },
}

const folder = mkdtempSync(join(tmpdir(), 'holdfast-leases-'))
const figures: Record<string, number> = {}
const say = (name: string, value: number): void => {
  figures[name] = Math.round(value * 100) / 100
  process.stdout.write(`${name.padEnd(34)} ${figures[name]}\n`)
}
const memoryMb = (): number => {
  globalThis.gc?.()
  return process.memoryUsage().rss / 1_048_576
}
/** Of all threads: what it costs on a machine that others use too. */
const cpuMs = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1_000
}
const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0

try {
  if (nodes > 1) {
    say('load average', loadavg()[0] ?? 0)
    await overNodes({ nodes, standing: tokensWanted, say })
    recordFigures('leases-cluster', `node bench/leases.ts ${process.argv.slice(2).join(' ')}`, figures)
  } else await main()
} finally {
  rmSync(folder, { recursive: true, force: true })
}

/** Another process's memory of the same store: what a node that begins to lead has. */
function leasingOver(barrier: Barrier, term: () => number | null) {
  const leases = new LeaseStore({ random: systemRandom, ledger: new LeaseLedger() })
  const tokens = createTokenStore({ random: systemRandom, leases })
  tokens.setKey(new Uint8Array(32).fill(9))
  const namespaces = createNamespaceStore({ random: systemRandom })
  const options = { barrier, store: leases, tokens, namespaces, clock: systemClock, random: systemRandom, log: silentLogger }
  return { tokens, leasing: new Leasing({ ...options, engines: () => [engine], leads: term }) }
}

async function main(): Promise<void> {
  const replica = await serveFixture(folder)
  const barrier = createBarrier({ replica, clock: systemClock, random: systemRandom, log: silentLogger })
  await barrier.initialize(new SecretBytes(new Uint8Array(32).fill(7)), { 'core/seal-config': Buffer.from('{}') })
  say('load average', loadavg()[0] ?? 0)
  say('processors', availableParallelism())
  let leads: number | null = 1
  const { tokens, leasing } = leasingOver(barrier, () => leads)
  const mounts = new MountReader()
  const { owner, mount } = await barrier.transact(async (transaction) => {
    await bootstrapStorage(transaction, { random: systemRandom, tokens })
    const { entries } = await mounts.read(transaction, 'root')
    const made = newMount(systemRandom, { path: 'bench/', table: 'secret', type: 'bench' })
    writeMounts(transaction, 'root', [...entries, made])
    const params = { parent: null, policies: ['root'], path: 'auth/token/create', displayName: 'owner', ttlSeconds: 0 }
    return { owner: (await tokens.create(transaction, params)).entry, mount: made }
  })
  const baseMb = memoryMb()

  const lend = (transaction: Transaction, token: TokenEntry, at: string, ttlSeconds: number): void => {
    leasing.grant(transaction, mount, `bench/role-${at.length}/${at.slice(-2)}`, token, { type: 'thing', internal: { at }, ttlSeconds })
    transaction.put({ namespace: 'root', mount: mount.uuid }, `thing/${at}`, Uint8Array.of(1))
  }
  const make = async (
    count: number,
    kind: 'token' | 'lease',
    ttlOf: (i: number) => number,
    name: string,
    atOnce: number = perTransaction,
  ): Promise<void> => {
    for (let from = 0; from < count; from += atOnce) {
      await leasing.barrier.transact(async (transaction) => {
        for (let i = from; i < Math.min(count, from + atOnce); i += 1) {
          if (kind === 'lease') lend(transaction, owner, `${name}-${i}`, ttlOf(i))
          else {
            const path = `auth/userpass/login/user-${i % 1_000}`
            await tokens.create(transaction, { parent: null, policies: ['app'], path, displayName: 'bench', ttlSeconds: ttlOf(i) })
          }
        }
      })
    }
  }

  // 1. What stands there and is not due for hours.
  const standing = tokensWanted + Number(values.leases)
  const spread = (i: number): number => 3_600 + ((i * 7_919) % 80_000)
  let startedMs = performance.now()
  let startedCpuMs = cpuMs()
  await make(tokensWanted, 'token', spread, 'token')
  await make(Number(values.leases), 'lease', spread, 'lease')
  say('standing', standing)
  say('registered per second', standing / ((performance.now() - startedMs) / 1_000))
  say('CPU ms for one of them', (cpuMs() - startedCpuMs) / standing)
  say('memory MB before', baseMb)
  say('memory MB with all of them', memoryMb())

  // 2. A new leader: how soon it answers, and when it has looked ahead.
  leads = null
  const next = leasingOver(barrier, () => 2)
  startedMs = performance.now()
  await barrier.read({ kind: 'linearizable' }, async (view) => {
    const [first = ''] = await next.leasing.store.idsBelow(view, 'root', 'bench', 1)
    if ((await next.leasing.good(view, 'root', first)) === null) throw new Error('expected a lease that is good')
  })
  say('new leader answers after ms', performance.now() - startedMs)
  next.leasing.expirer.start()
  while (!next.leasing.expirer.status().filled) await new Promise((resolve) => setTimeout(resolve, 5))
  say('new leader has looked ahead after ms', performance.now() - startedMs)
  say('pending in its memory', next.leasing.expirer.status().pending)
  await next.leasing.expirer.stop()
  leads = 3
  leasing.expirer.start()

  // 3. So many a second, for so long: how late each is gone.
  const [rate, seconds] = [Number(values.rate), Number(values.seconds)]
  const lates: number[] = []
  const due = new Map<string, number>()
  leasing.store.ledger.listen({
    committed: (changes) => {
      const nowMs = Date.now()
      for (const { leaseId, count, due: at } of changes) {
        if (count === 1 && at !== null && at.dueMs < nowMs + 3_000_000) due.set(leaseId, at.dueMs)
        const wanted = count === -1 ? due.get(leaseId) : undefined
        if (wanted === undefined) continue
        lates.push(nowMs - wanted)
        due.delete(leaseId)
      }
    },
    lost: () => {},
  })
  // Half of them tokens, half leases; made ahead, so that making them is not what is measured.
  const leadSeconds = Math.ceil((rate * seconds) / 1_000) + 10
  const madeMs = Date.now()
  const ttlAt = (i: number): number => Math.max(1, leadSeconds + Math.floor(i / (rate / 2)) - Math.floor((Date.now() - madeMs) / 1_000))
  await make((rate * seconds) / 2, 'token', ttlAt, 'flow', perFlowTransaction)
  await make((rate * seconds) / 2, 'lease', ttlAt, 'flow', perFlowTransaction)
  say('flow made after s', (Date.now() - madeMs) / 1_000)
  while (due.size > 0 && Date.now() < madeMs + (leadSeconds + seconds + 120) * 1_000)
    await new Promise((resolve) => setTimeout(resolve, 100))
  lates.sort((a, b) => a - b)
  say('ended of the flow', lates.length)
  say('never ended', due.size)
  say('late ms, median', percentile(lates, 0.5))
  say('late ms, p99', percentile(lates, 0.99))
  say('late ms, worst', lates.at(-1) ?? 0)

  // 4. All at once.
  lates.length = 0
  const burst = Number(values.burst)
  const burstTtl = Math.ceil(burst / 1_500) + 10
  const burstMs = Date.now()
  const until = (): number => Math.max(1, burstTtl - Math.floor((Date.now() - burstMs) / 1_000))
  await make(burst / 2, 'token', until, 'burst')
  await make(burst / 2, 'lease', until, 'burst')
  // A million arguments are more than a call takes.
  const dueMs = due.values().reduce((latest, at) => Math.max(latest, at), 0)
  // A timer may come a millisecond early, and what is due is good until then.
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, dueMs - Date.now()) + 5))
  const sample = [...due.keys()].filter((id) => id.startsWith('bench/')).slice(0, 200)
  const answered = await barrier.read({ kind: 'linearizable' }, async (view) => {
    let good = 0
    for (const id of sample) if ((await leasing.good(view, 'root', id)) !== null) good += 1
    return good
  })
  say('burst', burst)
  say('expired ones that were answered', answered)
  startedMs = performance.now()
  startedCpuMs = cpuMs()
  const before = due.size
  let peakMb = 0
  while (due.size > 0 && performance.now() < startedMs + 3_600_000) {
    peakMb = Math.max(peakMb, process.memoryUsage().rss / 1_048_576)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  say('revocations per second', before / ((performance.now() - startedMs) / 1_000))
  say('CPU ms for one of them, ending', (cpuMs() - startedCpuMs) / Math.max(before, 1))
  say('memory MB at most', Math.max(peakMb, memoryMb()))
  await leasing.expirer.stop()
  barrier.close()
  await replica.stop()
  recordFigures('leases', `node bench/leases.ts ${process.argv.slice(2).join(' ')}`.trim(), figures)
  if ((figures['late ms, p99'] ?? 0) > lateMsMax) process.stdout.write(`p99 is beyond ${lateMsMax} ms\n`)
}
