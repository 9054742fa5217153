/**
 * docs/performance.md and its pictures, made from bench/results/load-*.json: node bench/load/page.ts
 * Nothing in them is written by hand, so that no figure is older than its file.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { barChart, curveChart, type Bar, type Curve } from './picture.ts'
import { targets, type LoadRecord } from './targets.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const results = join(root, 'bench', 'results')

export interface Page {
  readonly text: string
  /** By file name in bench/results. */
  readonly pictures: ReadonlyMap<string, string>
}

/** Every load-*.json of bench/results, by name. */
export function readRecords(): Map<string, LoadRecord> {
  const files = readdirSync(results).filter((name) => /^load-.*\.json$/.test(name))
  return new Map(
    files.toSorted().map((name) => [name.replace(/\.json$/, ''), JSON.parse(readFileSync(join(results, name), 'utf8')) as LoadRecord]),
  )
}

export function makePage(records: ReadonlyMap<string, LoadRecord>): Page {
  const pictures = picturesOf(records)
  const text = [head, table(records), drawn(pictures), detail(records), parts, foot].filter(Boolean).join('\n\n')
  return { text: `${text}\n`, pictures }
}

const head = `# Performance

Made by \`node bench/load/page.ts\` from \`bench/results/load-*.json\`; a test holds it to that. Each file names its commit, machine, versions and command.

\`npm run bench -- --help\` says all the options. It starts a cluster of its own on this machine, lays what the work needs, and takes it away again; or it
goes to any server that speaks \`/v1\` by \`--address URL --token T\`. \`--compare\` measures a second one in the same run, in turns: the same generator,
machine, disk and durability, audit to a file on both. \`npm run bench -- --compare openbao\` is all that a comparison with OpenBao takes.

## What was promised, and what came out`

const foot = `## How it is measured

- **The generator** is one process with keep-alive connections, one request at a time on each. Its own CPU is in every file, and a run in which it reaches
  nine tenths of a core says so: then the server may be faster than the figure. It writes HTTP/1.1 itself ([why](../bench/load/http1.ts)).
- **Latency** is kept in an HDR histogram, three figures. At a rate (\`--rate\`), a request's latency counts from when it was due, so that a stall is seen
  by all that were due in it. Without one, each connection waits for its answer before it sends again, and what a stall kept it from sending is put in
  afterwards, by the median latency of the warm-up. Connections are opened anew for each turn and warmed up before they count.
- **CPU** is what the kernel says of each server process (user and system, all threads, in hundredths of a second) over the answers of the same seconds.
- **Ratios** come from one run in turns (A B A B ...): each turn of A against the mean of the two B beside it; the median, the lowest and the highest.
- **Flushes** are those of the whole machine's disk: of one server only where nobody else writes.
- **The disk** is measured beside each run: fdatasync of 4 KiB, one after another, for half a second.

## What it does not show

- Generator, server and, on three nodes, all three servers share one machine's cores, disk and memory; there is no network between them.
- Seconds, not hours: no compaction over days, no growth of the log beyond one run, no garbage of a month.
- The works are made up: every secret is as likely as any other, and no two clients share their pattern with yours.
- etcd neither encrypts, nor looks at a token, nor keeps an audit. A bare node:http server does nothing at all.

## Where the memory is

One node with 100,000 secrets of 400 bytes, after reads and writes at 64 connections on a busy machine: 541 MiB resident, of which V8's heap is 180 (58 of it for what is young), opened
values and hidden names 100 (\`cache_bytes_max\` and a quarter; packed beside the heap, so that no collection walks over them), LevelDB's tables in memory, its block cache and the allocator 118, and
136 are files that the kernel takes back when it wants the room: Node's own code 62, the rest LevelDB's tables, which it maps. A node with a few hundred secrets takes 220. The run above, on a quiet
machine, has written more by its end.
A smaller cache takes less, and pays with reads: what is not in it costs an AES-SIV for each hidden name, a look-up in LevelDB and an AES-GCM.

## Where the waits are

At 64 connections, one node and 20,000 secrets, one in a hundred reads waited for 26 to 50 ms, and one in a thousand for 140. It was not the collector: that takes 13 ms at most, and the event loop
never stood still for 35. It was the audit's file: with the data on a file system in memory the same run had 14 and 29 ms, without audit 11 and 21. Lines were handed to the kernel as they came, and were on
their way to the disk every few seconds, a hundred megabytes at a time; until then ext4 had the next line wait.

Now the file is flushed behind the writer's back, four megabytes at a time; with it came a heap that is collected sooner. Before and after in one run of three nodes (\`bench/results/step-flusher-and-heap.json\`): as many reads,
the worst in a hundred 38 ms and then 32, the worst in a thousand 105 and then 46; the leader 495 MiB and then 341. What the smaller heap costs is writes: 6 % fewer (1 to 14). Taken by itself, the heap's step cost them
2 % and 7 % in two runs, the allocator's none.

Tried since, each in turns with the same server without it, and left out: Node's code in large pages, the allocator's memory in large pages, a larger young generation (64 MiB; 70 MiB more held), none of which
changed reads or their CPU by more than the spread of 3 %; and audit lines written on the serving thread, which saves 7 % of a read's CPU and answers a tenth more, but a disk that hangs would then hang the whole node,
where now a second audit device takes over.

The same runs say what audit costs: 93 us of CPU a read with it, 67 without, and 16,600 reads a second in place of 11,300.

## Where a write's time goes

Of a write on the leader of three no part is large (\`--profile\`): evaluating it 14 %, four looks into the state through the barrier 10, handing entries to two followers' sockets 12, audit 7, sealing 3, the log's
batch 4, the state's digest 7. etcd, which does not encrypt, has no audit and no token to look at, takes a quarter of the CPU; on a disk whose fdatasync takes 0.2 ms CPU is all that counts.

## Why one thread serves

Worker threads for reads are not built. Where generator, server and disk share two cores, what one thread leaves of them bounds what a second could bring ([threads](#threads)): the collector, the audit's writes and
LevelDB's own threads run beside it already. On a machine with more cores they would bring more. Of a read's CPU on the serving thread a quarter to a third is two system calls, the audit's line into its file and the answer into its socket, which a second thread would take along. What it could not take
along are three things that there is one of: the audit's chain, whose records hash the one before; the replica, which is asked for a read index; and the feed of applied changes, by which the caches know what is stale.
Each of them would be a message there and back, in place of a call. The caches are blocks of bytes with an index of numbers, which threads can share; nothing else of a read is.

## The profile

\`npm run bench -- --profile DIR\` runs its servers under V8's profilers and says where their CPU went, by stage and by function; the files in DIR open in
Chrome's developer tools. \`npm run bench -- --gate\` holds a few ratios of one short run against [bench/load/gate.json](../bench/load/gate.json), in which stands what they were; \`npm test\` runs it.`

const parts = `## The parts alone

| part | command | figures |
| --- | --- | --- |
| sealing, opening and listing by the barrier | \`node bench/barrier.ts\` | \`bench/results/barrier.json\` |
| policies: decisions a second, by kind of rule | \`node bench/policies.ts\` | \`bench/results/policies.json\` |
| the consensus core, three nodes in memory | \`node --expose-gc bench/raft.ts\` | \`bench/results/raft-core.json\` |
| the log on its disk, beside a plain file on the same | \`node bench/log-store.ts\` | \`bench/results/log-store.json\` |
| bytes: commands, records, messages, frames | \`node --expose-gc bench/codec.ts\` | \`bench/results/codec.json\` |
| signed commands | \`node bench/signing.ts\` | \`bench/results/signing.json\` |
| the state's digest | \`node bench/state-digest.ts\` | \`bench/results/state-digest.json\` |
| the transport between two processes | \`node bench/transport.ts\` | printed |

Each keeps its figures where \`HOLDFAST_FIGURES\` names a folder.`

function table(records: ReadonlyMap<string, LoadRecord>): string {
  const rows = targets.map((each) => {
    const record = records.get(`load-${each.name}`)
    const outcome = record === undefined ? null : each.outcome(record, records)
    const verdict = outcome === null ? '' : outcome.met === null ? '' : outcome.met ? '**met**: ' : '**missed**: '
    return `| ${each.work} | ${each.target} | ${verdict}${outcome?.text ?? 'not measured yet'} | [${each.name}](#${each.name}) |`
  })
  return ['| work | target | what came out | run |', '| --- | --- | --- | --- |', ...rows].join('\n')
}

function drawn(pictures: ReadonlyMap<string, string>): string {
  return [...pictures.keys()].map((name) => `![${name.replace(/^load-|\.svg$/g, '')}](../bench/results/${name})`).join('\n\n')
}

function detail(records: ReadonlyMap<string, LoadRecord>): string {
  const sections = targets.map(({ name, options }) => {
    const command = `npm run bench -- ${options} --json bench/results/load-${name}.json`
    const record = records.get(`load-${name}`)
    return [`### ${name}`, `\`\`\`sh\n${command}\n\`\`\``, ...(record === undefined ? ['Not measured yet.'] : recordLines(record))].join(
      '\n\n',
    )
  })
  return ['## Each run', ...sections].join('\n\n')
}

function recordLines({ date, commit, uncommitted_files: changed, machine, figures }: LoadRecord): string[] {
  const versions = Object.entries(figures.versions).map(([label, version]) => `${label}: ${version}`)
  const rows = figures.measured.flatMap(({ work, connections, sides }) =>
    sides.map((side) => {
      const { p50, p99, p999 } = side.latency_ms
      const errors = Object.entries(side.errors).map(([status, count]) => `${count}x ${status}`)
      const cells = [work, connections, side.label, Math.round(side.per_second), p50.toFixed(2), p99.toFixed(2), p999.toFixed(2)]
      const costs = [side.serving_cpu_us ?? '', side.all_cpu_us ?? '', side.generator_cores, errors.join(', ') || 'none']
      return `| ${[...cells, ...costs].join(' | ')} |`
    }),
  )
  const where = `${date.slice(0, 10)}, commit ${commit.slice(0, 10)}${changed === 0 ? '' : ` with ${changed} changed files`}, ${machine.cores} cores, Node ${machine.node}`
  const disk = `fdatasync p50 ${figures.fdatasync_ms.p50.toFixed(2)}, p99 ${figures.fdatasync_ms.p99.toFixed(2)} ms`
  return [
    `${where}; ${versions.join('; ')}; ${figures.settings.secrets} secrets of ${figures.settings.size_bytes} bytes; ${figures.settings.turns} turns of ${figures.settings.seconds} s; ${disk}.`,
    [
      '| work | connections | server | answers/s | p50 ms | p99 ms | p99.9 ms | CPU us, serving | CPU us, all | generator cores | errors |',
      '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |',
      ...rows,
    ].join('\n'),
  ]
}

function picturesOf(records: ReadonlyMap<string, LoadRecord>): Map<string, string> {
  const pictures = new Map<string, string>()
  for (const [name, { figures }] of records) {
    const several = new Set(figures.measured.map((one) => one.connections)).size > 1
    pictures.set(
      `${name}.svg`,
      several
        ? byConnections(name, figures.measured)
        : barChart(`${name.replace(/^load-/, '')}: answers a second`, barsOf(figures.measured)),
    )
  }
  for (const [name, xName, pattern] of [
    ['load-growth-secrets', 'secrets', /^load-secrets-/],
    ['load-growth-others', 'policies and tokens of others', /^load-others-/],
  ] as const) {
    const chosen = [...records].filter(([each]) => pattern.test(each)).map(([, record]) => record)
    if (chosen.length > 1) pictures.set(`${name}.svg`, curveChart(`${xName}: answers a second`, xName, growthCurves(chosen)))
  }
  return pictures
}

function barsOf(measured: LoadRecord['figures']['measured']): Bar[] {
  return measured.flatMap(({ work, connections, sides }) =>
    sides.map((side) => ({
      label: `${work}, ${connections}`,
      series: side.label,
      value: side.per_second,
      lowest: Math.min(...side.per_second_turns),
      highest: Math.max(...side.per_second_turns),
    })),
  )
}

function byConnections(name: string, measured: LoadRecord['figures']['measured']): string {
  const curves = new Map<string, [number, number][]>()
  for (const { work, connections, sides } of measured) {
    for (const side of sides) {
      const key = `${work}, ${side.label}`
      curves.set(key, [...(curves.get(key) ?? []), [connections, side.per_second]])
    }
  }
  return curveChart(
    `${name.replace(/^load-/, '')}: answers a second by connections`,
    'connections',
    [...curves].map(([series, points]) => ({ series, points })),
  )
}

function growthCurves(records: readonly LoadRecord[]): Curve[] {
  const works = [...new Set(records.flatMap(({ figures }) => figures.measured.map((one) => one.work)))]
  return works.map((work) => ({
    series: work,
    points: records.flatMap(({ figures }) => {
      const found = figures.measured.find((one) => one.work === work)?.sides[0]
      const size = figures.settings.others > 0 ? figures.settings.others : figures.settings.secrets
      return found === undefined ? [] : [[size, found.per_second] as const]
    }),
  }))
}

if (process.argv[1] === import.meta.filename) {
  const { text, pictures } = makePage(readRecords())
  writeFileSync(join(root, 'docs', 'performance.md'), text)
  for (const [name, svg] of pictures) writeFileSync(join(results, name), svg)
  console.log(`docs/performance.md and ${pictures.size} pictures`)
}
