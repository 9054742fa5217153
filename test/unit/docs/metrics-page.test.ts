/** `docs/metrics.md`: every metric, its labels and what it counts, read off the code that makes it; and what the dashboard and the alerts ask for is there. */
import { readFileSync, writeFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { RequestMetrics } from '#http/request-metrics.ts'
import { tracingMetrics } from '#node/tracing.ts'

const page = 'docs/metrics.md'
const sources = ['src/node/reports.ts', 'src/node/audit-metrics.ts']

interface Metric {
  readonly name: string
  readonly type: string
  readonly labels: readonly string[]
  readonly help: string
}

/** Calls of `gauge(name, help, value, labels)`, by their text: a value that this test had to provoke first would be missing here. */
function ofGauges(text: string): Metric[] {
  const named = new Map([...text.matchAll(/const (\w+) = (?:'((?:[^'\\]|\\.)*)'|"([^"]*)"|`([^`]*)`)/g)].map(([, name, a, b, c]) => [name!, a ?? b ?? c ?? '']))
  const found = new Map<string, Metric>()
  for (const match of text.matchAll(/\b(gauge|counter|line)\(\s*'((?:holdfast|process|nodejs)_\w+)',\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(\w+))/g)) {
    const [, , name = '', single, double, variable = ''] = match
    const end = nextCall(text, match.index + match[0].length)
    const rest = text.slice(match.index + match[0].length, end)
    const inline = [...rest.matchAll(/[{,`'](\w+)="/g)].map((each) => each[1]!)
    const labels = inline.length > 0 ? inline : /,\s*labels,?\s*\)?/.test(rest) ? labelsOf(named.get('labels') ?? '') : /\beach\(/.test(rest) ? ['device'] : []
    const before = found.get(name)
    const help = single ?? double ?? named.get(variable) ?? ''
    if (before === undefined) found.set(name, { name, type: 'gauge', labels, help })
  }
  return [...found.values()]
}

const nextCall = (text: string, from: number): number => {
  const end = /\n\s*(?:gauge|counter|line|for|if|const|return)\b/.exec(text.slice(from))
  return end === null ? text.length : from + end.index
}

const labelsOf = (template: string): string[] => [...template.matchAll(/(\w+)="/g)].map((each) => each[1]!)

/** Metrics that are made as text. */
function ofText(text: string): Metric[] {
  const helps = new Map([...text.matchAll(/^# HELP (\S+) (.*)$/gm)].map((match) => [match[1]!, match[2]!]))
  return [...text.matchAll(/^# TYPE (\S+) (\w+)$/gm)].map((match) => {
    const name = match[1]!
    const sample = new RegExp(`^${name}(?:_bucket)?\\{([^}]*)\\}`, 'm').exec(text)
    return { name, type: match[2]!, labels: labelsOf(sample?.[1] ?? ''), help: helps.get(name) ?? '' }
  })
}

function all(): Metric[] {
  const requests = new RequestMetrics()
  requests.observe('GET', 200, 1)
  const metrics = [...sources.flatMap((path) => ofGauges(textOf(path))), ...ofText(requests.text()), ...ofText(tracingMetrics({ counts: { sent: 0, lost: 0 } }))]
  return metrics.toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function text(metrics: readonly Metric[]): string {
  const rows = metrics.map(({ name, type, labels, help }) => `| \`${name}\` | ${type} | ${labels.join(', ')} | ${help.replaceAll('|', '\\|')} |`)
  return `# Metrics

To see them: \`holdfast read -format=raw sys/metrics\`, or \`GET /v1/sys/metrics\` with a token whose policies have \`read\` on \`sys/metrics\`. Each node answers for itself,
in Prometheus' text format; with \`?format=json\` as one JSON object.

To scrape them, give Prometheus such a token (a periodic one, which it cannot renew itself: choose a period longer than its restarts), and each node as a target. A
listener on an address of its own may do without a token: \`telemetry { unauthenticated_metrics_access = true }\` in its block.

\`\`\`yaml
scrape_configs:
  - job_name: holdfast
    metrics_path: /v1/sys/metrics
    authorization: { credentials_file: /etc/prometheus/holdfast-token }
    static_configs: [{ targets: ['node1:8200', 'node2:8200', 'node3:8200'] }]
\`\`\`

[\`deploy/prometheus/alerts.yml\`](../deploy/prometheus/alerts.yml) has rules for what should wake somebody, and
[\`deploy/grafana/holdfast.json\`](../deploy/grafana/holdfast.json) a dashboard to import. When nothing comes: a sealed node answers \`503\` here as everywhere,
so that \`up\` is 0; a token without the policy gets \`403\`.

Made by \`UPDATE_DOCS=1 npx vitest run test/unit/docs\` from the code that makes them; a test holds the two together. No label is chosen by a client.

| name | type | labels | what |
| --- | --- | --- | --- |
${rows.join('\n')}
`
}

test('docs/metrics.md lists every metric of the code, and no other', () => {
  const metrics = all()
  expect(metrics.length).toBeGreaterThan(50)
  for (const { name, help } of metrics) expect.soft([name, help.length > 5]).toEqual([name, true])
  const made = text(metrics)
  if (process.env['UPDATE_DOCS'] === '1') writeFileSync(page, made)
  expect(readFileSync(page, 'utf8'), 'run `UPDATE_DOCS=1 npx vitest run test/unit/docs`').toBe(made)
})

/** Names that an expression asks for, without what Prometheus adds to histograms. */
const askedIn = (expression: string): string[] =>
  [...expression.matchAll(/\b(?:holdfast|process|nodejs)_\w+/g)].map((match) => match[0].replace(/_(bucket|sum|count)$/, ''))

test('the dashboard and the alerts ask for metrics that there are', () => {
  const names = new Set(all().map(({ name }) => name))
  const asked = [...askedIn(readFileSync('deploy/prometheus/alerts.yml', 'utf8')), ...askedIn(readFileSync('deploy/grafana/holdfast.json', 'utf8'))]
  expect(asked.length).toBeGreaterThan(20)
  expect([...new Set(asked)].filter((name) => !names.has(name))).toEqual([])
})

test('the dashboard is one that Grafana imports: a title, a uid, panels with queries', () => {
  const dashboard = JSON.parse(readFileSync('deploy/grafana/holdfast.json', 'utf8')) as {
    title: string
    uid: string
    panels: { title: string; type: string; gridPos: object; targets?: { expr: string }[] }[]
  }
  expect([dashboard.title, dashboard.uid]).toEqual(['Holdfast', 'holdfast'])
  const shown = dashboard.panels.filter(({ type }) => type !== 'row')
  expect(shown.length).toBeGreaterThan(10)
  for (const { title, targets, gridPos } of shown) expect.soft([title, targets?.length ?? 0, Object.keys(gridPos)]).toEqual([title, expect.any(Number), ['h', 'w', 'x', 'y']])
  expect(shown.every(({ targets }) => (targets?.length ?? 0) > 0)).toBe(true)
})

const promtool = spawnSync('promtool', ['--version']).status === 0

test.skipIf(!promtool)('promtool accepts the alerts, and they fire as their tests say (Debian: apt-get install prometheus)', () => {
  const checked = spawnSync('promtool', ['check', 'rules', 'deploy/prometheus/alerts.yml'], { encoding: 'utf8' })
  expect([checked.status, checked.stdout + checked.stderr]).toEqual([0, expect.stringContaining('SUCCESS')])
  const tested = spawnSync('promtool', ['test', 'rules', 'deploy/prometheus/alerts.test.yml'], { encoding: 'utf8' })
  expect([tested.status, tested.stdout + tested.stderr]).toEqual([0, expect.stringContaining('SUCCESS')])
})

test.skipIf(!promtool)('promtool accepts what the requests are counted as', () => {
  const requests = new RequestMetrics()
  requests.observe('GET', 200, 1)
  const checked = spawnSync('promtool', ['check', 'metrics'], { input: requests.text(), encoding: 'utf8' })
  expect([checked.status, checked.stdout + checked.stderr]).toEqual([0, ''])
})
