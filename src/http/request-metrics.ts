/**
 * How many requests were answered, with what, and how long each took: counted where answers are written, so that what never reached the core is counted too.
 * Labels are bounded: methods and classes of status, nothing that a client chooses.
 */

/** Upper bounds, in seconds. A read in memory takes less than the first; the last is the listener's usual limit. */
const bucketSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 90] as const
const bucketMs = bucketSeconds.map((seconds) => seconds * 1_000)
const methods = ['GET', 'HEAD', 'LIST', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const
const classes = ['1xx', '2xx', '3xx', '4xx', '5xx'] as const

interface Durations {
  /** Not cumulative; the last counts what took longer than every bound. */
  readonly buckets: number[]
  sumMs: number
  count: number
}

/** One a process, shared by its listeners. */
export class RequestMetrics {
  readonly #statuses = new Map<string, number[]>()
  readonly #durations = new Map<string, Durations>()

  /** One answer. Costs two look-ups and some additions: it stands in the way of every request. */
  observe(method: string, status: number, durationMs: number): void {
    const name = this.#statuses.has(method) || (methods as readonly string[]).includes(method) ? method : 'other'
    let statuses = this.#statuses.get(name)
    let durations = this.#durations.get(name)
    if (statuses === undefined || durations === undefined) {
      statuses = classes.map(() => 0)
      durations = { buckets: [...bucketMs, 0].map(() => 0), sumMs: 0, count: 0 }
      this.#statuses.set(name, statuses)
      this.#durations.set(name, durations)
    }
    const at = Math.min(Math.max(Math.trunc(status / 100) - 1, 0), classes.length - 1)
    statuses[at] = statuses[at]! + 1
    let bucket = 0
    while (bucket < bucketMs.length && durationMs > bucketMs[bucket]!) bucket += 1
    durations.buckets[bucket] = durations.buckets[bucket]! + 1
    durations.sumMs += durationMs
    durations.count += 1
  }

  /** In Prometheus' text format. */
  text(): string {
    const requests = 'holdfast_http_requests_total'
    const seconds = 'holdfast_http_request_seconds'
    const lines = [`# HELP ${requests} Requests that this node has answered since the start.`, `# TYPE ${requests} counter`]
    for (const [method, counts] of this.#statuses) {
      for (const [at, count] of counts.entries())
        if (count > 0) lines.push(`${requests}{method="${method}",code="${classes[at]}"} ${count}`)
    }
    lines.push(`# HELP ${seconds} From a request's first line to its answer, in seconds.`, `# TYPE ${seconds} histogram`)
    for (const [method, { buckets, sumMs, count }] of this.#durations) {
      let below = 0
      for (const [at, bound] of bucketSeconds.entries()) {
        below += buckets[at]!
        lines.push(`${seconds}_bucket{method="${method}",le="${bound}"} ${below}`)
      }
      lines.push(`${seconds}_bucket{method="${method}",le="+Inf"} ${count}`, `${seconds}_sum{method="${method}"} ${sumMs / 1_000}`)
      lines.push(`${seconds}_count{method="${method}"} ${count}`)
    }
    return `${lines.join('\n')}\n`
  }
}
