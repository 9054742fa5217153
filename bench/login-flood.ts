/**
 * What a flood of password logins leaves to everybody else: writes and reads on three nodes, one after the other, without it and with so many attackers
 * who each try again as soon as they are answered. Run: node bench/login-flood.ts [--attackers 10,120] [--seconds 10]
 */
import { parseArgs } from 'node:util'
import { request } from 'undici'
import { mountKv, startCluster } from '#test/support/cluster.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({ options: { attackers: { type: 'string', default: '10,120' }, seconds: { type: 'string', default: '10' } } })
const seconds = Number(values.seconds)
const running = await startCluster()
const { cluster } = running

async function call(at: number, method: string, path: string, body?: object): Promise<void> {
  const node = cluster.nodes[at % cluster.nodes.length]
  const options = { token: cluster.rootToken, timeoutMs: 60_000, ...(body === undefined ? {} : { body }) }
  const answer = await cluster.api.call(node?.apiAddress ?? '', method, path, options)
  if (answer.status >= 300) throw new Error(`${path}: expected 2xx, got ${answer.status}`)
}

const at = (times: readonly number[], part: number): number =>
  Math.round(times.toSorted((a, b) => a - b)[Math.floor((times.length - 1) * part)] ?? 0)
const shape = (times: readonly number[]) => ({
  count: times.length,
  median_ms: at(times, 0.5),
  p99_ms: at(times, 0.99),
  worst_ms: at(times, 1),
})

async function measure(label: string) {
  const [writes, reads]: [number[], number[]] = [[], []]
  const until = performance.now() + seconds * 1_000
  for (let n = 0; performance.now() < until; n += 1) {
    const started = performance.now()
    await call(n, 'POST', `secret/data/${label}-${n}`, { data: { n } })
    const written = performance.now()
    await call(n + 1, 'GET', `secret/data/${label}-${n}`)
    writes.push(written - started)
    reads.push(performance.now() - written)
  }
  return { writes: shape(writes), reads: shape(reads) }
}

/** Answers by status. */
async function during<T>(attackers: number, work: () => Promise<T>): Promise<T & { readonly logins: Record<string, number> }> {
  let stopped = false
  const logins: Record<string, number> = {}
  const attack = async (id: number): Promise<void> => {
    const address = `${cluster.nodes[id % cluster.nodes.length]?.apiAddress ?? ''}/v1/auth/userpass/login/${id % 2 === 0 ? 'alice' : `nobody${id}`}`
    while (!stopped) {
      const answer = await request(address, { method: 'POST', body: '{"password":"a guess"}' })
      await answer.body.dump()
      logins[answer.statusCode] = (logins[answer.statusCode] ?? 0) + 1
    }
  }
  const all = Promise.all(Array.from({ length: attackers }, (_, id) => attack(id)))
  const done = await work()
  stopped = true
  await all
  return { ...done, logins }
}

try {
  await mountKv(cluster, 'secret')
  await call(0, 'POST', 'sys/auth/userpass', { type: 'userpass', config: { user_lockout_config: { lockout_disable: true } } })
  await call(0, 'POST', 'auth/userpass/users/alice', { password: 'right' })
  const leader = (await cluster.leader())?.id
  const figures: Record<string, object> = { 'no attackers': await measure('quiet') }
  for (const attackers of values.attackers.split(',').map(Number)) {
    figures[`${attackers} attackers`] = await during(attackers, () => measure(`flood${attackers}`))
  }
  figures.leader = { before: leader, after: (await cluster.leader())?.id }
  recordFigures('login-flood', `node bench/login-flood.ts --attackers ${values.attackers} --seconds ${seconds}`, figures)
} finally {
  await running.dispose()
}
