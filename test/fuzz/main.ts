/**
 * A fuzzer over the OpenAPI document: `npm run fuzz -- [--requests N] [--seed N] [--json FILE] [--server] [--tour]`.
 *
 * Without `--server` it asks this process: the real listener, core and engines over a state in memory, so that 100,000 requests take minutes and not hours;
 * with it a server of its own, with Raft, disk and audit. `--tour` sends what should succeed and no cases.
 *
 * schemathesis makes the cases from the document of a running server, good ones and bad ones; some of what they name is replaced by what is there, so that
 * handlers are reached and not only the checks before them. Every case is sent twice: with a root token, and with one that may do little. Nothing may be
 * answered with 500, no process may end, no error may tell a secret. Before that a tour sends to each route what succeeds there, and after it come routes
 * that need shares, members or an auto seal, and logins that somebody outside vouches for, on clusters of their own: a route that never answers 2xx fails the run. Sealing, stepping down and ending
 * one's own token have a cluster of their own, at the end. The file has the histogram by route, and is written anew while the run goes on.
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
import { lendingEngine } from '#test/support/lending-engine.ts'
import { figureRecord } from '#cmd/dev/figure-record.ts'
import { pythonWith } from '#test/support/python.ts'
import { startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { holders } from './holders.ts'
import { Judge, operationsOf } from './judge.ts'
import { lastRun } from './last-run.ts'
import { Logins } from './logins.ts'
import { Sender, type Case, type Document } from './sender.ts'
import { tour } from './tour.ts'

const schemathesis = 'schemathesis==4.32.5'
const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    json: { type: 'string', default: '' },
    server: { type: 'boolean', default: false },
    tour: { type: 'boolean', default: false },
  },
})
const requestsWanted = Number(values.requests)
const seed = Number(values.seed)
const started = performance.now()
/** Between two lines of progress, and two writings of the file. */
const requestsPerReport = 4_000
/** A part of the operations is left out of the cases, or sent seldom (judge.ts). */
const sentOfCases = 0.9
/** Of all requests, those to login methods that somebody outside vouches for: about their part of the operations. */
const shareOfLogins = 0.12
const scratch = mkdtempSync(join(tmpdir(), 'holdfast-fuzz-'))

async function makeCases(document: string, casesPerOperation: number): Promise<string> {
  const python = await pythonWith(schemathesis.replace('==', '-'), [schemathesis])
  const [from, to, said] = [join(scratch, 'openapi.json'), join(scratch, 'cases.jsonl'), join(scratch, 'cases.err')]
  writeFileSync(from, document)
  const child = spawn(python, ['test/fuzz/cases.py', from, String(casesPerOperation), String(seed)], {
    stdio: ['ignore', openSync(to, 'w'), openSync(said, 'w')],
  })
  const [code] = (await once(child, 'exit')) as [number]
  if (code !== 0) throw new Error(`expected the maker of cases to end with 0, got ${code}: ${readFileSync(said, 'utf8').slice(-500)}`)
  return to
}

interface Target {
  readonly address: string
  readonly rootToken: string
  nowMs(): number
  /** What its log says so far. */
  log(): string
  dispose(): Promise<void>
}

async function ownServer(): Promise<Target> {
  const running: TestCluster = await startCluster({ nodes: 1 })
  const { apiAddress, logPath } = await waitForLeader(running.cluster)
  const { rootToken } = running.cluster
  return {
    address: apiAddress,
    rootToken,
    nowMs: () => Date.now(),
    log: () => readFileSync(logPath, 'utf8'),
    dispose: () => running.dispose(),
  }
}

async function inThisProcess(): Promise<Target> {
  const lines: string[] = []
  const { log } = createProcessLogger('warn', 'node-1', (line) => void (lines.length < 10_000 && lines.push(line)))
  const { node, rootToken } = await openHouse(1, [lendingEngine().engine], log)
  const listener = createHttpListener({ core: node.core, host: '127.0.0.1', port: 0, clock: systemClock, random: systemRandom, log })
  await listener.listen()
  node.core.startJobs()
  return {
    address: `http://127.0.0.1:${listener.address!.port}`,
    rootToken,
    nowMs: () => node.nowMs(),
    log: () => lines.join(''),
    dispose: async () => {
      await node.core.stopJobs()
      await listener.close(0)
    },
  }
}

async function fuzz(target: Target): Promise<Judge> {
  const { address, rootToken } = target
  const sender = new Sender({ address, rootToken, seed, lends: !values.server, nowMs: () => target.nowMs() })
  const judge = new Judge(sender)
  await sender.write('sys/auth/approle', { type: 'approle' })
  await sender.heal()
  judge.document = await sender.document()
  await tour(sender, judge)
  report(judge, 'tour')
  if (!values.tour) {
    const wanted = requestsWanted * (1 - shareOfLogins)
    await allCases({ judge, document: judge.document, requestsTo: wanted, casesPerHeal: 800, heal: () => sender.heal() })
  }
  judge.readLog(target.log())
  await sender.close()
  return judge
}

/** The methods that somebody outside vouches for, on a server of their own. */
async function fuzzLogins(judge: Judge): Promise<void> {
  const logins = await Logins.start(seed)
  try {
    const document = await logins.tour(judge)
    judge.goOn(logins.sender, document)
    report(judge, 'tour of logins')
    if (!values.tour) await allCases({ judge, document, requestsTo: requestsWanted, casesPerHeal: 160, heal: () => logins.ground() })
    judge.readLog(logins.log())
  } finally {
    await logins.dispose()
  }
}

interface Round {
  readonly judge: Judge
  /** Cases are made of these routes, until so many requests were sent in all. */
  readonly document: Document
  readonly requestsTo: number
  /** A multiple of eight. A provider's address is soon written over, and then no login gets any further. */
  readonly casesPerHeal: number
  /** Puts back what cases take away. */
  readonly heal: () => Promise<void>
}

async function allCases({ judge, document, requestsTo, casesPerHeal, heal }: Round): Promise<void> {
  const left = Math.max(0, requestsTo - judge.requests)
  const casesPerOperation = Math.max(2, Math.ceil(left / 2 / sentOfCases / operationsOf(document).length))
  const cases = await makeCases(JSON.stringify(document), casesPerOperation)
  report(judge, `${casesPerOperation} cases of each operation made`)
  for (const who of ['root', 'limited'] as const) {
    let count = 0
    let waiting: Promise<void>[] = []
    for await (const line of createInterface({ input: createReadStream(cases) })) {
      waiting.push(judge.send(JSON.parse(line) as Case, who))
      if (waiting.length >= 8) await Promise.all(waiting.splice(0))
      if (++count % casesPerHeal === 0) {
        await Promise.all(waiting.splice(0))
        await heal()
      }
      if (count % requestsPerReport === 0) report(judge, who)
    }
    await Promise.all(waiting)
    report(judge, `${who}: all`)
  }
}

/** A line of progress, and what is known so far in the file. */
function report(judge: Judge, what: string): void {
  console.log(`${secondsSo()} s, ${what}: ${judge.requests} requests, ${judge.problems.length} problems`)
  write(judge, { complete: false })
}

const secondsSo = (): number => Math.round((performance.now() - started) / 1_000)

function write(judge: Judge, more: object): void {
  if (values.json === '') return
  const command = `npm run fuzz -- --requests ${requestsWanted} --seed ${seed}${values.server ? ' --server' : ''}`
  const record = figureRecord('fuzz', command, { ...judge.result(), seconds: secondsSo(), ...more })
  writeFileSync(values.json, `${JSON.stringify(record, null, 2)}\n`)
}

const target = await (values.server ? ownServer() : inThisProcess())
let judge: Judge
try {
  judge = await fuzz(target)
} finally {
  await target.dispose()
}
await fuzzLogins(judge)
if (!values.tour) {
  await holders(judge)
  report(judge, 'shares, seals and members')
}
const endings = values.tour ? [] : await lastRun(judge)
rmSync(scratch, { recursive: true, force: true })
const { requests, statuses, without_success } = judge.result()
write(judge, { complete: true, endings })
console.log(`${requests} requests in ${secondsSo()} s, ${judge.operations.length} operations, by status ${JSON.stringify(statuses)}`)
console.log(`without a 2xx: ${without_success.length === 0 ? 'none' : without_success.map((each) => `\n  ${each}`).join('')}`)
for (const problem of judge.problems.slice(0, 50)) console.log(`PROBLEM ${JSON.stringify(problem)}`)
for (const { what, status } of endings) console.log(`ending: ${what}: ${status}`)
process.exit(judge.problems.length > 0 || without_success.length > 0 || endings.some(({ status }) => status >= 300) ? 1 : 0)
