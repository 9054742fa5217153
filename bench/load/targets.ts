/** What is promised, the command that measures it, and what came out: the rows of docs/performance.md. */
import type { SideFigures } from './report.ts'
import type { Spread } from './ratios.ts'

/** What `--json` keeps, as far as the page reads it. */
export interface LoadRecord {
  readonly name: string
  readonly command: string
  readonly commit: string
  readonly uncommitted_files: number
  readonly date: string
  readonly machine: { readonly cores: number; readonly memory_gib: number; readonly node: string }
  readonly figures: {
    readonly settings: {
      readonly secrets: number
      readonly others: number
      readonly turns: number
      readonly seconds: number
      readonly policy_rules: number
      readonly size_bytes: number
      readonly server: object | string
    }
    readonly versions: Readonly<Record<string, string>>
    readonly fdatasync_ms: { readonly p50: number; readonly p99: number }
    readonly restart_serving_seconds: number | null
    readonly measured: readonly MeasuredRecord[]
  }
}

export interface MeasuredRecord {
  readonly work: string
  readonly connections: number
  readonly sides: readonly SideFigures[]
  readonly ratio: { readonly per_second: Spread; readonly serving_cpu: Spread | null; readonly p99: Spread | null } | null
}

export interface Outcome {
  readonly text: string
  /** null: the target is not a number. */
  readonly met: boolean | null
}

export interface Target {
  /** Of the file bench/results/load-NAME.json. */
  readonly name: string
  readonly work: string
  readonly target: string
  /** Behind `npm run bench -- `; the file is added. */
  readonly options: string
  /** `all`: every record that there is, by name, for what is held against another run. */
  readonly outcome: (record: LoadRecord, all: ReadonlyMap<string, LoadRecord>) => Outcome
}

const fixed = (value: number, digits = 2): string => value.toFixed(digits)
const spread = ({ median, lowest, highest }: Spread): string => `${fixed(median)} (${fixed(lowest)} to ${fixed(highest)})`
const cpuUsMax = 80
const partOfBareMin = 0.6
const p99OfBareMax = 5

function measuredOf(record: LoadRecord, work: string, connections?: number): MeasuredRecord {
  const found = record.figures.measured.find((one) => one.work === work && (connections === undefined || one.connections === connections))
  if (found === undefined)
    throw new Error(`${record.name}: expected ${work} to be measured, got ${record.figures.measured.map((one) => one.work).join(', ')}`)
  return found
}

/** Against a bare node:http server: CPU, answers, p99. */
function besideBare(record: LoadRecord): Outcome {
  const { sides, ratio } = measuredOf(record, 'kv-read')
  const [own] = sides
  if (own === undefined || ratio === null) throw new Error(`${record.name}: expected a comparison with bare, got none`)
  const [cpu, part, p99] = [own.serving_cpu_us ?? Number.NaN, ratio.per_second.median, ratio.p99?.median ?? Number.NaN]
  return {
    text: `${fixed(cpu, 1)} us of CPU; ${spread(ratio.per_second)} of bare's answers; p99 ${fixed(p99)} times bare's`,
    met: cpu <= cpuUsMax && part >= partOfBareMin && p99 < p99OfBareMax,
  }
}

/** Requests a second, the first side over the second. */
const beside =
  (wanted: Readonly<Record<string, number>>) =>
  (record: LoadRecord): Outcome => {
    const parts = Object.entries(wanted).map(([work, least]) => ({ work, least, ratio: measuredOf(record, work).ratio }))
    return {
      text: parts.map(({ work, ratio }) => `${work} ${ratio === null ? 'not compared' : spread(ratio.per_second)}`).join('; '),
      met: parts.every(({ ratio, least }) => ratio !== null && ratio.per_second.median >= least),
    }
  }

function batching(record: LoadRecord): Outcome {
  const own = (connections: number): SideFigures => {
    const [side] = measuredOf(record, 'kv-write', connections).sides
    if (side === undefined) throw new Error(`${record.name}: expected figures, got none`)
    return side
  }
  const [few, many] = [own(16), own(512)]
  const text = (side: SideFigures): string =>
    `${Math.round(side.per_second)}/s, ${side.all_cpu_us ?? '?'} us, ${side.disk_flushes_per_request ?? '?'} flushes`
  const falls = (a: number | null, b: number | null): boolean => a !== null && b !== null && b < a
  return {
    text: `16: ${text(few)}; 512: ${text(many)}`,
    met:
      many.per_second >= few.per_second &&
      falls(few.all_cpu_us, many.all_cpu_us) &&
      falls(few.disk_flushes_per_request, many.disk_flushes_per_request),
  }
}

function singleClient(record: LoadRecord): Outcome {
  const [own] = measuredOf(record, 'kv-write', 1).sides
  const disk = record.figures.fdatasync_ms.p50
  const over = (own?.latency_ms.p50 ?? Number.NaN) - disk
  return {
    text: `p50 ${fixed(own?.latency_ms.p50 ?? Number.NaN)} ms, one fdatasync ${fixed(disk)} ms: ${fixed(over)} ms over`,
    met: over <= 1.5,
  }
}

function memory(record: LoadRecord): Outcome {
  const processes = measuredOf(record, 'kv-write').sides[0]?.processes ?? []
  const held = processes.map((each) => each.resident_mib ?? Number.NaN)
  const text = processes.map(
    ({ resident_mib: mib, resident_files_mib: files }) => `${mib ?? '?'} MiB${files ? `, ${files} of them pages of files` : ''}`,
  )
  return { text: text.join('; '), met: held.length > 0 && Math.max(...held) < 250 }
}

/** One thread serves. What the others and the generator leave of the cores bounds what a second one could bring, were it to cost nothing. */
function oneThread(record: LoadRecord): Outcome {
  const side = measuredOf(record, 'kv-read').sides[0]
  const server = side?.processes[0]
  if (side === undefined || server === undefined) throw new Error(`${record.name}: expected a server of this machine, got none`)
  const { cores } = record.machine
  const used = (server.cores ?? Number.NaN) + side.generator_cores
  const shares = Object.entries(server.threads ?? {}).map(([kind, share]) => `${kind} ${fixed(share)}`)
  const bound = cores / used
  return {
    text: `one thread: ${Math.round(side.per_second)}/s with ${[...shares, `generator ${fixed(side.generator_cores)}`].join(', ')} of ${cores} cores: two could serve at most ${fixed(bound)} times as many`,
    met: null,
  }
}

/** Reads beside those of a run with fewer secrets. */
function million(record: LoadRecord, all: ReadonlyMap<string, LoadRecord>): Outcome {
  const few = all.get('load-secrets-10k')
  const seconds = record.figures.restart_serving_seconds
  const rate = (each: LoadRecord): number => measuredOf(each, 'kv-read').sides[0]?.per_second ?? Number.NaN
  const part = few === undefined ? Number.NaN : rate(record) / rate(few)
  return {
    text: `${few === undefined ? 'no run with 10,000 to hold it against' : `${fixed(part)} of the reads at 10,000`}; ${seconds === null ? 'no restart' : `${fixed(seconds)} s until it served`}`,
    met: part >= 0.75 && seconds !== null && seconds < 5,
  }
}

const growth = (record: LoadRecord): Outcome => {
  const text = record.figures.measured.map(({ work, sides }) => `${work} ${Math.round(sides[0]?.per_second ?? 0)}/s`).join(', ')
  return { text, met: null }
}

// A hundred thousand secrets are not all in the caches after a second of warming up.
const reads = '--work kv-read --secrets 100000 --turns 5 --warm-up 10 --compare bare'
const readTarget = `at most ${cpuUsMax} us of CPU on the serving process, ${partOfBareMin * 100} % of bare's answers, p99 under ${p99OfBareMax} times bare's`

function readRow(name: string, way: string, options: string): Target {
  return {
    name: `read-${name}`,
    work: `linearizable kv-v2 read, ${way}`,
    target: readTarget,
    options: `${reads}${options}`,
    outcome: besideBare,
  }
}

function growthRow(name: string, what: string, options: string): Target {
  return {
    name,
    work: `growth: ${what}`,
    target: 'drawn as curves',
    options: `--work kv-read,kv-write --nodes 1 ${options}`,
    outcome: growth,
  }
}

export const targets: readonly Target[] = [
  readRow('leader', 'leader', ''),
  readRow('follower', 'follower', ' --via follower'),
  readRow('leader-tls', 'leader, TLS', ' --tls'),
  readRow('follower-tls', 'follower, TLS', ' --via follower --tls'),
  readRow('leader-no-audit', 'leader, audit off', ' --no-audit'),
  {
    name: 'write-etcd',
    work: 'durable kv-v2 writes',
    target: "2x etcd's puts",
    options: '--work kv-write --turns 5 --compare etcd',
    outcome: beside({ 'kv-write': 2 }),
  },
  {
    name: 'batching',
    work: 'batching',
    target: 'CPU and flushes a write fall from 16 to 512 connections, and throughput does not',
    options: '--work kv-write --connections 16,64,512',
    outcome: batching,
  },
  {
    name: 'single',
    work: 'one client, one write after another',
    target: 'within 1.5 ms of the fdatasync that it waits for',
    options: '--work kv-write --connections 1',
    outcome: singleClient,
  },
  {
    name: 'memory',
    work: 'memory of a node with 100,000 secrets',
    target: 'under 250 MiB',
    options: '--work kv-read,kv-write --secrets 100000 --nodes 1',
    outcome: memory,
  },
  {
    name: 'threads',
    work: 'worker threads',
    target: 'two serve at least 1.7 times one, or what shares the core is told',
    options: '--work kv-read --nodes 1 --secrets 10000 --turns 5 --warm-up 5',
    outcome: oneThread,
  },
  growthRow('secrets-10k', '10,000 secrets', '--secrets 10000'),
  growthRow('secrets-100k', '100,000 secrets', '--secrets 100000'),
  {
    ...growthRow('secrets-1m', '1 million secrets', '--secrets 1000000 --restart'),
    target: 'reads within 25 % of those at 10,000; start to serving under 5 s',
    outcome: million,
  },
  growthRow('others-1', '1 policy and token of others', '--others 1'),
  growthRow('others-1k', '1,000 policies and tokens of others', '--others 1000'),
  growthRow('others-100k', '100,000 policies and tokens of others', '--others 100000'),
  {
    name: 'tls',
    work: 'TLS 1.3, keep-alive',
    target: 'plain at most 1.33 times as fast (within 25 %)',
    options: '--work kv-read,kv-write --turns 5 --compare tls',
    outcome: withinTls,
  },
  {
    name: 'openbao',
    work: 'against OpenBao',
    target: '3x its kv-v2 reads, 5x its durable writes',
    options: '--work kv-read,kv-write --turns 5 --compare openbao',
    outcome: beside({ 'kv-read': 3, 'kv-write': 5 }),
  },
]

function withinTls(record: LoadRecord): Outcome {
  const parts = ['kv-read', 'kv-write'].map((work) => ({
    work,
    part: 1 / (measuredOf(record, work).ratio?.per_second.median ?? Number.NaN),
  }))
  return {
    text: parts.map(({ work, part }) => `${work} with TLS ${fixed(part)} of plain`).join('; '),
    met: parts.every(({ part }) => part >= 0.75),
  }
}
