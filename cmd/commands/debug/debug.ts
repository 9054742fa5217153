/**
 * `holdfast debug`: what somebody who is asked for help wants to know of a cluster, in one folder, without its secrets. Only routes that tell of the
 * servers are asked; no secret, no policy, no audit record. A node that does not answer is noted, not waited for.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sleep } from '#base/clock.ts'
import { parseDurationMs } from '#base/duration.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { Client } from '#client/client.ts'
import { holdfastVersion } from '#core/version.ts'
import { UsageError, type Command, type CommandContext } from '../../cli/types.ts'
import { redact, redactText } from './redact.ts'

/** Of the cluster, once, through whichever node answers. */
const clusterRoutes = [
  'sys/ha-status',
  'sys/storage/raft/configuration',
  'sys/storage/raft/autopilot/state',
  'sys/storage/raft/autopilot/configuration',
  'sys/storage/raft/verify',
  'sys/version-history',
  'sys/key-status',
  'sys/leases/count',
  'sys/quotas/config',
  'sys/internal/counters/tokens',
  'sys/internal/counters/entities',
] as const
const listed: readonly string[] = ['sys/version-history']
/** Of each node, as often as is asked for. */
const nodeRoutes = ['sys/health', 'sys/seal-status', 'sys/leader', 'sys/host-info', 'sys/in-flight-req', 'sys/seal-backend-status'] as const
/** Of each node, once. */
const nodeOnceRoutes = ['sys/config/state/sanitized', 'sys/loggers'] as const
const askMsMax = 5_000
const capturesMax = 1_000
const logBytesMax = 64 * 1_048_576

interface Asked {
  readonly status: number | null
  readonly body: unknown
}

/** Never throws: what failed is part of the picture. */
async function ask(client: Client, path: string): Promise<Asked> {
  const query = listed.includes(path) ? { list: 'true' } : {}
  try {
    const { status, json, text } = await client.raw({ method: 'GET', path, query, retry: false, wrapTtl: '' })
    return { status, body: json === null ? redactText(text) : redact(json) }
  } catch (error) {
    return { status: null, body: redactText(error instanceof Error ? error.message : 'unknown failure') }
  }
}

const fileName = (path: string): string => path.replace(/^sys\//, '').replaceAll('/', '-')

class Bundle {
  readonly folder: string
  readonly #files: { file: string; status: number | null }[] = []
  /** @throws UsageError where something stands already. */
  constructor(folder: string) {
    this.folder = folder
    try {
      mkdirSync(folder, { mode: 0o700 })
    } catch (error) {
      throw new UsageError(`expected to make the folder ${folder}, got ${(error as NodeJS.ErrnoException).code ?? 'an error'}`)
    }
  }
  #write(file: string, text: string): void {
    mkdirSync(join(this.folder, file, '..'), { recursive: true, mode: 0o700 })
    writeFileSync(join(this.folder, file), text, { mode: 0o600 })
  }
  add(file: string, { status, body }: Asked): void {
    this.#files.push({ file, status })
    this.#write(file, typeof body === 'string' ? body : `${JSON.stringify(body, null, 2)}\n`)
  }
  addText(file: string, text: string): void {
    this.add(file, { status: 200, body: redactText(text) })
  }
  finish(about: Readonly<Record<string, unknown>>): { readonly files: number; readonly failed: number } {
    this.#write('index.json', `${JSON.stringify({ ...about, files: this.#files }, null, 2)}\n`)
    return { files: this.#files.length + 1, failed: this.#files.filter(({ status }) => status === null || status >= 500).length }
  }
}

interface Node {
  readonly name: string
  readonly client: Client
}

/** All nodes that the cluster names, and the addresses that were given: a node that is not in the cluster any more may be the one to look at. */
async function nodesOf(client: Client): Promise<readonly Node[]> {
  const answer = await client.raw({ method: 'GET', path: 'sys/ha-status', wrapTtl: '' }).catch(() => null)
  const nodes = (answer?.json?.data?.['nodes'] ?? []) as readonly Readonly<Record<string, unknown>>[]
  const known = nodes.flatMap(({ api_address: address }) => (typeof address === 'string' && address !== '' ? [address] : []))
  const { Client: Made } = await import('#client/client.ts')
  return [...new Set([...known, ...client.addresses])].map((address) => ({
    name: address.replace(/^https?:\/\//, '').replaceAll(/[^A-Za-z0-9.-]/g, '_'),
    client: new Made({ ...client.options, addresses: [address], timeoutMs: askMsMax, retriesMax: 0 }, client.tools),
  }))
}

async function capture(bundle: Bundle, node: Node, at: string): Promise<void> {
  for (const path of nodeRoutes) bundle.add(`${node.name}/${at}/${fileName(path)}.json`, await ask(node.client, path))
  const metrics = await ask(node.client, 'sys/metrics')
  bundle.add(`${node.name}/${at}/metrics.txt`, metrics)
}

/** Its log for so long, from the level on. */
async function logOf(bundle: Bundle, { name, client }: Node, durationMs: number, level: string): Promise<void> {
  const over = new AbortController()
  const timer = client.tools.clock.setTimer(durationMs, () => over.abort())
  let text = ''
  const decoder = new TextDecoder()
  try {
    const query = { log_level: level, log_format: 'json' }
    const { body } = await client
      .with({ timeoutMs: durationMs + askMsMax })
      .download({ method: 'GET', path: 'sys/monitor', query, signal: over.signal })
    for await (const piece of body) {
      text += decoder.decode(piece, { stream: true })
      if (text.length > logBytesMax) break
    }
  } catch {
    // It ends by our own signal, or the node has no log to show: what came until then is kept.
  } finally {
    timer.cancel()
  }
  if (text !== '') bundle.addText(`${name}/log.jsonl`, text)
}

async function debug(context: CommandContext): Promise<void> {
  const { flags, io, output } = context
  const client = await context.client()
  const durationMs = parseDurationMs(flags.string('duration') ?? '10s', { what: '-duration' })
  const intervalMs = Math.max(1_000, parseDurationMs(flags.string('interval') ?? '5s', { what: '-interval' }))
  const captures = Math.floor(durationMs / intervalMs) + 1
  if (captures > capturesMax) throw new UsageError(`-duration and -interval expected at most ${capturesMax} rounds, got more`)
  const startedMs = client.tools.clock.nowMs()
  const bundle = new Bundle(
    flags.string('output') ??
      `holdfast-debug-${formatRfc3339(startedMs)
        .replace(/\.\d+Z$/, 'Z')
        .replaceAll(':', '-')}`,
  )
  const nodes = await nodesOf(client)
  try {
    for (const path of clusterRoutes) bundle.add(`cluster/${fileName(path)}.json`, await ask(client, path))
    for (const node of nodes)
      for (const path of nodeOnceRoutes) bundle.add(`${node.name}/${fileName(path)}.json`, await ask(node.client, path))
    const logs = nodes.map(async (node) => await logOf(bundle, node, durationMs, flags.string('log-level') ?? 'info'))
    for (let round = 1; round <= captures; round++) {
      if (round > 1) await sleep(client.tools.clock, intervalMs)
      if (io.stderrIsTty) io.err(`\r\u001b[Kround ${round} of ${captures}`)
      await Promise.all(nodes.map(async (node) => await capture(bundle, node, String(round).padStart(4, '0'))))
    }
    await Promise.all(logs)
  } finally {
    await Promise.all(nodes.map(async (node) => await node.client.close()))
    if (io.stderrIsTty) io.err('\r\u001b[K')
  }
  const about = { version: holdfastVersion, started: formatRfc3339(startedMs), nodes: nodes.map(({ name }) => name), rounds: captures }
  const { files, failed } = bundle.finish(about)
  await output.rows(
    [
      ['Folder', bundle.folder],
      ['Nodes', nodes.length],
      ['Rounds', captures],
      ['Files', files],
      ['Not answered', failed],
    ],
    { folder: bundle.folder, ...about, files, not_answered: failed },
  )
  output.note(
    'No secret, token or key is in it, but names are: of hosts, of paths in the log. Look through it before you send it: tar czf bundle.tgz FOLDER',
  )
}

export const debugCommand: Command = {
  path: ['debug'],
  sendsSeveral: true,
  synopsis: 'Gather what is known of the servers into a folder, without secrets',
  args: '',
  argsMin: 0,
  argsMax: 0,
  description:
    'Asks every node, in rounds: health, seal, leadership, metrics, requests in flight, host; once: membership, autopilot, comparison of states, configuration without its secrets; ' +
    'and the log of that time. Needs a token that may read these; what it may not read is noted in index.json, with the status.',
  examples: ['holdfast debug', 'holdfast debug -duration=2m -interval=10s -output=bundle'],
  flags: {
    duration: { type: 'string', placeholder: 'DURATION', description: 'For how long; 10s.' },
    interval: { type: 'string', placeholder: 'DURATION', description: 'Time between two rounds; 5s.' },
    output: { type: 'string', placeholder: 'FOLDER', description: 'Where to; it must not be there yet.' },
    'log-level': { type: 'string', values: ['trace', 'debug', 'info', 'warn', 'error'], description: 'Of the log that is gathered; info.' },
  },
  run: debug,
}
