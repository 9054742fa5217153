/** A web server of the test's own on loopback: JSON answers by path, what it was asked, and the ways in which a provider is away. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'

export interface Asked {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

type Answer = { readonly status?: number; readonly json: unknown; readonly headers?: Record<string, string> } | null
export type Answering = (asked: Asked) => Answer | Promise<Answer>

export class WebServer {
  readonly asked: Asked[] = []
  /** null from it: no answer ever comes. */
  answer: Answering
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #scheme: string

  private constructor(answer: Answering, tls: { key: string; cert: string } | null) {
    this.answer = answer
    const listener = (request: IncomingMessage, response: ServerResponse): void => void this.#handle(request, response)
    this.#server = tls === null ? createServer(listener) : createTlsServer(tls, listener)
    this.#scheme = tls === null ? 'http' : 'https'
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
  }

  static async start(answer: Answering, tls: { key: string; cert: string } | null = null, port = 0): Promise<WebServer> {
    const server = new WebServer(answer, tls)
    await new Promise<void>((resolve) => server.#server.listen(port, '127.0.0.1', resolve))
    return server
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.port}`
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const asked = {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      body: Buffer.concat(parts).toString(),
    }
    this.asked.push(asked)
    const answer = await this.answer(asked)
    if (answer === null) return
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json', ...answer.headers })
    response.end(typeof answer.json === 'string' ? answer.json : JSON.stringify(answer.json))
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}
