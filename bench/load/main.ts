/** `npm run bench`: see `--help`. */
import { readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Api } from '#cmd/dev/api.ts'
import { figureRecord } from '#cmd/dev/figure-record.ts'
import { syncLatency } from './disk.ts'
import { layGround, type GroundOptions } from './ground.ts'
import type { LocalOptions } from './local.ts'
import { help, readOptions, type BenchOptions } from './options.ts'
import { listenerOn } from './processes.ts'
import { reportProfiles } from './profile.ts'
import { linesOf, spreadText } from './report.ts'
import { measure, type Measured, type Ready } from './run.ts'
import { must, type Side } from './side.ts'
import { workNamed } from './works.ts'

// What is started here is loaded only where it is: `holdfast bench` drives a server that is there, from an installation without tests.
const startLocal = async (...given: Parameters<(typeof import('./local.ts'))['startLocal']>): Promise<Side> =>
  (await import('./local.ts')).startLocal(...given)

const here = fileURLToPath(new URL('../..', import.meta.url))
const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`)

/** What is undone at the end, whatever happened, last made first. */
class Undo {
  readonly #steps: (() => Promise<void>)[] = []

  add(step: () => Promise<void>): void {
    this.#steps.push(step)
  }

  async run(): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      await step().catch((error: unknown) => say(`could not be removed: ${(error as Error).message}`))
    }
  }
}

async function foreign(label: string, addresses: readonly string[], token: string | null, caPath: string | null): Promise<Side> {
  const [control] = addresses
  if (control === undefined) throw new Error('expected an address, got none')
  if (token === null) throw new Error(`${label}: expected a token for ${control}, got none\nhint: --token, --compare-token or VAULT_TOKEN`)
  const processes = addresses.flatMap((address) => {
    const url = URL.parse(address)
    const pid = url !== null && /^(localhost|127\.|\[::1\])/.test(url.hostname) ? listenerOn(Number(url.port)) : null
    return pid === null ? [] : [{ name: `pid ${pid}`, pid }]
  })
  const common = { label, dialect: 'v1' as const, addresses, control, token, caPath, processes, own: false, restart: null }
  const api = new Api(caPath)
  const side: Side = { ...common, version: 'unknown', api, stop: () => api.close() }
  const health = await must(side, 'GET', 'sys/health?standbyok=true&perfstandbyok=true')
  await must(side, 'GET', 'auth/token/lookup-self')
  return { ...side, version: typeof health['version'] === 'string' ? health['version'] : 'unknown' }
}

function localOptions(options: BenchOptions): LocalOptions {
  const { nodes, tls, audit, via, dataDir, config, profileDir } = options
  return { nodes, tls, audit, via, dataDir, extraConfig: config === null ? '' : readFileSync(config, 'utf8'), profileDir, say }
}

async function ready(side: Side, options: BenchOptions, undo: Undo): Promise<Ready> {
  undo.add(() => side.stop())
  const { works, secrets, sizeBytes, policyRules, others } = options
  const groundOptions: GroundOptions = { works, secrets, sizeBytes, policyRules, others, say }
  if (side.dialect === 'bare')
    return {
      side,
      work: (name) => ({ name, next: () => 'GET / HTTP/1.1\r\nHost: bench\r\nX-Vault-Token: s.0123456789abcdefghijklmn\r\n\r\n' }),
    }
  if (side.dialect === 'etcd') return { side, work: await (await import('./etcd.ts')).etcdGround(side, groundOptions) }
  const ground = await layGround(side, groundOptions)
  undo.add(() => ground.remove())
  return { side, work: (name) => workNamed(name, ground) }
}

/** The other side of a comparison, or null. */
async function other(options: BenchOptions, first: Ready): Promise<Side | null> {
  const { compare, compareToken, caPath } = options
  const [what = ''] = compare ?? []
  if (compare === null) return null
  if (what === 'openbao') return (await import('./openbao.ts')).startOpenBao(localOptions(options))
  if (what === 'etcd') return (await import('./etcd.ts')).startEtcd(localOptions(options))
  if (what === 'bare') {
    const { startBare } = await import('./bare.ts')
    return startBare(await answerBytes(first, options.works[0]!), options.tls ? tlsFolder(first.side) : null)
  }
  if (what === 'tls') return startLocal(here, 'with TLS', { ...localOptions(options), tls: true, profileDir: null })
  if (what.startsWith('checkout:'))
    return startLocal(what.slice('checkout:'.length), 'other checkout', { ...localOptions(options), profileDir: null })
  return foreign('other', compare, compareToken, caPath)
}

/** How long the body of an answer is. */
async function answerBytes({ side, work }: Ready, name: string): Promise<number> {
  const [, method = 'GET', path = ''] = /^(\S+) (\S+)/.exec(work(name).next(0)) ?? []
  if (method !== 'GET') return 400
  const answer = await must(side, 'GET', path.replace(/^\/v1\//, ''))
  return Buffer.byteLength(JSON.stringify(answer)) + 1
}

function tlsFolder(side: Side): string {
  if (side.caPath === null) throw new Error('--compare bare expected the certificates of a cluster started here with --tls, got none')
  return side.caPath.replace(/\/ca\.crt$/, '')
}

async function bench(options: BenchOptions): Promise<readonly Measured[]> {
  const undo = new Undo()
  let interruptedMs: number | null = null
  const onSignal = (): void => {
    // npm passes on what the terminal has sent to both of us: only a second wish is one to leave everything as it is.
    if (interruptedMs !== null && performance.now() - interruptedMs > 1_000) process.exit(130)
    if (interruptedMs !== null) return
    interruptedMs = performance.now()
    say('interrupted: removing what was made')
    void undo.run().then(() => process.exit(130))
  }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  try {
    const side =
      options.address === null
        ? await startLocal(here, 'holdfast', localOptions(options))
        : await foreign('server', options.address, options.token, options.caPath)
    const first = await ready(side, options, undo)
    const second = await other(options, first)
    const sides = second === null ? [first] : [first, await ready(second, options, undo)]
    const disk = syncLatency(options.dataDir)
    const measured: Measured[] = []
    for (const work of options.works) {
      for (const connections of options.connections) {
        const one = await measure(work, sides, { ...options, connections, say })
        measured.push(one)
        print(one)
      }
    }
    console.log(`disk: fdatasync of 4 KiB p50 ${disk.p50.toFixed(2)} p99 ${disk.p99.toFixed(2)} ms`)
    const servingSeconds = options.restart && side.restart !== null ? await side.restart() : null
    if (servingSeconds !== null) console.log(`a node started again: ${servingSeconds.toFixed(2)} s until it served`)
    keep(options, sides, { fdatasync_ms: disk, restart_serving_seconds: servingSeconds }, measured)
    return measured
  } finally {
    await undo.run()
  }
}

function print({ work, connections, sides, ratio }: Measured): void {
  console.log(`${work}, ${connections} connections`)
  for (const figures of sides) for (const line of linesOf(figures)) console.log(line)
  if (ratio === null) return
  console.log(`  the first over the second: requests/s ${spreadText(ratio.per_second, 2)}`)
  if (ratio.serving_cpu !== null) console.log(`    CPU a request on the busiest process ${spreadText(ratio.serving_cpu, 2)}`)
  if (ratio.p99 !== null) console.log(`    p99 ${spreadText(ratio.p99, 2)}`)
}

function keep(options: BenchOptions, sides: readonly Ready[], facts: object, measured: readonly Measured[]): void {
  if (options.json === null) return
  const versions = Object.fromEntries(sides.map(({ side }) => [side.label, side.version]))
  const figures = { settings: settingsOf(options), versions, ...facts, measured: measured.map((one) => ({ ...one, windows: undefined })) }
  const record = figureRecord(basename(options.json, '.json'), commandOf(process.argv.slice(2)), figures)
  writeFileSync(options.json, `${JSON.stringify(record, null, 2)}\n`)
}

/** Tokens, addresses and folders of this machine are nobody's business. */
function settingsOf({ address, compare, nodes, via, tls, audit, config, ...options }: BenchOptions): object {
  const { works: names, connections, seconds, warmUpSeconds, turns, rate, secrets, sizeBytes, policyRules, others } = options
  return {
    server: address === null ? { nodes, via, tls, audit, more_configuration: config !== null } : 'given by address',
    compare: compare?.[0]?.replace(/^(https?|checkout):.*/, '$1') ?? null,
    works: names,
    connections,
    seconds,
    warm_up_seconds: warmUpSeconds,
    turns,
    rate,
    secrets,
    size_bytes: sizeBytes,
    policy_rules: policyRules,
    others,
  }
}

/** The command as it was given, without tokens. */
function commandOf(argv: readonly string[]): string {
  const shown = argv.map((word, i) =>
    /^--(compare-)?token$/.test(argv[i - 1] ?? '') ? '...' : word.replace(/^(--(?:compare-)?token=).*/, '$1...'),
  )
  return `npm run bench -- ${shown.join(' ')}`
}

if (process.argv.includes('--help')) console.log(help)
else {
  try {
    const options = readOptions(process.argv.slice(2), process.env)
    if (options.gate) process.exit((await (await import('./gate.ts')).runGate(options.dataDir, say)) ? 0 : 1)
    const measured = await bench(options)
    // Written when the servers end.
    const windows = measured.flatMap((one) => one.windows)
    if (options.profileDir !== null) console.log(reportProfiles(options.profileDir, windows).join('\n'))
  } catch (error) {
    say(`${(error as Error).message}`)
    process.exitCode = 1
  }
}
