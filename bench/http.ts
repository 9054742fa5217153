/**
 * Requests a second of a listener with a stub core, against bare node:http with the same body, and the CPU that LIST support costs.
 * `node bench/http.ts` prints a table and JSON; it starts `wrk` (Debian package) against servers in processes of their own.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { acceptListMethod, methodOf } from '#http/list-method.ts'
import { createHttpListener } from '#http/listener.ts'

const body = Buffer.from(`{"request_id":"0","data":{"data":{"value":"${'x'.repeat(300)}"}}}`)
const kinds = ['bare', 'bare+list', 'listener'] as const
type Kind = (typeof kinds)[number]

async function serve(kind: Kind): Promise<number> {
  if (kind === 'listener') {
    const headers = {}
    const listener = createHttpListener({
      core: { handle: () => Promise.resolve({ status: 200, headers, body }) },
      host: '127.0.0.1',
      port: 0,
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
    })
    await listener.listen()
    return listener.address?.port ?? 0
  }
  const server = createServer((request, response) => {
    if (kind === 'bare+list') methodOf(request)
    response.writeHead(200, ['Content-Type', 'application/json', 'Content-Length', String(body.length), 'Cache-Control', 'no-store'])
    response.end(body)
  })
  if (kind === 'bare+list') acceptListMethod(server, 'connection')
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

interface Result {
  readonly kind: Kind
  readonly requestsPerSecond: number
  readonly cpuMicrosPerRequest: number
}

async function measure(kind: Kind, seconds: number): Promise<Result> {
  const child = spawn(process.execPath, [import.meta.filename, '--serve', kind], { stdio: ['pipe', 'pipe', 'inherit'] })
  const next = (): Promise<string> => new Promise((resolve) => child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString())))
  const port = Number(await next())
  const load = (s: number): number => {
    const args = [
      '-t1',
      '-c64',
      `-d${s}s`,
      '-H',
      'X-Vault-Token: s.0123456789abcdefghijklmn',
      `http://127.0.0.1:${port}/v1/secret/data/bench`,
    ]
    const ran = spawnSync('wrk', args, { encoding: 'utf8' })
    if (ran.status !== 0) throw new Error(`expected wrk to run, got ${ran.error?.message ?? ran.stderr}`)
    return Number(/(\d+) requests in/.exec(ran.stdout)?.[1] ?? 0)
  }
  const cpu = async (): Promise<number> => {
    child.stdin.write('cpu\n')
    return Number(await next())
  }
  load(2)
  const before = await cpu()
  const count = load(seconds)
  const micros = (await cpu()) - before
  child.kill()
  return { kind, requestsPerSecond: Math.round(count / seconds), cpuMicrosPerRequest: Math.round((micros / count) * 10) / 10 }
}

if (process.argv[2] === '--serve') {
  process.stdout.write(String(await serve(process.argv[3] as Kind)))
  process.stdin.on('end', () => process.exit(0))
  process.stdin.on('data', () => {
    const { user, system } = process.cpuUsage()
    process.stdout.write(String(user + system))
  })
} else {
  const rounds = Number(process.argv[2] ?? 3)
  const results: Result[] = []
  // In turns, so that a slow minute of the machine meets all of them.
  for (let round = 0; round < rounds; round += 1) for (const kind of kinds) results.push(await measure(kind, 5))
  const median = (values: number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
  for (const kind of kinds) {
    const own = results.filter((result) => result.kind === kind)
    const rate = median(own.map((result) => result.requestsPerSecond))
    const cpu = median(own.map((result) => result.cpuMicrosPerRequest))
    process.stdout.write(`${kind.padEnd(10)} ${String(rate).padStart(7)} requests/s  ${cpu} us of CPU a request\n`)
  }
  process.stdout.write(`${JSON.stringify(results)}\n`)
}
