/** One connection to a collector: opened with the first write, closed when a write fails or is late, and opened again by the next one. */
import { createSocket, type Socket as Datagrams } from 'node:dgram'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'

export interface WireTarget {
  readonly kind: 'tcp' | 'tls' | 'udp' | 'unix'
  /** HOST:PORT, or the path of a socket. */
  readonly address: string
  /** PEM; null: the authorities of this machine. */
  readonly ca: string | null
  readonly serverName: string | null
}

export interface Wire {
  /**
   * Resolves when the kernel has all of them. Rejects after the time limit; then nothing of the connection is left. They are borrowed, and
   * not used after its end.
   */
  send(messages: readonly Buffer[]): Promise<void>
  close(): Promise<void>
}

/** Of an IPv4 datagram. */
const datagramBytesMax = 65_507

export function openWire(target: WireTarget, timeoutMs: number, clock: Clock): Wire {
  return target.kind === 'udp' ? new UdpWire(target, timeoutMs, clock) : new StreamWire(target, timeoutMs, clock)
}

/** @throws ERR_CONFIG for what is not HOST:PORT. */
export function hostPort(address: string): { host: string; port: number } {
  const [, host, port] = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(address) ?? []
  if (host !== undefined && Number(port) > 0 && Number(port) <= 65_535) return { host, port: Number(port) }
  throw new HoldfastError('ERR_CONFIG', `audit device expected an address as HOST:PORT, got ${JSON.stringify(address)}`)
}

const late = (what: string, timeoutMs: number): Error => new Error(`${what} expected within ${timeoutMs} ms, got nothing`)

class StreamWire implements Wire {
  readonly #target: WireTarget
  readonly #timeoutMs: number
  readonly #clock: Clock
  #socket: Socket | null = null

  constructor(target: WireTarget, timeoutMs: number, clock: Clock) {
    this.#target = target
    this.#timeoutMs = timeoutMs
    this.#clock = clock
  }

  async send(messages: readonly Buffer[]): Promise<void> {
    const socket = (this.#socket ??= await this.#connect())
    try {
      await this.#within(socket, 'a write', (done) => socket.write(Buffer.concat(messages), done))
    } catch (error) {
      this.#drop(socket)
      throw error
    }
  }

  async close(): Promise<void> {
    const socket = this.#socket
    if (socket === null) return
    this.#socket = null
    await this.#within(socket, 'an end', (done) => socket.end(done)).catch(() => {}) // What was written is with the kernel.
    socket.destroy()
  }

  async #connect(): Promise<Socket> {
    const socket = this.#begin()
    // A peer that hangs up between two writes must be found before the next one, which the kernel would take and lose.
    socket.on('end', () => this.#drop(socket))
    socket.on('close', () => this.#drop(socket))
    socket.resume()
    try {
      await this.#within(socket, 'a connection', (done) => socket.once(this.#target.kind === 'tls' ? 'secureConnect' : 'connect', done))
      return socket
    } catch (error) {
      socket.destroy()
      throw error
    }
  }

  #begin(): Socket {
    const { kind, address, ca, serverName } = this.#target
    if (kind === 'unix') return connectTcp({ path: address })
    const { host, port } = hostPort(address)
    if (kind === 'tcp') return connectTcp({ host, port, noDelay: true })
    // An address is no name that may be asked for (RFC 6066); the certificate is checked against it all the same.
    const name = serverName ?? (isIP(host) === 0 ? host : null)
    return connectTls({ host, port, minVersion: 'TLSv1.2', ...(ca === null ? {} : { ca }), ...(name === null ? {} : { servername: name }) })
  }

  #drop(socket: Socket): void {
    if (this.#socket === socket) this.#socket = null
    socket.destroy()
  }

  #within(socket: Socket, what: string, begin: (done: (error?: Error | null) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (error?: Error | null): void => {
        timer.cancel()
        socket.off('error', end)
        socket.off('close', onClose)
        if (error) reject(error)
        else resolve()
      }
      const onClose = (): void => end(new Error('the collector hung up'))
      const timer = this.#clock.setTimer(this.#timeoutMs, () => {
        end(late(what, this.#timeoutMs))
        // What is left in the socket's buffer must not be sent after its records were called lost.
        socket.destroy()
      })
      socket.on('error', end)
      socket.on('close', onClose)
      begin(end)
      // An error that comes when nobody waits would end the process.
      if (socket.listenerCount('error') < 2) socket.on('error', () => this.#drop(socket))
    })
  }
}

class UdpWire implements Wire {
  readonly #target: WireTarget
  readonly #timeoutMs: number
  readonly #clock: Clock
  #socket: Datagrams | null = null

  constructor(target: WireTarget, timeoutMs: number, clock: Clock) {
    this.#target = target
    this.#timeoutMs = timeoutMs
    this.#clock = clock
  }

  async send(messages: readonly Buffer[]): Promise<void> {
    const { host, port } = hostPort(this.#target.address)
    const longest = messages.reduce((max, { length }) => Math.max(max, length), 0)
    if (longest > datagramBytesMax) throw new Error(`a datagram expected at most ${datagramBytesMax} bytes, got ${longest}`)
    const socket = (this.#socket ??= this.#open(host))
    for (const message of messages) {
      await new Promise<void>((resolve, reject) => {
        const timer = this.#clock.setTimer(this.#timeoutMs, () => reject(late('a datagram', this.#timeoutMs)))
        socket.send(message, port, host, (error) => {
          timer.cancel()
          if (error) reject(error)
          else resolve()
        })
      })
    }
  }

  async close(): Promise<void> {
    this.#socket?.close()
    this.#socket = null
  }

  #open(host: string): Datagrams {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    socket.on('error', () => {
      if (this.#socket === socket) this.#socket = null
      socket.close()
    })
    return socket
  }
}
