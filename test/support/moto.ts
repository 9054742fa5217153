/** AWS KMS as moto plays it (PyPI, in a virtual environment under node_modules/.cache), behind a proxy that can fail as networks and AWS do. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { promisify } from 'node:util'
import { pythonWith } from './python.ts'
import { until } from './server-process.ts'

const run = promisify(execFile)
const version = '5.2.5'
const packages = [`moto==${version}`, 'flask', 'flask-cors']
/** What the proxy does with a request. `region` limits it to that one. */
export type KmsMood =
  | { readonly kind: 'pass' }
  | { readonly kind: 'reset' | 'hang'; readonly region?: string }
  | { readonly kind: 'answer'; readonly status: number; readonly type: string }

export class Moto {
  readonly address: string
  mood: KmsMood = { kind: 'pass' }
  readonly #child: ChildProcess
  readonly #proxy: Server
  readonly #python: string
  readonly #upstreamPort: number

  private constructor(child: ChildProcess, proxy: Server, address: string, program: string, upstreamPort: number) {
    this.#child = child
    this.#proxy = proxy
    this.address = address
    this.#python = program
    this.#upstreamPort = upstreamPort
  }

  static async start(port: number): Promise<Moto> {
    const program = await pythonWith(`moto-${version}`, packages)
    // Of the environment only what Python needs: credentials of whoever runs the tests are nobody's business here.
    const child = spawn(program, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' })
    const proxy = createServer()
    const made = new Moto(child, proxy, `http://127.0.0.1:${port + 1}`, program, port)
    proxy.on('request', (asked, answer) => made.#handle(asked, answer))
    await new Promise<void>((resolve) => proxy.listen(port + 1, '127.0.0.1', resolve))
    await until('moto to answer', async () => ((await fetch(`http://127.0.0.1:${port}/moto-api/`)).ok ? true : null), 60_000)
    return made
  }

  #handle(asked: IncomingMessage, answer: ServerResponse): void {
    const region = /Credential=[^/]*\/\d+\/([^/]+)\//.exec(asked.headers.authorization ?? '')?.[1]
    const { mood } = this
    const hit = mood.kind !== 'pass' && (!('region' in mood) || mood.region === region)
    if (!hit) return this.#pass(asked, answer)
    if (mood.kind === 'reset') return void asked.socket.destroy()
    if (mood.kind !== 'answer') return
    asked.resume()
    answer.writeHead(mood.status, { 'content-type': 'application/x-amz-json-1.1' })
    answer.end(JSON.stringify({ __type: mood.type, message: 'planted, with marked-account-name' }))
  }

  #pass(asked: IncomingMessage, answer: ServerResponse): void {
    // The host stays what the client signed.
    const onward = request({ host: '127.0.0.1', port: this.#upstreamPort, method: asked.method, path: asked.url, headers: asked.headers })
    onward.on('response', (back) => {
      answer.writeHead(back.statusCode ?? 502, back.headers)
      back.pipe(answer)
    })
    onward.on('error', () => answer.destroy())
    asked.pipe(onward)
  }

  /** Runs Python with boto3 and `client(service, region)` at hand, as administrator; what it prints as JSON. */
  async script<T>(lines: string): Promise<T> {
    const head = `import boto3, json
def client(service, region='eu-central-1'):
    return boto3.client(service, region_name=region, endpoint_url='http://127.0.0.1:${this.#upstreamPort}', aws_access_key_id='admin', aws_secret_access_key='admin')
`
    const { stdout } = await run(this.#python, ['-c', head + lines])
    return JSON.parse(stdout) as T
  }

  /** From now on signatures and policies are checked. */
  async enforce(): Promise<void> {
    await fetch(`http://127.0.0.1:${this.#upstreamPort}/moto-api/reset-auth`, { method: 'POST', body: '0' })
  }

  async relax(): Promise<void> {
    await fetch(`http://127.0.0.1:${this.#upstreamPort}/moto-api/reset-auth`, { method: 'POST', body: 'Infinity' })
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#proxy.closeAllConnections()
    await new Promise((resolve) => this.#proxy.close(resolve))
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGKILL')
    await ended
  }
}
