import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { flushesOf } from '../../../bench/load/disk.ts'
import { readOptions } from '../../../bench/load/options.ts'
import { makePage, readRecords } from '../../../bench/load/page.ts'
import { barChart, curveChart, short } from '../../../bench/load/picture.ts'
import type { SideFigures } from '../../../bench/load/report.ts'
import { targets, type LoadRecord } from '../../../bench/load/targets.ts'

const late = { p50: 1, p90: 2, p99: 4, p999: 5, max: 9, mean: 1.2 }
const side = (label: string, perSecond: number, more: Partial<SideFigures> = {}): SideFigures => ({
  label,
  per_second: perSecond,
  per_second_turns: [perSecond * 0.9, perSecond * 1.1],
  latency_ms: late,
  errors: {},
  serving_cpu_us: 70,
  all_cpu_us: 90,
  processes: [{ name: 'node1', cores: 0.9, resident_mib: 240 }],
  disk_flushes_per_request: 0.5,
  generator_cores: 0.2,
  generator_share: 0.2,
  open: null,
  ...more,
})
const spread = (median: number) => ({ median, lowest: median * 0.9, highest: median * 1.1 })
const ratio = (perSecond: number) => ({ per_second: spread(perSecond), serving_cpu: spread(3), p99: spread(2) })

function record(name: string, measured: LoadRecord['figures']['measured'], settings: object = {}): LoadRecord {
  return {
    name,
    command: 'npm run bench',
    commit: '0123456789abcdef',
    uncommitted_files: 0,
    date: '2026-01-02T03:04:05.000Z',
    machine: { cores: 2, memory_gib: 24, node: 'v26.0.0' },
    figures: {
      settings: { secrets: 10, others: 0, turns: 2, seconds: 5, policy_rules: 20, size_bytes: 400, server: 'x', ...settings },
      versions: { holdfast: 'abc' },
      fdatasync_ms: { p50: 0.5, p99: 1 },
      restart_serving_seconds: 2,
      measured,
    },
  }
}
const one = (work: string, perSecond: number, ratioOf: number | null = null, connections = 64) => ({
  work,
  connections,
  sides: [side('holdfast', perSecond)],
  ratio: ratioOf === null ? null : ratio(ratioOf),
})
const verdict = (name: string, ...records: LoadRecord[]) => {
  const all = new Map(records.map((each) => [each.name, each]))
  return targets.find((each) => each.name === name)!.outcome(records[0]!, all)
}

test('docs/performance.md and its pictures are what the script makes of bench/results: node bench/load/page.ts', () => {
  const { text, pictures } = makePage(readRecords())
  expect(readFileSync('docs/performance.md', 'utf8')).toBe(text)
  for (const [name, svg] of pictures) expect(readFileSync(`bench/results/${name}`, 'utf8'), name).toBe(svg)
  const drawn = readdirSync('bench/results').filter((name) => /^load-.*\.svg$/.test(name))
  expect(drawn.toSorted(), 'no picture of a run that is gone').toEqual([...pictures.keys()].toSorted())
})

test('every command of the page is one that the bench takes, and names its own file', () => {
  expect(new Set(targets.map(({ name }) => name)).size).toBe(targets.length)
  for (const { name, options } of targets) {
    expect(readOptions(`${options} --json bench/results/load-${name}.json`.split(' '), {}).json).toContain(name)
    expect(options.includes('--compare tls') && options.includes('--tls'), name).toBe(false)
  }
})

test('a target is met or missed by its figures', () => {
  expect(verdict('read-leader', record('load-read-leader', [one('kv-read', 9_000, 0.61)]))).toMatchObject({ met: true })
  expect(verdict('read-leader', record('load-read-leader', [one('kv-read', 9_000, 0.59)]))).toMatchObject({ met: false })
  expect(verdict('write-etcd', record('load-write-etcd', [one('kv-write', 900, 2)]))).toMatchObject({ met: true })
  expect(verdict('openbao', record('load-openbao', [one('kv-read', 900, 4), one('kv-write', 900, 4.9)]))).toMatchObject({ met: false })
  expect(verdict('tls', record('load-tls', [one('kv-read', 900, 1.2), one('kv-write', 900, 1.3)]))).toMatchObject({ met: true })
  expect(verdict('single', record('load-single', [one('kv-write', 900, null, 1)]))).toMatchObject({
    met: true,
    text: expect.stringContaining('0.50 ms over'),
  })
  expect(verdict('memory', record('load-memory', [one('kv-write', 900)]))).toMatchObject({ met: true, text: '240 MiB' })
  const { processes } = side('holdfast', 900)
  const threads = { 'node-MainThread': 0.9, 'libuv-worker': 0.1 }
  const withThreads = processes.map((each) => ({ ...each, cores: 1, resident_files_mib: 40, threads }))
  const busy = [{ ...one('kv-read', 900), sides: [side('holdfast', 900, { processes: withThreads })] }]
  expect(verdict('threads', record('load-threads', busy))).toEqual({
    met: null,
    text: 'one thread: 900/s with node-MainThread 0.90, libuv-worker 0.10, generator 0.20 of 2 cores: two could serve at most 1.67 times as many',
  })
  const written = [{ ...busy[0]!, work: 'kv-write' }]
  expect(verdict('memory', record('load-memory', written)).text).toBe('240 MiB, 40 of them pages of files')
  const grown = record('load-secrets-1m', [one('kv-read', 760)], { secrets: 1e6 })
  expect(verdict('secrets-1m', grown, record('load-secrets-10k', [one('kv-read', 1_000)]))).toMatchObject({ met: true })
  expect(verdict('secrets-1m', grown)).toMatchObject({ met: false })
  const batch = (flushes: number) => ({
    ...one('kv-write', 900, null, 512),
    sides: [side('holdfast', 900, { all_cpu_us: 50, disk_flushes_per_request: flushes })],
  })
  expect(verdict('batching', record('load-batching', [one('kv-write', 900, null, 16), batch(0.1)]))).toMatchObject({ met: true })
  expect(verdict('batching', record('load-batching', [one('kv-write', 900, null, 16), batch(0.7)]))).toMatchObject({ met: false })
  expect(() => verdict('tls', record('load-tls', []))).toThrow('expected kv-read to be measured')
})

test('what was measured is in the page and drawn; errors are not left out', () => {
  const failed = { ...one('kv-read', 100), sides: [side('holdfast', 100, { errors: { '503': 7 } })] }
  const all = [
    record('load-secrets-10k', [failed], { secrets: 10_000 }),
    record('load-secrets-1m', [one('kv-read', 90)], { secrets: 1_000_000 }),
  ]
  const { text, pictures } = makePage(new Map(all.map((each) => [each.name, each])))
  expect(text).toContain('| kv-read | 64 | holdfast | 100 | 1.00 | 4.00 | 5.00 | 70 | 90 | 0.2 | 7x 503 |')
  expect(text).toContain('not measured yet')
  expect([...pictures.keys()]).toEqual(['load-secrets-10k.svg', 'load-secrets-1m.svg', 'load-growth-secrets.svg'])
  expect(pictures.get('load-growth-secrets.svg')).toContain('>1 M</text>')
})

test('charts: lengths in proportion, names escaped, nothing of nothing', () => {
  const bar = (label: string, value: number) => ({ label, series: '<a>', value, lowest: value, highest: value })
  const svg = barChart('a & b', [bar('x', 10), bar('y', 5)])
  const widths = [...svg.matchAll(/<rect x="170" [^>]*width="([\d.]+)"/g)].map(([, width]) => Number(width))
  expect(widths[0]).toBeCloseTo(2 * widths[1]!, 0)
  expect(svg).toContain('a &amp; b')
  expect(svg).toContain('&lt;a>')
  expect(() => barChart('t', [])).toThrow('at least one bar')
  expect(() => curveChart('t', 'x', [{ series: 's', points: [[0, 1]] }])).toThrow('above zero')
  expect([1_234_567, 12_345, 999, 0.1234].map(short)).toEqual(['1.23 M', '12.3 k', '999', '0.123'])
})

test('flushes are those of the disk, or of the disk of its partition', () => {
  const line = (major: number, minor: number, flushes: number): string => `${major} ${minor} name ${'1 '.repeat(15)}${flushes} 3`
  const stats = `${line(254, 0, 77)}\n${line(254, 1, 0)}\n${line(8, 0, 5)}\n`
  expect([flushesOf(stats, '254:0'), flushesOf(stats, '254:1'), flushesOf(stats, '8:0'), flushesOf(stats, '9:0')]).toEqual([
    77,
    77,
    5,
    null,
  ])
  expect(existsSync('bench/load/gate.json')).toBe(true)
})
