/** Metrics as one JSON object, as the field's tools read them, made from the Prometheus text so that there is one source. */

interface Sample {
  readonly Name: string
  readonly Labels: Readonly<Record<string, string>>
  readonly Value: number
}

const kinds: Readonly<Record<string, 'Gauges' | 'Counters'>> = { gauge: 'Gauges', counter: 'Counters' }

/** A histogram's parts are counters: they only grow. */
export function metricsJson(prometheus: string, nowMs: number): string {
  const found: Record<'Gauges' | 'Counters', Sample[]> = { Gauges: [], Counters: [] }
  let kind: 'Gauges' | 'Counters' = 'Gauges'
  for (const line of prometheus.split('\n')) {
    const type = /^# TYPE \S+ (\w+)$/.exec(line)
    if (type !== null) kind = kinds[type[1]!] ?? 'Counters'
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line)
    if (sample === null) continue
    const labels = [...(sample[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name!, value!] as const)
    found[kind].push({ Name: sample[1]!, Labels: Object.fromEntries(labels), Value: Number(sample[3]) })
  }
  return `${JSON.stringify({ Timestamp: new Date(nowMs).toISOString(), ...found, Points: [], Samples: [] })}\n`
}
