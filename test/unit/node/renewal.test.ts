import { X509Certificate } from 'node:crypto'
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { requestKindPattern } from '#transport/protocol.ts'
import { Renewal, renewKind } from '#node/renewal.ts'
import type { Member, ReplicaStatus } from '#replica/types.ts'
import { createClusterCa, createNodeKey, fingerprint, issueNodeCertificate, needsRenewal, type ClusterCa } from '#transport/certificates.ts'
import type { Identity } from '#transport/types.ts'
import { acquaint, closeAll, dayMs, newCa, newIdentity, startNode, until } from '../transport/harness.ts'

afterEach(closeAll)
const nowMs = systemClock.nowMs()
/** Of a month, ten hours are left. */
const old = { nowMs: nowMs - 30 * dayMs + 10 * 3_600_000, days: 30 }

interface PairOptions {
  readonly days?: number
  /** Who certifies, where it is not the authority that the members have kept. */
  readonly issuer?: ClusterCa
  /** What lies behind the members' own barriers. */
  readonly authority?: () => Promise<string | null>
}

async function pair(options: PairOptions = {}) {
  const ca = await newCa()
  const issuing = options.issuer ?? ca
  const own = { a: await newIdentity(ca, 'a', old), b: await newIdentity(ca, 'b', old) }
  const saved: Identity[] = []
  const certify = async (nodeId: string, publicKeyPem: string): Promise<string> => {
    const request = { nodeId, clusterId: 'cluster', nowMs, days: options.days ?? 365, random: systemRandom }
    return (await issueNodeCertificate(issuing, publicKeyPem, request)).certificatePem
  }
  const members = Object.values(own).map(({ nodeId, fingerprint: known }) => ({ id: nodeId, fingerprint: known }) as Member)
  const make = (id: 'a' | 'b', leads: boolean, other: () => Renewal | null): Renewal =>
    new Renewal({
      replica: { nodeId: id, status: () => ({ role: leads ? 'leader' : 'follower', leader: 'a', members }) as unknown as ReplicaStatus },
      identity: () => own[id],
      adopt: async (identity) => {
        own[id] = identity
        saved.push(identity)
      },
      transport: () => ({
        request: async (_to, kind, body) => {
          expect(kind).toBe(renewKind)
          expect(kind, 'what the transport takes').toMatch(requestKindPattern)
          return other()!.answer(id, body)
        },
      }),
      certify: async (nodeId, key) => {
        if (!leads) throw new HoldfastError('ERR_NOT_LEADER', 'not the leader')
        return certify(nodeId, key)
      },
      authority: options.authority ?? (async () => ca.certificatePem),
      clock: systemClock,
      log: silentLogger,
    })
  const leader = make('a', true, () => null)
  const follower = make('b', false, () => leader)
  return { ca, own, saved, leader, follower }
}

test('leader and follower renew what is due, keep their key, and then rest', async () => {
  const { own, saved, leader, follower } = await pair()
  const before = { ...own }
  for (const renewal of [leader, follower]) expect(await renewal.check()).toBe(true)
  for (const id of ['a', 'b'] as const) {
    expect(needsRenewal(before[id].certificatePem, nowMs)).toBe(true)
    expect(needsRenewal(own[id].certificatePem, nowMs)).toBe(false)
    expect(fingerprint(own[id].certificatePem)).toBe(before[id].fingerprint)
    expect(new X509Certificate(own[id].certificatePem).validToDate.getTime()).toBeGreaterThan(nowMs + 364 * dayMs)
  }
  for (const renewal of [leader, follower]) expect(await renewal.check()).toBe(false)
  expect(saved).toHaveLength(2)
})

test('no member gets a certificate for a key that is not its own', async () => {
  const { ca, leader, own } = await pair()
  const stranger = await newIdentity(ca, 'c')
  const keyOf = (identity: Identity): Buffer =>
    Buffer.from(new X509Certificate(identity.certificatePem).publicKey.export({ type: 'spki', format: 'pem' }))
  const refused = { code: 'ERR_PEER_REFUSED' }
  await expect(leader.answer('b', keyOf(stranger))).rejects.toMatchObject(refused)
  await expect(leader.answer('b', keyOf(own.a))).rejects.toMatchObject(refused)
  await expect(leader.answer('c', keyOf(stranger))).rejects.toMatchObject(refused)
  await expect(leader.answer('b', Buffer.from('no key'))).rejects.toMatchObject(refused)
  expect((await leader.answer('b', keyOf(own.b))).length).toBeGreaterThan(100)
})

test('a renewed certificate that is short or of another authority is not taken: the old one stays', async () => {
  for (const options of [{ days: 0 }, { issuer: await newCa() }]) {
    const { saved, follower } = await pair(options)
    await expect(follower.check()).rejects.toMatchObject({ code: 'ERR_UPSTREAM' })
    expect(saved).toEqual([])
  }
})

test('connections of a node that renews go on, and new ones show the new certificate', async () => {
  const ca = await newCa()
  const a = await startNode(await newIdentity(ca, 'a', old))
  const b = await startNode(await newIdentity(ca, 'b', old))
  acquaint(a, b)
  a.transport.send('b', { n: 1 })
  await until('the first message', () => b.received.length === 1)
  const key = new X509Certificate(a.identity.certificatePem).publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const renewed = await issueNodeCertificate(ca, key, { nodeId: 'a', clusterId: 'cluster', nowMs, days: 365, random: systemRandom })
  a.transport.setIdentity({ ...a.identity, certificatePem: renewed.certificatePem })
  a.transport.send('b', { n: 2 })
  await until('a message over the old connection', () => b.received.length === 2)
  b.transport.send('a', { n: 3 })
  await until('an answer', () => a.received.length === 1)
})

/** The next renewal is due. */
async function age(own: Record<'a' | 'b', Identity>, by: ClusterCa): Promise<void> {
  for (const id of ['a', 'b'] as const) {
    const key = new X509Certificate(own[id].certificatePem).publicKey.export({ type: 'spki', format: 'pem' }).toString()
    const request = { nodeId: id, clusterId: 'cluster', ...old, random: systemRandom }
    own[id] = { ...own[id], certificatePem: (await issueNodeCertificate(by, key, request)).certificatePem }
  }
}

test('an authority that took the place of the one before is taken from behind the own barrier, and both are trusted until the next renewal', async () => {
  const fresh = await newCa()
  const { ca, own, leader, follower } = await pair({ issuer: fresh, authority: async () => fresh.certificatePem })
  for (const renewal of [leader, follower]) expect(await renewal.check()).toBe(true)
  for (const id of ['a', 'b'] as const) {
    expect(new X509Certificate(own[id].certificatePem).verify(new X509Certificate(fresh.certificatePem).publicKey)).toBe(true)
    expect(new X509Certificate(own[id].caCertificatePem).raw).toEqual(new X509Certificate(fresh.certificatePem).raw)
    expect(own[id].previousCaCertificatePem).toBe(ca.certificatePem)
  }
  await age(own, fresh)
  for (const renewal of [leader, follower]) expect(await renewal.check()).toBe(true)
  for (const id of ['a', 'b'] as const) expect(own[id]).not.toHaveProperty('previousCaCertificatePem')
})

test('nobody is believed about the authority: neither the leader, nor whatever else lies there', async () => {
  const thief = await newCa()
  const { ca } = await pair()
  const expired = await createClusterCa({ clusterId: 'cluster', nowMs: nowMs - 3_660 * dayMs, random: systemRandom })
  const otherCluster = await newCa('another cluster')
  const leaf: ClusterCa = { ...(await createNodeKey()), certificatePem: (await newIdentity(thief, 'c')).certificatePem }
  const refused = { code: 'ERR_UPSTREAM', message: expect.stringContaining("this cluster's authority") }
  const cases: PairOptions[] = [
    { issuer: thief, authority: async () => ca.certificatePem },
    { issuer: thief, authority: async () => null },
    ...[expired, otherCluster, leaf].map((issuer) => ({ issuer, authority: async () => issuer.certificatePem })),
  ]
  for (const options of cases) {
    const { saved, follower } = await pair(options)
    await expect(follower.check()).rejects.toMatchObject(refused)
    expect(saved).toEqual([])
  }
})

test('a leader that sends its authority along is not believed; of what it sends the certificate alone is kept', async () => {
  const thief = await newCa()
  const { ca, own } = await pair()
  const along = (issuer: ClusterCa, saved: Identity[]): Renewal =>
    new Renewal({
      replica: { nodeId: 'b', status: () => ({ role: 'follower', leader: 'a', members: [] }) as unknown as ReplicaStatus },
      identity: () => own.b,
      adopt: async (identity) => void saved.push(identity),
      transport: () => ({
        request: async (_to, _kind, body) => {
          const request = { nodeId: 'b', clusterId: 'cluster', nowMs, days: 365, random: systemRandom }
          const { certificatePem } = await issueNodeCertificate(issuer, Buffer.from(body).toString(), request)
          return Buffer.from(`${certificatePem}\n${thief.certificatePem}`)
        },
      }),
      certify: () => Promise.reject(new HoldfastError('ERR_NOT_LEADER', 'not the leader')),
      authority: async () => ca.certificatePem,
      clock: systemClock,
      log: silentLogger,
    })
  const saved: Identity[] = []
  await expect(along(thief, saved).check()).rejects.toMatchObject({ code: 'ERR_UPSTREAM' })
  expect(saved).toEqual([])
  expect(await along(ca, saved).check()).toBe(true)
  expect(saved[0]?.caCertificatePem).toBe(ca.certificatePem)
  expect(saved[0]?.certificatePem.match(/BEGIN CERTIFICATE/g)).toHaveLength(1)
})

test('a sealed node, which can not know the authority, keeps its certificate until it is opened', async () => {
  const sealed = () => Promise.reject(new HoldfastError('ERR_SEALED', 'sealed'))
  const changed = await pair({ issuer: await newCa(), authority: sealed })
  await expect(changed.follower.check()).rejects.toMatchObject({ code: 'ERR_SEALED' })
  expect(changed.saved).toEqual([])
  // By the authority that it has kept it is renewed all the same.
  expect(await (await pair({ authority: sealed })).follower.check()).toBe(true)
})

test("in a rolling upgrade either release renews by the other's leader: the answer is one certificate, as ever", async () => {
  const { leader, own } = await pair()
  const key = new X509Certificate(own.b.certificatePem).publicKey.export({ type: 'spki', format: 'pem' })
  const answer = Buffer.from(await leader.answer('b', Buffer.from(key))).toString()
  expect(answer.match(/-----BEGIN [A-Z ]+-----/g)).toEqual(['-----BEGIN CERTIFICATE-----'])
  expect(fingerprint(answer)).toBe(own.b.fingerprint)
})
