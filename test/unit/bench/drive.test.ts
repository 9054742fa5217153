/** The generator against small servers of this process: bounds are lower ones only, since a slow machine may always take longer. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { drive, type Drive } from '../../../bench/load/drive.ts'
import { cpuMicros, cpuMicrosOf, listenerOn, residentMib, threadMicros } from '../../../bench/load/processes.ts'

const servers: Server[] = []
afterEach(() => servers.splice(0).forEach((server) => server.close()))

async function serve(answer: (count: number) => { status?: number; body?: string; afterMs?: number; close?: boolean }): Promise<string> {
  let count = 0
  const server = createServer((request, response) => {
    const { status = 200, body = '{}', afterMs = 0, close = false } = answer((count += 1))
    request.resume()
    const send = (): void =>
      void response.writeHead(status, { 'content-length': body.length, ...(close ? { connection: 'close' } : {}) }).end(body)
    if (afterMs > 0) setTimeout(send, afterMs)
    else send()
  })
  servers.push(server)
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const basic = (address: string): Drive => ({
  addresses: [address],
  ca: null,
  work: { name: 'test', next: () => 'GET / HTTP/1.1\r\nHost: test\r\n\r\n' },
  connections: 4,
  warmUpMs: 0,
  runMs: 300,
  rate: null,
  processes: [],
  dataDir: null,
})

test('so many answers are counted as the server gave, over connections that it may close', async () => {
  let given = 0
  const address = await serve((count) => {
    given = count
    return { close: count % 7 === 0 }
  })
  const driven = await drive({ ...basic(address), runMs: 60_000, countMax: 200 })
  expect(driven.requests).toBeGreaterThanOrEqual(200)
  expect(driven.errors).toEqual({})
  expect(given - driven.requests, 'those under way at the end').toBeLessThanOrEqual(4)
  expect(driven.latencies.count).toBeGreaterThanOrEqual(driven.requests)
})

test('at a rate, a stall is seen by every request that was due in it', async () => {
  // One connection, 200 a second, and one answer that takes 400 ms: some 80 requests were due meanwhile.
  const address = await serve((count) => ({ afterMs: count === 5 ? 400 : 0 }))
  const driven = await drive({ ...basic(address), connections: 1, rate: 200, runMs: 1_000 })
  expect(driven.latencies.at(0.75), 'a quarter of all waited for a tenth of a second and more').toBeGreaterThan(100)
  expect(driven.expectedMs).toBeNull()
})

test('errors are counted by status, and a server that only refuses ends the run', async () => {
  const some = await drive({ ...basic(await serve((count) => ({ status: count % 2 === 0 ? 503 : 200 }))) })
  expect(some.errors['503']).toBeGreaterThan(0)
  expect(some.requests).toBeGreaterThan(0)
  const refusing = await serve(() => ({ status: 403, body: '{"errors":["permission denied"]}' }))
  await expect(drive({ ...basic(refusing), runMs: 60_000 })).rejects.toThrow('expected answers of 2xx, got only 403: permission denied')
})

test('an address that does not answer is named', async () => {
  await expect(drive(basic('http://127.0.0.1:1'))).rejects.toThrow('127.0.0.1:1 to take a connection, got ECONNREFUSED')
})

test('the processes of this machine: CPU, memory, who listens', async () => {
  const line = `12 (a ) (name) S ${Array.from({ length: 10 }, (_, i) => i).join(' ')} 150 25 0 0`
  expect(cpuMicrosOf(line)).toBe(1_750_000)
  expect(cpuMicros(process.pid)).toBeGreaterThan(0)
  const held = residentMib(process.pid)
  expect(held?.all).toBeGreaterThan(10)
  expect(held?.files).toBeLessThan(held!.all)
  const threads = threadMicros(process.pid)
  expect(Math.max(...threads.values())).toBeGreaterThan(0)
  const together = [...threads.values()].reduce((sum, micros) => sum + micros, 0)
  // Of the process's, to which threads that have ended belong too; each rounds down to a hundredth of a second.
  expect(together).toBeLessThanOrEqual(cpuMicros(process.pid)! + 1_000_000)
  expect(listenerOn(Number(new URL(await serve(() => ({}))).port))).toBe(process.pid)
  expect([cpuMicros(2 ** 30), residentMib(2 ** 30), threadMicros(2 ** 30)]).toEqual([null, null, new Map()])
})
