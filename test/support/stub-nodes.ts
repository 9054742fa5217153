import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** Three servers that look like healthy nodes to a balancer and lose answers: each request below `/lost` arrives whole, and its connection closes. */
export interface StubNodes {
  readonly nodes: readonly { readonly apiAddress: string }[]
  /** What arrived below `/lost`, at whichever server: `<method> <path>`. */
  readonly arrived: readonly string[]
  stop(): Promise<void>
}

/** A request for `/lost` is answered by nobody before its `answeredAt`th arrival; the default is never. */
export async function startStubNodes({ answeredAt = Infinity }: { readonly answeredAt?: number } = {}): Promise<StubNodes> {
  const arrived: string[] = []
  const sockets = new Set<Socket>()
  const serve = (socket: Socket): void => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => socket.destroy())
    let got = ''
    socket.on('data', (chunk: Buffer) => {
      got += chunk.toString('latin1')
      const [, head, method, path] = /^((\S+) (\S+) HTTP[^]*?\r\n\r\n)/.exec(got) ?? []
      if (head === undefined || got.length < head.length + Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)) return
      got = ''
      if (path?.startsWith('/v1/lost') === true) {
        arrived.push(`${method} ${path}`)
        if (arrived.length < answeredAt) return void socket.destroy()
      }
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}')
    })
  }
  const servers: Server[] = []
  for (let count = 0; count < 3; count += 1) {
    const server = createServer(serve).listen(0, '127.0.0.1')
    await once(server, 'listening')
    servers.push(server)
  }
  return {
    nodes: servers.map((server) => ({ apiAddress: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })),
    arrived,
    stop: async () => {
      const closed = servers.map((server) => once(server, 'close'))
      for (const server of servers) server.close()
      for (const socket of sockets) socket.destroy()
      await Promise.all(closed)
    },
  }
}
