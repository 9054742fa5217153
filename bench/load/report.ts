/** What came out, as lines for a person and as JSON. */
import { Latencies, type LatencySummary } from './latency.ts'
import type { Driven } from './drive.ts'
import { spreadOf, type Spread } from './ratios.ts'

export interface SideFigures {
  readonly label: string
  readonly per_second: number
  readonly per_second_turns: readonly number[]
  readonly latency_ms: LatencySummary
  /** Of all turns; empty: none. */
  readonly errors: Readonly<Record<string, number>>
  /** The process that answers most of the load, in microseconds of CPU a request; null: not on this machine. */
  readonly serving_cpu_us: number | null
  /** All processes of the side. */
  readonly all_cpu_us: number | null
  readonly processes: readonly {
    readonly name: string
    readonly cores: number | null
    readonly resident_mib: number | null
    /** Pages of files, of these; absent in records of before it was taken. */
    readonly resident_files_mib?: number | null
    /** Cores by kind of thread, those above a hundredth of one. */
    readonly threads?: Readonly<Record<string, number>>
  }[]
  /** Of the disk, by whoever on this machine; null: unknown. */
  readonly disk_flushes_per_request: number | null
  readonly generator_cores: number
  readonly generator_share: number | null
  /** At a rate: what was asked, how late the generator itself was, and how much was left unsent. */
  readonly open: { readonly rate: number; readonly late_ms: LatencySummary; readonly backlog: number } | null
}

/** Less is nothing that anybody looks for. */
const threadCoresMin = 0.01
const rounded = (value: number, digits: number): number => Number(value.toFixed(digits))
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

/** The turns of one side as one. `rate`: null for closed. */
export function figuresOf(label: string, turns: readonly Driven[], rate: number | null): SideFigures {
  const [first] = turns
  if (first === undefined) throw new Error('expected at least one turn, got none')
  const [latencies, lateness] = [new Latencies(), new Latencies()]
  const errors: Record<string, number> = {}
  for (const turn of turns) {
    latencies.add(turn.latencies)
    lateness.add(turn.lateness)
    for (const [status, count] of Object.entries(turn.errors)) errors[status] = (errors[status] ?? 0) + count
  }
  const cores = first.servers.map((_, i) => mean(turns.map((turn) => turn.servers[i]?.cores ?? Number.NaN)))
  const [requests, seconds] = [mean(turns.map((turn) => turn.requests)), mean(turns.map((turn) => turn.seconds))]
  const perRequest = (busy: number): number | null =>
    Number.isFinite(busy) && requests > 0 ? rounded((busy * seconds * 1e6) / requests, 1) : null
  const generator = mean(turns.map((turn) => turn.generatorCores))
  const all = cores.length === 0 ? Number.NaN : cores.reduce((sum, each) => sum + each, 0)
  return {
    label,
    per_second: rounded(spreadOf(turns.map((turn) => turn.perSecond)).median, 1),
    per_second_turns: turns.map((turn) => rounded(turn.perSecond, 1)),
    latency_ms: latencies.summary(),
    errors,
    serving_cpu_us: cores.length === 0 ? null : perRequest(Math.max(...cores)),
    all_cpu_us: perRequest(all),
    processes: first.servers.map(({ name }, i) => ({
      name,
      cores: Number.isFinite(cores[i]) ? rounded(cores[i]!, 3) : null,
      resident_mib: turns.at(-1)?.servers[i]?.resident?.all ?? null,
      resident_files_mib: turns.at(-1)?.servers[i]?.resident?.files ?? null,
      threads: threadsOf(turns, i),
    })),
    disk_flushes_per_request: flushesOf(turns),
    generator_cores: rounded(generator, 3),
    generator_share: Number.isFinite(all) ? rounded(generator / (generator + all), 3) : null,
    open: rate === null ? null : { rate, late_ms: lateness.summary(), backlog: Math.max(...turns.map((turn) => turn.backlog)) },
  }
}

/** The mean of the turns, the busiest first. */
function threadsOf(turns: readonly Driven[], process: number): Record<string, number> {
  const kinds = new Set(turns.flatMap((turn) => [...(turn.servers[process]?.threads.keys() ?? [])]))
  const means = [...kinds].map(
    (kind) => [kind, rounded(mean(turns.map((turn) => turn.servers[process]?.threads.get(kind) ?? 0)), 3)] as const,
  )
  return Object.fromEntries(means.filter(([, cores]) => cores > threadCoresMin).toSorted(([, a], [, b]) => b - a))
}

function flushesOf(turns: readonly Driven[]): number | null {
  const requests = turns.reduce((sum, turn) => sum + turn.requests, 0)
  const flushes = turns.map((turn) => turn.flushes).filter((each) => each !== null)
  return flushes.length < turns.length || requests === 0 ? null : rounded(flushes.reduce((sum, each) => sum + each, 0) / requests, 3)
}

const ms = (value: number): string => (value < 10 ? value.toFixed(2) : value.toFixed(0))

/** Some lines of one side. */
export function linesOf(figures: SideFigures): string[] {
  const { latency_ms: late, errors, open } = figures
  const failed = Object.entries(errors).map(([status, count]) => `${count}x ${status}`)
  const lines = [
    `  ${figures.label}: ${Math.round(figures.per_second)} requests/s (${spreadText(spreadOf(figures.per_second_turns), 0)}), ` +
      `p50 ${ms(late.p50)} p90 ${ms(late.p90)} p99 ${ms(late.p99)} p99.9 ${ms(late.p999)} max ${ms(late.max)} ms`,
  ]
  const busy = figures.processes.map(
    ({ name, cores, resident_mib: mib }) => `${name} ${cores ?? '?'} cores${mib === null ? '' : `, ${mib} MiB`}`,
  )
  const cpu =
    figures.serving_cpu_us === null
      ? 'CPU of the server unknown (not of this machine)'
      : `${figures.serving_cpu_us} us of CPU a request on the busiest process, ${figures.all_cpu_us} on all`
  lines.push(`    ${cpu}${busy.length === 0 ? '' : ` (${busy.join('; ')})`}`)
  if (figures.disk_flushes_per_request !== null)
    lines.push(`    ${figures.disk_flushes_per_request} flushes of the disk a request (of the whole machine)`)
  const share = figures.generator_share === null ? '' : `, ${Math.round(figures.generator_share * 100)} % of what both used`
  lines.push(
    `    generator ${figures.generator_cores} cores${share}${figures.generator_cores > 0.9 ? ': AT ITS LIMIT, the server may be faster' : ''}`,
  )
  if (open !== null) {
    lines.push(
      `    at a rate of ${Math.round(open.rate)}/s; the generator itself late by p50 ${ms(open.late_ms.p50)} p99 ${ms(open.late_ms.p99)} ms, ${open.backlog} left unsent`,
    )
  }
  if (failed.length > 0) lines.push(`    ERRORS: ${failed.join(', ')}`)
  return lines
}

export function spreadText({ median, lowest, highest }: Spread, digits: number): string {
  return `median ${median.toFixed(digits)}, ${lowest.toFixed(digits)} to ${highest.toFixed(digits)}`
}
