import { webcrypto } from 'node:crypto'
import type { Socket } from 'node:net'
import 'reflect-metadata'
import * as x509 from '@peculiar/x509'
import { beforeAll, expect, test } from 'vitest'
import { isHoldfastError } from '#base/errors.ts'
import { AddressSet } from '#http/client-address.ts'
import { Connection, forwardingRules } from '#http/connection.ts'

let der: Uint8Array
let pem: string
beforeAll(async () => {
  x509.cryptoProvider.set(webcrypto as unknown as Crypto)
  const keys = (await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=web',
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
  })
  der = new Uint8Array(made.rawData)
  pem = made.toString('pem')
})
const proxies = { forwardedForFrom: ['10.0.0.1'], clientCertificateHeader: 'X-SSL-Client-Cert' }
const rules = forwardingRules(proxies, new AddressSet(proxies.forwardedForFrom, 'trusted_proxies'))
const plain = {} as Socket
const from = (address: string, header: string | undefined) =>
  new Connection(plain, { address, port: 1 }, rules).certificate(plain, header === undefined ? {} : { 'x-ssl-client-cert': header }, rules)

test('a listed proxy tells the certificate of its client, in each of three spellings', () => {
  const folded = pem.replaceAll('\n', ' ')
  for (const header of [encodeURIComponent(pem), folded, Buffer.from(der).toString('base64')])
    expect(Buffer.compare(from('10.0.0.1', header)?.leaf ?? Buffer.alloc(0), der)).toBe(0)
  const twice = from('10.0.0.1', encodeURIComponent(pem + pem))
  expect(twice?.chain.length).toBe(1)
})

test('of anyone else the header says nothing, and without it there is none', () => {
  expect(from('10.0.0.2', encodeURIComponent(pem))).toBeNull()
  expect(from('10.0.0.1', undefined)).toBeNull()
  expect(from('10.0.0.1', ' ')).toBeNull()
})

test('what can’t be read is refused', () => {
  for (const header of ['nonsense', '%E0%A4%A', encodeURIComponent(pem.slice(0, 80)), 'AAAA']) {
    let outcome: unknown = null
    try {
      from('10.0.0.1', header)
    } catch (error) {
      outcome = error
    }
    expect([header.slice(0, 8), isHoldfastError(outcome, 'ERR_BAD_REQUEST')]).toEqual([header.slice(0, 8), true])
  }
})
