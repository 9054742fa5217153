/**
 * What a request costs the one who sends it: the load generator's own HTTP/1.1 against an undici Pool (pipelining 1), both on a bare node:http server,
 * in turns. It decides whose CPU a figure of bench/load is mostly made of.
 *
 *   node bench/generator.ts [--seconds 3] [--turns 5]
 */
import { parseArgs } from 'node:util'
import { Pool } from 'undici'
import { recordFigures } from '#test/support/figures.ts'
import { startBare } from './load/bare.ts'
import { drive } from './load/drive.ts'
import { cpuMicros } from './load/processes.ts'
import { spreadOf } from './load/ratios.ts'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '3' }, turns: { type: 'string', default: '5' } } })
const runMs = Number(values.seconds) * 1_000
const warmUpMs = 500
const connections = 64
const bodyBytes = 700

interface Turn {
  readonly perSecond: number
  readonly generatorUs: number
  readonly serverUs: number
}

const bare = await startBare(bodyBytes, null)
const [address = ''] = bare.addresses
const pid = bare.processes[0]?.pid ?? 0

async function own(): Promise<Turn> {
  const work = {
    name: 'own',
    next: () => 'GET /v1/secret/data/bench HTTP/1.1\r\nHost: bench\r\nX-Vault-Token: s.0123456789abcdefghijklmn\r\n\r\n',
  }
  const settings = {
    addresses: [address],
    ca: null,
    work,
    connections,
    warmUpMs,
    runMs,
    rate: null,
    processes: bare.processes,
    dataDir: null,
  }
  const { requests, seconds, perSecond, generatorCores, servers } = await drive(settings)
  const each = (seconds * 1e6) / requests
  return { perSecond, generatorUs: generatorCores * each, serverUs: (servers[0]?.cores ?? Number.NaN) * each }
}

async function undici(): Promise<Turn> {
  const pool = new Pool(address, { connections, pipelining: 1 })
  const headers = { 'x-vault-token': 's.0123456789abcdefghijklmn' }
  let [done, stop] = [0, false]
  const client = async (): Promise<void> => {
    while (!stop) {
      const { body } = await pool.request({ method: 'GET', path: '/v1/secret/data/bench', headers })
      await body.dump()
      done += 1
    }
  }
  const clients = Array.from({ length: connections }, client)
  const pass = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms))
  await pass(warmUpMs)
  const [before, server, used, startedMs] = [done, cpuMicros(pid) ?? 0, process.cpuUsage(), performance.now()]
  await pass(runMs)
  const [requests, { user, system }, elapsedMs] = [done - before, process.cpuUsage(used), performance.now() - startedMs]
  const serverUs = ((cpuMicros(pid) ?? 0) - server) / requests
  stop = true
  await Promise.all(clients)
  await pool.close()
  return { perSecond: (requests * 1_000) / elapsedMs, generatorUs: (user + system) / requests, serverUs }
}

try {
  const turns: Record<'own' | 'undici', Turn[]> = { own: [], undici: [] }
  for (let turn = 0; turn < Number(values.turns); turn += 1) {
    turns.own.push(await own())
    turns.undici.push(await undici())
  }
  const median = (list: readonly Turn[], what: keyof Turn): number => Number(spreadOf(list.map((turn) => turn[what])).median.toFixed(1))
  const figures = (['own', 'undici'] as const).map((kind) => {
    const list = turns[kind]
    const shown = { per_second: median(list, 'perSecond'), generator_us: median(list, 'generatorUs'), server_us: median(list, 'serverUs') }
    return [kind, shown] as const
  })
  recordFigures('generator', 'node bench/generator.ts', Object.fromEntries(figures))
} finally {
  await bare.stop()
}
