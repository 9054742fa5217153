import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { Client } from '#client/client.ts'
import type { TlsOptions } from '#client/types.ts'
import { StubServer } from '#test/support/stub-server.ts'
import { selfSignedApiCertificate } from '#transport/certificates.ts'

let server: Server
let ca = ''
let asked = 0
beforeAll(async () => {
  const made = await selfSignedApiCertificate({ nowMs: systemClock.nowMs(), random: systemRandom })
  ca = made.caCertificatePem
  server = createServer({ key: made.privateKeyPem, cert: made.certificatePem }, (_, response) => {
    asked += 1
    response.end('{"data":{"k":"v"}}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})

const port = (): number => (server.address() as AddressInfo).port
const clientOf = (address: string, tls: TlsOptions) =>
  new Client({ addresses: [address], tls, timeoutMs: 3_000 }, { clock: systemClock, random: systemRandom })

test('an unknown authority is refused before anything is sent, also for a write', async () => {
  await using client = clientOf(`https://127.0.0.1:${port()}`, {})
  await expect(client.write('a', {})).rejects.toMatchObject({ mayHaveRun: false, hint: expect.stringContaining('-ca-cert') as string })
  expect(asked).toBe(0)
})

test('with its authority, or without verification, the server is spoken to', async () => {
  for (const tls of [{ ca }, { skipVerify: true }]) {
    await using client = clientOf(`https://127.0.0.1:${port()}`, tls)
    expect((await client.read('a'))?.data).toEqual({ k: 'v' })
  }
})

test('a certificate for another name is refused', async () => {
  await using client = clientOf(`https://127.0.0.1:${port()}`, { ca, serverName: 'elsewhere.example' })
  await expect(client.read('a')).rejects.toMatchObject({ mayHaveRun: false })
})

test('http where https is spoken, and the other way round: the hint says so', async () => {
  await using plain = clientOf(`http://127.0.0.1:${port()}`, {})
  await expect(plain.read('a')).rejects.toMatchObject({ hint: expect.stringContaining('https://') as string })
  await using stub = await StubServer.start(() => ({}))
  await using tls = clientOf(stub.address.replace('http:', 'https:'), {})
  await expect(tls.read('a')).rejects.toMatchObject({ hint: expect.stringContaining('http://') as string })
})
