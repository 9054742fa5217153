/**
 * A fuzzer over the OpenAPI document: `npm run fuzz -- [--cases N] [--seed N] [--json FILE] [--server]`.
 *
 * Without `--server` it asks this process: the real listener, core and engines over a state in memory, so that 100,000 requests take minutes and not hours;
 * with it a server of its own, with Raft, disk and audit.
 *
 * schemathesis makes the cases from the document of a running server, good ones and bad ones; some of what they name is replaced by what is there, so that
 * handlers are reached and not only the checks before them. Every case is sent twice: with a root token, and with one that may do little. Nothing may be
 * answered with 500, no process may end, no error may tell a secret. Before that a tour sends to each route what succeeds there, so that a route which never
 * answers 2xx is seen. Sealing, stepping down and ending one's own token have a cluster of their own, at the end.
 */
import { spawn } from 'node:child_process'
import { createReadStream, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { systemClock } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { createHttpListener } from '#http/listener.ts'
import { createProcessLogger } from '#node/logger.ts'
import { openHouse } from '#test/support/core-house.ts'
import { pythonWith } from '#test/support/python.ts'
import { startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { Judge } from './judge.ts'
import { lastRun } from './last-run.ts'
import { Sender, type Case } from './sender.ts'
import { tour } from './tour.ts'

const schemathesis = 'schemathesis==4.32.5'
const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    json: { type: 'string', default: '' },
    server: { type: 'boolean', default: false },
  },
})
const casesPerOperation = Number(values.cases)
const seed = Number(values.seed)
const started = performance.now()
const scratch = mkdtempSync(join(tmpdir(), 'holdfast-fuzz-'))

async function makeCases(document: string): Promise<string> {
  const python = await pythonWith(schemathesis.replace('==', '-'), [schemathesis])
  const [from, to] = [join(scratch, 'openapi.json'), join(scratch, 'cases.jsonl')]
  writeFileSync(from, document)
  const child = spawn(python, ['test/fuzz/cases.py', from, String(casesPerOperation), String(seed)], {
    stdio: ['ignore', openSync(to, 'w'), 'ignore'],
  })
  const [code] = (await once(child, 'exit')) as [number]
  if (code !== 0) throw new Error(`expected the maker of cases to end with 0, got ${code}`)
  return to
}

interface Target {
  readonly address: string
  readonly rootToken: string
  /** What its log says so far. */
  log(): string
  dispose(): Promise<void>
}

async function ownServer(): Promise<Target> {
  const running: TestCluster = await startCluster({ nodes: 1 })
  const { apiAddress, logPath } = await waitForLeader(running.cluster)
  const { rootToken } = running.cluster
  return { address: apiAddress, rootToken, log: () => readFileSync(logPath, 'utf8'), dispose: () => running.dispose() }
}

async function inThisProcess(): Promise<Target> {
  const lines: string[] = []
  const { log } = createProcessLogger('warn', 'node-1', (line) => void (lines.length < 10_000 && lines.push(line)))
  const { node, rootToken } = await openHouse(1, [], log)
  const listener = createHttpListener({ core: node.core, host: '127.0.0.1', port: 0, clock: systemClock, random: systemRandom, log })
  await listener.listen()
  node.core.startJobs()
  return {
    address: `http://127.0.0.1:${listener.address!.port}`,
    rootToken,
    log: () => lines.join(''),
    dispose: async () => {
      await node.core.stopJobs()
      await listener.close(0)
    },
  }
}

async function fuzz(target: Target): Promise<Judge> {
  const { address, rootToken } = target
  const sender = new Sender({ address, rootToken, seed })
  const judge = new Judge(sender)
  await sender.write('sys/auth/approle', { type: 'approle' })
  await sender.heal()
  judge.document = await sender.document()
  const cases = await makeCases(JSON.stringify(judge.document))
  console.log(`cases made after ${Math.round((performance.now() - started) / 1_000)} s`)
  await tour(sender, judge)
  console.log(`tour: ${judge.result().requests} requests in ${Math.round((performance.now() - started) / 1_000)} s`)
  for (const who of ['root', 'limited'] as const) {
    let count = 0
    let waiting: Promise<void>[] = []
    for await (const line of createInterface({ input: createReadStream(cases) })) {
      waiting.push(judge.send(JSON.parse(line) as Case, who))
      if (waiting.length >= 8) await Promise.all(waiting.splice(0))
      if (++count % 800 === 0) {
        await Promise.all(waiting.splice(0))
        await sender.heal()
        if (count % 4_000 === 0) console.log(`${who}: ${count} sent, ${judge.problems.length} problems`)
      }
    }
    await Promise.all(waiting)
  }
  judge.readLog(target.log())
  await sender.close()
  return judge
}

const target = await (values.server ? ownServer() : inThisProcess())
let judge: Judge
try {
  judge = await fuzz(target)
} finally {
  await target.dispose()
}
const endings = await lastRun()
rmSync(scratch, { recursive: true, force: true })
const result = {
  ...judge.result(),
  endings,
  cases_per_operation: casesPerOperation,
  seed,
  seconds: Math.round((performance.now() - started) / 1_000),
}
if (values.json !== '') writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`)
console.log(
  `${result.requests} requests in ${result.seconds} s, ${result.operations} operations, by status ${JSON.stringify(result.statuses)}`,
)
console.log(`without a 2xx: ${result.without_success.length === 0 ? 'none' : result.without_success.map((each) => `\n  ${each}`).join('')}`)
for (const problem of judge.problems.slice(0, 50)) console.log(`PROBLEM ${JSON.stringify(problem)}`)
for (const { what, status } of endings) console.log(`ending: ${what}: ${status}`)
process.exit(judge.problems.length > 0 || endings.some(({ status }) => status >= 300) ? 1 : 0)
