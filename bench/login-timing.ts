/**
 * Does the time of a refused login say whether the user exists? Known and unknown users in turn, one at a time, lockout off, over HTTP to one node on
 * this machine. Wanted: medians that differ by less than 1 %, Welch's |t| under 4.5. For a machine that does nothing else.
 *
 *   node bench/login-timing.ts [--rounds 10000] [--names 100]
 *
 * Which of the two comes first is drawn anew each round: what repeats every so many milliseconds (ticks, collections) must not fall on one of them.
 */
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { Pool } from 'undici'
import { startCluster } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '10000' }, names: { type: 'string', default: '100' } } })
const rounds = Number(values.rounds)
const names = Number(values.names)
const warmUpRounds = Math.min(100, Math.ceil(rounds / 10))

const running = await startCluster({ nodes: 1 })
const [node] = running.cluster.nodes
if (node === undefined) throw new Error('expected a node')
const pool = new Pool(node.apiAddress, { connections: 1, pipelining: 1 })

async function write(path: string, body: object): Promise<void> {
  const answer = await pool.request({
    method: 'POST',
    path: `/v1/${path}`,
    headers: { 'x-vault-token': running.cluster.rootToken },
    body: JSON.stringify(body),
  })
  await answer.body.dump()
  if (answer.statusCode >= 300) throw new Error(`${path}: expected 2xx, got ${answer.statusCode}`)
}

/** Milliseconds of one login that is refused. */
async function refused(name: string): Promise<number> {
  const body = '{"password":"guess-of-somebody"}'
  const started = performance.now()
  const answer = await pool.request({ method: 'POST', path: `/v1/auth/userpass/login/${name}`, body })
  await answer.body.dump()
  const took = performance.now() - started
  if (answer.statusCode !== 400) throw new Error(`login: expected 400, got ${answer.statusCode}`)
  return took
}

/** Names of one length, so that nothing but their being there tells them apart. */
const nameOf = (kind: 'known' | 'ghost', at: number): string => `${kind}-${String(at % names).padStart(6, '0')}`

const mean = (of: readonly number[]): number => of.reduce((sum, one) => sum + one, 0) / of.length
const variance = (of: readonly number[]): number => {
  const middle = mean(of)
  return of.reduce((sum, one) => sum + (one - middle) ** 2, 0) / (of.length - 1)
}
const quantile = (of: readonly number[], at: number): number => of.toSorted((a, b) => a - b)[Math.floor((of.length - 1) * at)] ?? Number.NaN
const welchT = (a: readonly number[], b: readonly number[]): number =>
  (mean(a) - mean(b)) / Math.sqrt(variance(a) / a.length + variance(b) / b.length)
const round = (value: number): number => Math.round(value * 1_000) / 1_000

try {
  await write('sys/auth/userpass', { type: 'userpass', config: { user_lockout_config: { lockout_disable: true } } })
  for (let at = 0; at < names; at += 1) await write(`auth/userpass/users/${nameOf('known', at)}`, { password: `right-${at}` })
  const times: Record<'known' | 'ghost', number[]> = { known: [], ghost: [] }
  for (let at = -warmUpRounds; at < rounds; at += 1) {
    const order = randomInt(2) === 0 ? (['known', 'ghost'] as const) : (['ghost', 'known'] as const)
    for (const kind of order) {
      const took = await refused(nameOf(kind, Math.abs(at)))
      if (at >= 0) times[kind].push(took)
    }
  }
  // The slowest hundredth is the machine's, not the server's: as dudect does, t is told with and without it.
  const cut = quantile([...times.known, ...times.ghost], 0.99)
  const cropped = { known: times.known.filter((took) => took <= cut), ghost: times.ghost.filter((took) => took <= cut) }
  const [known, ghost] = [quantile(times.known, 0.5), quantile(times.ghost, 0.5)]
  const figures = {
    rounds,
    names,
    known_median_ms: round(known),
    unknown_median_ms: round(ghost),
    medians_differ_percent: round((Math.abs(known - ghost) / Math.min(known, ghost)) * 100),
    welch_t: round(welchT(times.known, times.ghost)),
    welch_t_without_slowest_percent: round(welchT(cropped.known, cropped.ghost)),
    known_p99_ms: round(quantile(times.known, 0.99)),
    unknown_p99_ms: round(quantile(times.ghost, 0.99)),
  }
  recordFigures('login-timing', `node bench/login-timing.ts --rounds ${rounds} --names ${names}`, figures)
  const passed = figures.medians_differ_percent < 1 && Math.abs(figures.welch_t) < 4.5
  console.log(passed ? 'passed: medians differ by less than 1 %, |t| under 4.5' : 'NOT passed: see the figures')
  process.exitCode = passed ? 0 : 1
} finally {
  await pool.close()
  await running.dispose()
}
