import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { createCsr, createNodeKey, issueNodeCertificate } from '#transport/certificates.ts'
import { answerChallenge, makeChallenge, verifyChallengeAnswer } from '#transport/join-challenge.ts'
import { parseJoinAnswer, parseJoinRequest } from '#transport/join-parse.ts'
import { makeJoinRequest, makeJoinToken, openJoinAnswer, parseJoinToken, sealJoinAnswer, verifyJoinRequest } from '#transport/join.ts'
import type { JoinAnswer, JoinClaim, JoinRequest } from '#transport/join.ts'
import { newCa } from './harness.ts'

const nowMs = 1_800_000_000_000
const secret = (byte: number): SecretBytes => new SecretBytes(new Uint8Array(32).fill(byte))
const code = (run: () => unknown): string => {
  try {
    run()
    return 'nothing thrown'
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}

const claims: fc.Arbitrary<JoinClaim> = fc.record({
  node_id: fc.string({ minLength: 1, maxLength: 40 }),
  csr: fc.string({ minLength: 1, maxLength: 60 }),
  cluster_address: fc.constantFrom('127.0.0.1:8201', '[::1]:8201', 'a.example:1'),
  api_address: fc.string({ minLength: 1, maxLength: 40 }),
  voter: fc.boolean(),
  formats: fc.constant({ min: 1, max: 1 }),
})

test('a token read back gives the id and key that it was made with', () => {
  for (let i = 0; i < 200; i++) {
    const made = makeJoinToken(systemRandom)
    expect(made.token).toMatch(/^hfj\.[\w-]{12}\.[\w-]{48}$/)
    const read = parseJoinToken(` ${made.token}\n`)
    expect(read.id).toBe(made.id)
    expect(Buffer.from(read.key.reveal())).toEqual(Buffer.from(made.key.reveal()))
  }
})

test('a token with one character changed, dropped or doubled is refused as a typo', () => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.'
  const { token } = makeJoinToken(systemRandom)
  const edits = fc.record({
    at: fc.nat({ max: token.length - 1 }),
    kind: fc.constantFrom('swap', 'drop', 'double'),
    letter: fc.constantFrom(...alphabet.split('')),
  })
  expect(code(() => parseJoinToken(token.slice(0, -1)))).toBe('ERR_BAD_JOIN_TOKEN')
  fc.assert(
    fc.property(edits, ({ at, kind, letter }) => {
      const middle = kind === 'swap' ? letter : kind === 'drop' ? '' : `${token[at]}${token[at]}`
      const changed = token.slice(0, at) + middle + token.slice(at + 1)
      return changed === token || code(() => parseJoinToken(changed)) === 'ERR_BAD_JOIN_TOKEN'
    }),
    { numRuns: 3_000 },
  )
})

test('a request passes under its own key, and no field can be changed', () => {
  const proofs = fc.oneof(fc.record({ token_id: fc.string() }), fc.record({ challenge: fc.string() }))
  fc.assert(
    fc.property(claims, claims, proofs, proofs, (claim, other, proof, otherProof) => {
      const request = makeJoinRequest(claim, proof, secret(1))
      verifyJoinRequest(request, secret(1))
      expect(code(() => verifyJoinRequest(request, secret(2)))).toBe('ERR_PERMISSION_DENIED')
      for (const field of Object.keys(claim) as (keyof JoinClaim)[]) {
        if (other[field] === claim[field]) continue
        expect(code(() => verifyJoinRequest({ ...request, [field]: other[field] }, secret(1)))).toBe('ERR_PERMISSION_DENIED')
      }
      if (JSON.stringify(otherProof) !== JSON.stringify(proof)) {
        const swapped = { ...claim, ...otherProof, mac: request.mac } as JoinRequest
        expect(code(() => verifyJoinRequest(swapped, secret(1)))).toBe('ERR_PERMISSION_DENIED')
      }
    }),
    { numRuns: 500 },
  )
})

test('fields can not be shifted into their neighbours', () => {
  const claim = { node_id: 'ab', csr: 'c', cluster_address: 'h:1', api_address: 'u', voter: true, formats: { min: 1, max: 1 } }
  const request = makeJoinRequest(claim, { token_id: 't' }, secret(1))
  expect(code(() => verifyJoinRequest({ ...request, node_id: 'a', csr: 'bc' }, secret(1)))).toBe('ERR_PERMISSION_DENIED')
  expect(code(() => verifyJoinRequest({ ...request, node_id: 'ab","c', csr: '' }, secret(1)))).toBe('ERR_PERMISSION_DENIED')
})

async function granted(): Promise<{ request: JoinRequest; answer: JoinAnswer; key: SecretBytes; privateKeyPem: string }> {
  const ca = await newCa()
  const node = await createNodeKey()
  const { id, key } = makeJoinToken(systemRandom)
  const csr = await createCsr({ nodeId: 'b', privateKeyPem: node.privateKeyPem })
  const claim = {
    node_id: 'b',
    csr,
    cluster_address: '127.0.0.1:1',
    api_address: 'http://127.0.0.1:2',
    voter: true,
    formats: { min: 1, max: 1 },
  }
  const request = makeJoinRequest(claim, { token_id: id }, key)
  const { certificatePem } = await issueNodeCertificate(ca, csr, {
    nodeId: 'b',
    clusterId: 'cluster',
    nowMs,
    days: 9,
    random: systemRandom,
  })
  const member = { id: 'a', cluster_address: '127.0.0.1:3', api_address: 'http://127.0.0.1:4', fingerprint: 'ab', voter: true }
  const grant = { cluster_id: 'cluster', incarnation: 3, ca_certificate: ca.certificatePem, certificate: certificatePem, members: [member] }
  return { request, answer: sealJoinAnswer(grant, request, key), key, privateKeyPem: node.privateKeyPem }
}

test('an answer gives the joiner its identity and its peers; survives JSON', async () => {
  const { request, answer, key, privateKeyPem } = await granted()
  const parsedRequest = parseJoinRequest(JSON.parse(JSON.stringify(request)))
  verifyJoinRequest(parsedRequest, key)
  const opened = openJoinAnswer(parseJoinAnswer(JSON.parse(JSON.stringify(answer))), parsedRequest, key, privateKeyPem)
  expect(opened.identity).toMatchObject({ nodeId: 'b', clusterId: 'cluster', certificatePem: answer.certificate })
  expect(opened.peers).toEqual([{ id: 'a', clusterAddress: '127.0.0.1:3', fingerprint: 'ab' }])
  expect(opened.incarnation).toBe(3)
})

test('whoever lacks the key can not swap the CA, the members, or the request that is answered', async () => {
  const { request, answer, key, privateKeyPem } = await granted()
  const foreign = await newCa()
  const [member] = answer.members
  const changes: Partial<JoinAnswer>[] = [
    { ca_certificate: foreign.certificatePem },
    { cluster_id: 'other' },
    { incarnation: 4 },
    { members: [] },
    { members: [{ ...member!, fingerprint: 'cd' }] },
    { members: [{ ...member!, cluster_address: '10.0.0.1:1' }] },
    { mac: '0'.repeat(64) },
  ]
  for (const change of changes) {
    expect(code(() => openJoinAnswer({ ...answer, ...change }, request, key, privateKeyPem))).toBe('ERR_PERMISSION_DENIED')
  }
  const later = makeJoinRequest({ ...request, csr: 'another' }, { token_id: 't' }, key)
  expect(code(() => openJoinAnswer(answer, later, key, privateKeyPem))).toBe('ERR_PERMISSION_DENIED')
  // Rightly MACed, but for another key: a member's mistake, found before it is saved.
  const other = await createNodeKey()
  expect(code(() => openJoinAnswer(answer, request, key, other.privateKeyPem))).toBe('ERR_UPSTREAM')
})

const claim = { node_id: 'b', csr: 'csr', cluster_address: 'h:1', api_address: 'u', voter: true, formats: { min: 1, max: 1 } }

test('the seal proof: who opens the challenge can join, and learns that the member holds the root key', () => {
  const member = { processKey: secret(1), rootKey: secret(2) }
  const challenge = makeChallenge({ ...member, serverId: 'b', nowMs, random: systemRandom })
  const key = answerChallenge(challenge, { rootKey: secret(2), serverId: 'b' })
  const request = makeJoinRequest(claim, { challenge }, key)
  const found = verifyChallengeAnswer(request, { processKey: secret(1), nowMs: nowMs + 60_000 })
  expect(Buffer.from(found.reveal())).toEqual(Buffer.from(key.reveal()))
})

test('the seal proof fails for another root key, node id, process, cluster, or hour', () => {
  const challenge = makeChallenge({
    processKey: secret(1),
    rootKey: secret(2),
    serverId: 'b',
    nowMs,
    random: systemRandom,
    lifetimeMs: 1_000,
  })
  expect(code(() => answerChallenge(challenge, { rootKey: secret(3), serverId: 'b' }))).toBe('ERR_DECRYPT')
  expect(code(() => answerChallenge(challenge, { rootKey: secret(2), serverId: 'c' }))).toBe('ERR_DECRYPT')
  const key = answerChallenge(challenge, { rootKey: secret(2), serverId: 'b' })
  const request = makeJoinRequest(claim, { challenge }, key)
  const verify = (changed: Partial<JoinRequest>, processKey = 1, atMs = nowMs) =>
    code(() => verifyChallengeAnswer({ ...request, ...changed } as JoinRequest, { processKey: secret(processKey), nowMs: atMs }))
  expect(verify({})).toBe('nothing thrown')
  expect(verify({}, 9)).toBe('ERR_PERMISSION_DENIED')
  expect(verify({}, 1, nowMs + 1_001)).toBe('ERR_PERMISSION_DENIED')
  expect(verify({ node_id: 'c' })).toBe('ERR_PERMISSION_DENIED')
  expect(verify({ csr: 'mine' })).toBe('ERR_PERMISSION_DENIED')
  expect(verify({ challenge: 'AAAA' } as Partial<JoinRequest>)).toBe('ERR_BAD_REQUEST')
  // A longer life, written into the head by the joiner, makes another key.
  const bytes = Buffer.from(challenge, 'base64url')
  bytes.writeBigUInt64BE(BigInt(nowMs + 1e9), 17)
  expect(verify({ challenge: bytes.toString('base64url') } as Partial<JoinRequest>, 1, nowMs + 2_000)).toBe('ERR_PERMISSION_DENIED')
})

test('no bit of a challenge can be changed', () => {
  const challenge = Buffer.from(
    makeChallenge({ processKey: secret(1), rootKey: secret(2), serverId: 'b', nowMs, random: systemRandom }),
    'base64url',
  )
  for (let bit = 0; bit < challenge.length * 8; bit++) {
    const changed = Buffer.from(challenge)
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    const result = code(() => answerChallenge(changed.toString('base64url'), { rootKey: secret(2), serverId: 'b' }))
    expect(['ERR_DECRYPT', 'ERR_BAD_REQUEST']).toContain(result)
  }
})

test('requests and answers of wrong types are refused, naming the field', async () => {
  const { request, answer } = await granted()
  const wrong: [object, string][] = [
    [{ ...request, node_id: 'a\u0000b' }, 'node_id'],
    [{ ...request, node_id: '' }, 'node_id'],
    [{ ...request, csr: 'x'.repeat(9_000) }, 'csr'],
    [{ ...request, cluster_address: 'nowhere' }, 'cluster_address'],
    [{ ...request, voter: 'yes' }, 'voter'],
    [{ ...request, formats: { min: 2, max: 1 } }, 'formats'],
    [{ ...request, challenge: 'c' }, 'token_id or challenge'],
  ]
  for (const [value, field] of wrong) expect(() => parseJoinRequest(value)).toThrow(field)
  for (const value of [null, 7, [], 'x']) expect(() => parseJoinRequest(value)).toThrow('join request')
  expect(() => parseJoinAnswer({ ...answer, members: {} })).toThrow('members')
  expect(() => parseJoinAnswer({ ...answer, members: [null] })).toThrow('member')
  expect(() => parseJoinAnswer({ ...answer, incarnation: 1.5 })).toThrow('incarnation')
})

test('an id never begins with what a command takes for a flag', () => {
  const all = Array.from({ length: 256 }, (_, first) => makeJoinToken({ ...systemRandom, bytes: (size) => Buffer.alloc(size, first) }).id)
  for (const id of all) expect(id).toMatch(/^[A-Za-z]/)
})
