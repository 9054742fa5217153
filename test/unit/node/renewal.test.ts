import { X509Certificate } from 'node:crypto'
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { requestKindPattern } from '#transport/protocol.ts'
import { Renewal, renewKind } from '#node/renewal.ts'
import type { Member, ReplicaStatus } from '#replica/types.ts'
import { fingerprint, issueNodeCertificate, needsRenewal } from '#transport/certificates.ts'
import type { Identity } from '#transport/types.ts'
import { acquaint, closeAll, dayMs, newCa, newIdentity, startNode, until } from '../transport/harness.ts'

afterEach(closeAll)
const nowMs = systemClock.nowMs()
/** Of a month, ten hours are left. */
const old = { nowMs: nowMs - 30 * dayMs + 10 * 3_600_000, days: 30 }

async function pair(options: { readonly days?: number; readonly issuer?: 'another' } = {}) {
  const ca = await newCa()
  const issuing = options.issuer === 'another' ? await newCa() : ca
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
  for (const options of [{ days: 0 }, { issuer: 'another' as const }]) {
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
