/** A scripted `/v1` server on loopback for the client's and the CLI's tests: records what it was asked, answers what it was told. */
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Asked {
  readonly method: string
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: unknown
}

/** 'hang': never answers; 'drop': closes the connection without an answer. */
export type Reply =
  | { readonly status?: number; readonly json?: unknown; readonly text?: string; readonly headers?: Record<string, string> }
  | 'hang'
  | 'drop'

export class StubServer implements AsyncDisposable {
  readonly asked: Asked[] = []
  readonly #server: Server
  #reply: (asked: Asked, count: number) => Reply | Promise<Reply>
  private constructor(reply: (asked: Asked, count: number) => Reply | Promise<Reply>) {
    this.#reply = reply
    this.#server = createServer((request, response) => {
      void record(request).then(async (asked) => {
        this.asked.push(asked)
        const reply = await this.#reply(asked, this.asked.length)
        if (reply === 'hang') return
        if (reply === 'drop') {
          request.socket.destroy()
          return
        }
        const body = reply.text ?? (reply.json === undefined ? '' : JSON.stringify(reply.json))
        response.writeHead(reply.status ?? (body === '' ? 204 : 200), { 'content-type': 'application/json', ...reply.headers }).end(body)
      })
    })
  }
  static async start(reply: (asked: Asked, count: number) => Reply | Promise<Reply>): Promise<StubServer> {
    const stub = new StubServer(reply)
    await new Promise<void>((resolve) => stub.#server.listen(0, '127.0.0.1', resolve))
    return stub
  }
  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }
  get last(): Asked {
    const last = this.asked.at(-1)
    if (last === undefined) throw new Error('expected a request, got none')
    return last
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

async function record(request: IncomingMessage): Promise<Asked> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  const text = Buffer.concat(parts).toString()
  const url = new URL(request.url ?? '/', 'http://stub')
  return {
    method: request.method ?? '',
    path: decodeURIComponent(url.pathname.replace(/^\/v1\//, '')),
    query: Object.fromEntries(url.searchParams),
    headers: request.headers,
    body: text === '' ? undefined : (JSON.parse(text) as unknown),
  }
}

/** An address of loopback where nobody listens. */
export async function closedAddress(): Promise<string> {
  const stub = await StubServer.start(() => 'hang')
  const { address } = stub
  await stub[Symbol.asyncDispose]()
  return address
}
