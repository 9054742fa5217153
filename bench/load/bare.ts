/**
 * A bare node:http server, in a process of its own, that answers every request with one given body: the most that Node can do on this machine,
 * and so what everything else is a part of. As a program: node bench/load/bare.ts PORT BYTES [KEY CERT].
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { Api } from '#cmd/dev/api.ts'
import { freePorts } from '#test/support/cluster.ts'
import type { Side } from './side.ts'

/** `tls`: folder with server.key, server.crt and ca.crt. */
export async function startBare(bodyBytes: number, tls: string | null): Promise<Side> {
  const port = await freePorts(1)
  const files = tls === null ? [] : [`${tls}/server.key`, `${tls}/server.crt`]
  const child = spawn(process.execPath, [import.meta.filename, String(port), String(bodyBytes), ...files], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  const address = `${tls === null ? 'http' : 'https'}://127.0.0.1:${port}`
  const caPath = tls === null ? null : `${tls}/ca.crt`
  const api = new Api(caPath)
  return {
    label: 'bare node:http',
    dialect: 'bare',
    addresses: [address],
    control: address,
    token: null,
    caPath,
    version: `node ${process.version}, ${bodyBytes} bytes`,
    processes: [{ name: 'bare', pid: child.pid ?? 0 }],
    own: true,
    api,
    restart: null,
    stop: async () => {
      await api.close()
      const ended = once(child, 'exit')
      child.stdin.end()
      await ended
    },
  }
}

async function serve([port = '0', bytes = '0', key, certificate]: readonly string[]): Promise<void> {
  // As Holdfast sends its own: a short body as text leaves in one write with its head.
  const body = 'x'.repeat(Number(bytes))
  const head = ['content-type', 'application/json', 'content-length', bytes, 'cache-control', 'no-store']
  const answer: RequestListener = (request, response) => {
    request.resume()
    response.writeHead(200, head).end(body, 'latin1')
  }
  const server =
    key === undefined || certificate === undefined
      ? createServer(answer)
      : createTlsServer({ key: readFileSync(key), cert: readFileSync(certificate), minVersion: 'TLSv1.3' }, answer)
  server.listen(Number(port), '127.0.0.1')
  await once(server, 'listening')
  process.stdout.write('ready\n')
  process.stdin.resume().on('end', () => process.exit(0))
}

if (process.argv[1] === import.meta.filename) await serve(process.argv.slice(2))
