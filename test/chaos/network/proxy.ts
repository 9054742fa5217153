/**
 * One node's door: every other node reaches it through here, and each direction of each connection obeys the link of its pair. A TCP proxy keeps
 * the order of bytes and loses none, so a lost packet is what TCP makes of it: a delay of everything behind it.
 */
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Links } from './links.ts'

/** Held back on one direction before its sender is told to wait. */
const heldBytesMax = 1_048_576
const retransmitMs = 250

export interface ProxyOptions {
  readonly slot: number
  readonly links: Links
  readonly listen: { readonly host: string; readonly port: number }
  readonly target: { readonly host: string; readonly port: number }
  /** Which node has called; null when it is none of them. */
  readonly caller: (socket: Socket) => number | null
  /** The address to call from on behalf of a node. */
  readonly faceOf: (slot: number) => string | undefined
}

export class Proxy {
  readonly #options: ProxyOptions
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(options: ProxyOptions) {
    this.#options = options
    this.#server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => this.#accept(socket))
  }

  static async listen(options: ProxyOptions): Promise<Proxy> {
    const proxy = new Proxy(options)
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject)
      proxy.#server.listen(options.listen.port, options.listen.host, resolve)
    })
    return proxy
  }

  close(): void {
    this.#server.close()
    this.dropAll()
  }

  /** Resets every connection. */
  dropAll(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  #accept(socket: Socket): void {
    this.#keep(socket)
    const from = this.#options.caller(socket)
    if (from === null) return void socket.resetAndDestroy()
    const { slot, links, target } = this.#options
    // What calls through a cut link gets no answer: the target hears of it once the way is free.
    whenOpen(links, from, slot, socket, () => {
      const localAddress = this.#options.faceOf(from)
      const onward = connect({ ...target, ...(localAddress === undefined ? {} : { localAddress }), noDelay: true, allowHalfOpen: true })
      socket.setNoDelay(true)
      this.#keep(onward)
      onward.once('error', () => socket.resetAndDestroy())
      onward.once('connect', () => {
        relay(links, from, slot, socket, onward)
        relay(links, slot, from, onward, socket)
      })
    })
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {}) // A reset is what this proxy is for; 'close' follows.
    socket.once('close', () => this.#sockets.delete(socket))
  }
}

/** Calls `then` when nothing is cut between the two, unless the socket closes first. */
function whenOpen(links: Links, a: number, b: number, socket: Socket, then: () => void): void {
  const isOpen = (): boolean => !links.at(a, b).cut && !links.at(b, a).cut
  if (isOpen()) return then()
  const unwatch = links.watch(() => {
    if (!isOpen()) return
    unwatch()
    if (!socket.destroyed) then()
  })
  socket.once('close', unwatch)
}

function relay(links: Links, from: number, to: number, source: Socket, sink: Socket): void {
  /** Chunks in order, null being the end. */
  const held: { readonly chunk: Buffer | null; readonly dueMs: number }[] = []
  let heldBytes = 0
  let lastDueMs = 0
  let timer: NodeJS.Timeout | null = null

  const pump = (): void => {
    if (timer !== null) clearTimeout(timer)
    timer = null
    for (let first = held[0]; first !== undefined; first = held[0]) {
      if (links.at(from, to).cut) return
      const waitMs = first.dueMs - performance.now()
      if (waitMs > 0.5) return void (timer = setTimeout(pump, waitMs))
      held.shift()
      if (first.chunk === null) return void sink.end()
      heldBytes -= first.chunk.length
      sink.write(first.chunk)
    }
    if (heldBytes < heldBytesMax && !sink.writableNeedDrain) source.resume()
  }
  const hold = (chunk: Buffer | null): void => {
    const { delayMs, jitterMs, loss } = links.at(from, to)
    let dueMs = performance.now() + delayMs + (jitterMs > 0 ? links.dice.below(jitterMs + 1) : 0)
    for (let tries = 0; tries < 4 && loss > 0 && links.dice.chance(loss); tries++) dueMs += retransmitMs * 2 ** tries
    lastDueMs = Math.max(lastDueMs, dueMs)
    held.push({ chunk, dueMs: lastDueMs })
    heldBytes += chunk?.length ?? 0
    if (heldBytes >= heldBytesMax || sink.writableNeedDrain) source.pause()
    pump()
  }
  const unwatch = links.watch(pump)
  sink.on('drain', pump)
  source.on('data', hold)
  source.once('end', () => hold(null))
  const over = (): void => {
    unwatch()
    if (timer !== null) clearTimeout(timer)
  }
  sink.once('close', over)
  source.once('close', () => {
    // A dead source's last bytes may still be on their way; its reset travels behind them.
    if (source.readableEnded) return
    if (held.length > 0 || links.at(from, to).cut) hold(null)
    else sink.destroy()
  })
  source.resume()
}
