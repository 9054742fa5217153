import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Clock } from '#base/clock.ts'
import { Revocation } from '#auth/cert/revocation.ts'
import { parseCertificate, type Certificate } from '#auth/cert/x509.ts'
import type { Outside, WebAnswer, WebQuestion } from '#auth/outside.ts'
import { openHouse, type HouseNode } from '#test/support/core-house.ts'
import { OpenSsl, type Made } from '#test/support/openssl.ts'
import { WebServer } from '#test/support/web-server.ts'

const ssl = new OpenSsl()
afterAll(() => ssl.dispose())

/** What the house's clock says, which stands in 2023. */
const during = { from: '20230101000000Z', to: '20330101000000Z' }
const client = ['extendedKeyUsage=clientAuth', 'subjectAltName=DNS:web.example.com,email:web@example.com,URI:spiffe://x/web']
let root: Made
let middle: Made
let web: Made
let other: Made
beforeAll(() => {
  root = ssl.make('root', null, { ca: true, ...during })
  middle = ssl.make('middle', root, {
    ca: true,
    ...during,
    extensions: ['nameConstraints=critical,permitted;DNS:example.com,permitted;email:example.com'],
  })
  web = ssl.make('web', middle, { ...during, subject: '/CN=web/OU=eng', extensions: [...client, '1.2.3.4=ASN1:UTF8String:blue-7'] })
  other = ssl.make('other', middle, { ...during, extensions: client })
})

let house: Awaited<ReturnType<typeof openHouse>>
let node: HouseNode
beforeEach(async () => {
  house = await openHouse()
  node = house.node
  await node.write('sys/auth/cert', { type: 'cert' })
})
const role = (name: string, body: object) => node.write(`auth/cert/certs/${name}`, { token_policies: 'app', ...body })
const login = (made: Made | null, chain: Made[] = [middle], body: object = {}, over = {}) =>
  node.ask({
    operation: 'update',
    method: 'POST',
    path: 'auth/cert/login',
    token: null,
    body: { ...body },
    ...(made === null ? {} : { clientCertificate: made.der, clientCertificateChain: chain.map(({ der }) => der) }),
    ...over,
  })
const unfit = { errors: ['failed to match all constraints for this login certificate'] }

describe('a login', () => {
  test('by a chain to a trusted authority answers a token, in one entry of the log', async () => {
    await role('machines', { certificate: root.pem })
    const before = house.cluster.node(0).status().applied
    const { status, body } = await login(web)
    expect(status).toBe(200)
    expect(body.auth).toMatchObject({
      policies: ['app', 'default'],
      metadata: { cert_name: 'machines', common_name: 'web', serial_number: expect.stringMatching(/^\d+$/) },
    })
    expect(body.auth.metadata.subject_key_id).toMatch(/^([0-9a-f]{2}:){19}[0-9a-f]{2}$/)
    expect(house.cluster.node(0).status().applied - before).toBe(1)
    expect((await node.read(`identity/entity/id/${body.auth.entity_id}`)).body.data.aliases[0].name).toBe('web')
    expect((await login(web, [middle], { name: 'machines' })).status).toBe(200)
    expect((await login(web, [middle], { name: 'none' })).body).toEqual(unfit)
    expect((await login(null)).body).toEqual({ errors: ['client certificate must be supplied'] })
  })

  test('needs the certificates between, sent or laid down', async () => {
    await role('machines', { certificate: root.pem })
    expect((await login(web, [])).body).toEqual(unfit)
    await role('machines', { certificate: root.pem + middle.pem })
    expect((await login(web, [])).status).toBe(200)
  })

  test('of whom the authority has not signed, or not as a client, or not now, or beyond its names, is refused', async () => {
    await role('machines', { certificate: root.pem })
    const stranger = ssl.make('stranger', null, { ca: true, ...during })
    const twin = ssl.make('twin', null, { ca: true, ...during, subject: '/CN=middle' })
    const refused: [string, Made, Made[]][] = [
      ['of another authority', ssl.make('foreign', stranger, { ...during, extensions: client }), [stranger]],
      ['of an authority of the same name', ssl.make('twinned', twin, { ...during, extensions: client }), [twin, middle]],
      ['signed by a client', ssl.make('child', web, { ...during, extensions: client }), [web, middle]],
      ['expired', ssl.make('old', middle, { from: '20220101000000Z', to: '20230201000000Z', extensions: client }), [middle]],
      ['of the future', ssl.make('new', middle, { from: '20300101000000Z', to: '20330101000000Z', extensions: client }), [middle]],
      ['of a server', ssl.make('server', middle, { ...during, extensions: ['extendedKeyUsage=serverAuth'] }), [middle]],
      [
        'outside of the names of its authority',
        ssl.make('out', middle, { ...during, extensions: ['subjectAltName=DNS:evil.org'] }),
        [middle],
      ],
      ['signed with SHA-1', ssl.make('weak', middle, { ...during, extensions: client, digest: 'sha1' }), [middle]],
    ]
    for (const [what, made, chain] of refused) {
      const { status, body } = await login(made, chain)
      expect([what, status, body]).toEqual([what, 400, unfit])
    }
    const mute = ssl.make('mute', root, { ca: true, ...during, extensions: ['keyUsage=critical,cRLSign'] })
    expect((await login(ssl.make('muted', mute, { ...during, extensions: client }), [mute])).body).toEqual(unfit)
    const odd = ssl.make('odd', middle, { ...during, extensions: [...client, '1.2.3.9=critical,ASN1:UTF8String:x'] })
    expect((await login(odd)).body).toEqual(unfit)
    const short = ssl.make('short', root, { ca: true, ...during, extensions: ['basicConstraints=critical,CA:TRUE,pathlen:0'] })
    const below = ssl.make('below', short, { ca: true, ...during })
    expect((await login(ssl.make('deep', below, { ...during, extensions: client }), [below, short])).body).toEqual(unfit)
    expect((await login(ssl.make('flat', short, { ...during, extensions: client }), [short])).status).toBe(200)
    const { status } = await login(web, [middle], {}, { clientCertificate: Buffer.from('nonsense') })
    expect(status).toBe(400)
  })

  test('by a certificate that is trusted itself, and by no other of its serial number', async () => {
    const own = ssl.make('own', null, { ...during, extensions: client })
    await role('own', { certificate: own.pem })
    expect((await login(own, [])).status).toBe(200)
    const copy = ssl.make('copy', null, { ...during, subject: '/CN=own', extensions: client })
    expect((await login(copy, [])).body).toEqual(unfit)
    // Trusted itself, it vouches for nobody.
    expect((await login(ssl.make('by-own', own, { ...during, extensions: client }), [own])).body).toEqual(unfit)
  })

  test('is held to names, units and extensions', async () => {
    const cases: [object, boolean][] = [
      [{ allowed_names: 'web' }, true],
      [{ allowed_names: '*.example.com' }, true],
      [{ allowed_names: 'web@*' }, true],
      [{ allowed_names: 'spiffe://*' }, false],
      [{ allowed_common_names: 'w*b' }, true],
      [{ allowed_common_names: 'web.example.com' }, false],
      [{ allowed_dns_sans: 'web.example.com' }, true],
      [{ allowed_dns_sans: 'example.com' }, false],
      [{ allowed_email_sans: '*@example.com', allowed_uri_sans: 'spiffe://x/*' }, true],
      [{ allowed_email_sans: '*@example.com', allowed_uri_sans: 'spiffe://y/*' }, false],
      [{ allowed_organizational_units: 'ops,eng' }, true],
      [{ allowed_organizational_units: 'ops' }, false],
      [{ required_extensions: '1.2.3.4:blue-*' }, true],
      [{ required_extensions: '1.2.3.4:red' }, false],
      [{ required_extensions: '1.2.3.5:*' }, false],
      [{ required_extensions: 'hex:1.2.3.4:0c06626c75652d37' }, true],
      [{ token_bound_cidrs: '10.0.0.0/8' }, false],
    ]
    for (const [body, fits] of cases) {
      await node.remove('auth/cert/certs/x')
      await role('x', { certificate: root.pem, ...body })
      expect([body, (await login(web)).status]).toEqual([body, fits ? 200 : 400])
    }
    expect((await login(web, [middle], {}, { clientAddress: '10.1.1.1' })).status).toBe(200)
    await role('x', { token_bound_cidrs: '', allowed_metadata_extensions: '1.2.3.4' })
    expect((await login(web)).body.auth.metadata['1-2-3-4']).toBe('blue-7')
  })
})

describe('revocation', () => {
  test('by a list that an operator lays down', async () => {
    await role('machines', { certificate: root.pem })
    expect((await node.write('auth/cert/crls/mine', { crl: ssl.crl(middle, [other]) })).status).toBe(204)
    expect((await login(web)).status).toBe(200)
    expect((await login(other)).body.errors).toEqual(['certificate has been revoked'])
    expect(Object.keys((await node.read('auth/cert/crls/mine')).body.data.serials).length).toBe(1)
    await node.write('auth/cert/crls/top', { crl: ssl.crl(root, [middle]) })
    expect((await login(web)).body.errors).toEqual(['certificate has been revoked'])
    expect((await node.list('auth/cert/crls')).body.data.keys).toEqual(['mine', 'top'])
    await node.remove('auth/cert/crls/top')
    expect((await login(web)).status).toBe(200)
    for (const bad of [{ crl: 'x' }, {}, { crl: 'x', url: 'http://x' }, { url: 'file:///x' }])
      expect((await node.write('auth/cert/crls/bad', bad)).status).toBe(400)
  })

  test('by a list at an address, which is fetched again, and without which nobody gets in', async () => {
    const bytes = (revoked: Made[]): string => ssl.crl(middle, revoked)
    const server = await WebServer.start(() => ({ json: bytes([]) }))
    await role('machines', { certificate: root.pem })
    expect((await node.write('auth/cert/crls/there', { url: `${server.url}/crl` })).status).toBe(204)
    expect((await login(other)).status).toBe(200)
    const list = bytes([other])
    server.answer = () => ({ json: list })
    expect((await login(other)).status).toBe(200)
    house.clock.advance(3_600_001)
    expect((await login(other)).body.errors).toEqual(['certificate has been revoked'])
    house.clock.advance(3_600_001)
    server.answer = () => ({ status: 500, json: {} })
    expect((await login(web)).status).toBe(502)
    await server.stop()
    expect((await login(web)).status).toBe(502)
  })

  test('by a list at an address only if it is the issuer\u2019s own, and of this time: whoever is on the way can send another', async () => {
    const server = await WebServer.start(() => ({ json: ssl.crl(middle, [other]) }))
    await role('machines', { certificate: root.pem })
    await node.write('auth/cert/crls/there', { url: `${server.url}/crl` })
    expect((await login(other)).body.errors).toEqual(['certificate has been revoked'])
    const impostor = ssl.make('impostor', null, { ca: true, ...during, subject: '/CN=middle' })
    const send = (list: string): void => {
      house.clock.advance(3_600_001)
      server.answer = () => ({ json: list })
    }
    send(ssl.crl(impostor, []))
    expect((await login(other)).body.errors).toEqual(['a revocation list is not signed by the issuer of the certificate'])
    send(ssl.crl(root, []))
    expect((await login(other)).status, 'of another issuer').toBe(502)
    const old = ssl.crl(middle, [], ['-crl_lastupdate', '20221001000000Z', '-crl_nextupdate', '20221101000000Z'])
    send(old)
    expect((await login(other)).status, 'out of date').toBe(502)
    expect((await node.write('auth/cert/crls/old', { url: `${server.url}/crl` })).status).toBe(502)
    send(ssl.crl(middle, []))
    expect((await login(other)).status).toBe(200)
    await server.stop()
  })

  test('by a responder is asked for again by a mount that trusts another one: its good word is not this mount\u2019s', async () => {
    const authority = ssl.make('authority', null, { ca: true })
    const leaf = ssl.make('fallen', authority, { extensions: client })
    const evil = ssl.make('evil', null, { ca: true })
    ssl.crl(authority, [leaf])
    const truth = { index: ssl.index(authority), signer: authority }
    const lie = { index: ssl.goodIndex(leaf), signer: evil }
    const asked: string[] = []
    const answers: Record<string, { index: string; signer: Made }> = { 'http://true': truth, 'http://lie': lie }
    const web_ = async (_: string, { url, body }: WebQuestion): Promise<WebAnswer> => {
      asked.push(url)
      const { index, signer } = answers[url]!
      return { status: 200, json: null, bytes: ssl.ocsp(authority, index, signer, body as Uint8Array) }
    }
    const now = { nowMs: () => Date.now() } as Clock
    const revocation = new Revocation({ web: web_ } as unknown as Outside, now)
    const path = { certificates: [parseCertificate(leaf.der), parseCertificate(authority.der)] }
    const rules = { caPem: '', extraCas: [] as Certificate[], failOpen: false, thisUpdateMaxAgeSeconds: 0 }
    const strange = { ...rules, servers: ['http://lie'], extraCas: [parseCertificate(evil.der)] }
    const ours = { ...rules, servers: ['http://true'] }
    await revocation.checkOcsp(path, strange)
    await revocation.checkOcsp(path, strange)
    await expect(revocation.checkOcsp(path, ours)).rejects.toThrow('certificate has been revoked')
    await expect(revocation.checkOcsp(path, ours)).rejects.toThrow('certificate has been revoked')
    expect(asked, 'each once').toEqual(['http://lie', 'http://true'])
    await expect(revocation.checkOcsp(path, { ...ours, servers: ['http://lie'] })).rejects.toThrow(/did not sign/)
  })
})

describe('renewing', () => {
  beforeEach(() => role('machines', { certificate: root.pem }))
  const renew = (token: string, made: Made | null) => login(made, [middle], {}, { path: 'auth/token/renew-self', token })

  test('CVE-2026-39388: asks for the certificate of the login, and takes no other of the same authority', async () => {
    const { client_token } = (await login(web)).body.auth
    expect((await renew(client_token, web)).status).toBe(200)
    expect((await renew(client_token, other)).body.errors).toEqual([
      'client identity during renewal not matching client identity used during login',
    ])
    expect((await renew(client_token, null)).body.errors).toEqual(['client certificate must be supplied'])
    // Issued anew for the same key and name.
    const anew = ssl.make('anew', middle, { ...during, subject: '/CN=web/OU=eng', extensions: client, keyOf: 'web' })
    expect((await renew(client_token, anew)).status).toBe(200)
    const posing = ssl.make('posing', middle, { ...during, subject: '/CN=web/OU=eng', extensions: client })
    expect((await renew(client_token, posing)).status).toBe(400)
    const renamed = ssl.make('renamed', middle, { ...during, subject: '/CN=admin', extensions: client, keyOf: 'web' })
    expect((await renew(client_token, renamed)).status).toBe(400)
    await node.write('auth/cert/crls/mine', { crl: ssl.crl(middle, [web]) })
    expect((await renew(client_token, web)).body.errors).toEqual(['certificate has been revoked'])
  })

  test('asks for no certificate where the mount says so, and ends with its role', async () => {
    await node.write('auth/cert/config', { disable_binding: true })
    const { client_token } = (await login(web)).body.auth
    expect((await renew(client_token, null)).status).toBe(200)
    await role('machines', { token_policies: 'more' })
    expect((await renew(client_token, null)).body.errors).toEqual(['policies have changed, not renewing'])
    await node.remove('auth/cert/certs/machines')
    expect((await renew(client_token, null)).status).toBe(400)
    expect((await node.read('auth/cert/config')).body.data).toEqual({ disable_binding: true, enable_identity_alias_metadata: false })
  })
})

test('trusted certificates are checked, shown and listed', async () => {
  const server = ssl.make('lonely', null, { ...during, extensions: ['extendedKeyUsage=serverAuth'] })
  for (const certificate of ['', 'x', `${root.pem.slice(0, 200)}-----END CERTIFICATE-----`, server.pem])
    expect((await role('bad', { certificate })).status).toBe(400)
  for (const bad of [
    { required_extensions: 'x' },
    { allowed_metadata_extensions: 'x' },
    { ocsp_servers_override: 'ldap://x' },
    { ocsp_ca_certificates: 'x' },
  ])
    expect((await role('bad', { certificate: root.pem, ...bad })).status).toBe(400)
  await role('Good', { certificate: root.pem, allowed_names: 'a,b', token_ttl: 60 })
  expect((await node.read('auth/cert/certs/good')).body.data).toMatchObject({
    allowed_names: ['a', 'b'],
    certificate: root.pem,
    token_ttl: 60,
  })
  expect((await node.list('auth/cert/certs')).body.data.keys).toEqual(['good'])
})
