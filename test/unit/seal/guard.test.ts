import { expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { awsFault } from '#seal/awskms-faults.ts'
import { awsKmsSealFrom } from '#seal/awskms.ts'
import { faultOf, SealFault, sealFaults, type SealFaultKind } from '#seal/faults.ts'
import { guardSeal, jittered } from '#seal/guard.ts'
import { pkcs11SealFrom } from '#seal/pkcs11.ts'
import { transitSealFrom } from '#seal/transit.ts'
import type { SealBackend } from '#seal/types.ts'
import { silentLogger } from '#base/logger.ts'

const bytes = (length = 4): Uint8Array => new Uint8Array(length).fill(7)
const quick = { clock: systemClock, random: systemRandom, callMsMax: 40 }

/** A backend that answers `wrap` by what the test hands in, call by call. */
function scripted(...answers: readonly (() => Promise<Uint8Array>)[]) {
  const state = { calls: 0, signal: null as AbortSignal | null }
  const next = (signal: AbortSignal): Promise<Uint8Array> => {
    state.signal = signal
    return (answers[Math.min(state.calls++, answers.length - 1)] ?? (async () => bytes()))()
  }
  const backend: SealBackend = {
    kind: 'scripted',
    wrap: (_plaintext, _place, signal) => next(signal),
    unwrap: (_wrapped, _place, signal) => next(signal),
    outdated: () => false,
    close: async () => {},
  }
  return { state, backend }
}

const fails = (fault: SealFaultKind) => () => Promise.reject(new SealFault(fault, `planted ${fault}`))
const never = () => new Promise<Uint8Array>(() => {})

test('what may pass is tried again, a bounded number of times; what does not is told at once', async () => {
  for (const [fault, calls] of [
    ['network', 3],
    ['throttled', 3],
    ['timeout', 1],
    ['credentials', 1],
    ['key', 1],
    ['missing', 1],
    ['other', 1],
  ] as const) {
    const { state, backend } = scripted(fails(fault))
    await expect(guardSeal(backend, quick).wrap(bytes(), 'p')).rejects.toMatchObject({ fault })
    expect([fault, state.calls]).toEqual([fault, calls])
  }
  const { state, backend } = scripted(fails('network'), fails('throttled'), async () => bytes())
  const seal = guardSeal(backend, quick)
  expect(await seal.wrap(bytes(), 'p')).toEqual(bytes())
  expect(state.calls).toBe(3)
  expect(seal.status()).toMatchObject({ ok: true, lastFailure: { fault: 'throttled', message: 'planted throttled' } })
  expect(seal.status().failures.filter(({ count }) => count > 0)).toEqual([
    { fault: 'network', count: 1 },
    { fault: 'throttled', count: 1 },
  ])
})

test('a call that never ends is left behind in time, told to stop, and what it gives later is wiped', async () => {
  let give: (value: Uint8Array) => void = () => {}
  const { state, backend } = scripted(() => new Promise((resolve) => (give = resolve)))
  const seal = guardSeal(backend, quick)
  expect(seal.status().ok).toBeNull()
  await expect(seal.unwrap(bytes(), 'p')).rejects.toMatchObject({ fault: 'timeout', message: expect.stringMatching(/within 40 ms/) })
  expect(state.signal?.aborted).toBe(true)
  const late = bytes()
  give(late)
  await new Promise((resolve) => setTimeout(resolve, 5))
  expect(late).toEqual(new Uint8Array(4))
  expect(seal.status()).toMatchObject({ ok: false, lastOkMs: null })
})

test('closing ends what is under way', async () => {
  const { backend } = scripted(never)
  const seal = guardSeal(backend, { ...quick, callMsMax: 60_000 })
  const waiting = seal.wrap(bytes(), 'p')
  waiting.catch(() => {})
  await seal.close()
  await expect(waiting).rejects.toThrow('got the end of the server')
})

test('calls that wait are bounded', async () => {
  const { backend } = scripted(never)
  const seal = guardSeal(backend, quick)
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => seal.wrap(bytes(), 'p')))
  const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? (outcome.reason as { code: string }).code : 'done'))
  expect(codes.filter((code) => code === 'ERR_BUSY')).toHaveLength(4)
})

test('health never throws, and a seal that gives back something else is not healthy', async () => {
  expect(await guardSeal(scripted(fails('credentials')).backend, quick).health()).toEqual({
    ok: false,
    detail: 'credentials: planted credentials',
  })
  expect((await guardSeal(scripted(async () => bytes(32)).backend, quick).health()).detail).toMatch(/^key: .*expected back what it wrapped/)
})

test('pauses lie between half and all', () => {
  for (let i = 0; i < 200; i++) {
    const ms = jittered(1_000, systemRandom)
    expect(ms >= 500 && ms <= 1_000).toBe(true)
  }
})

test('what AWS throws is of the closed list, and none of its sentences is kept', () => {
  const named = (name: string, more: object = {}): Error => Object.assign(new Error('marked arn:aws:iam::1:user/x'), { name, ...more })
  const cases: readonly (readonly [Error | string, SealFaultKind])[] = [
    [named('AccessDeniedException'), 'credentials'],
    [named('CredentialsProviderError'), 'credentials'],
    [named('ThrottlingException'), 'throttled'],
    [named('IncorrectKeyException'), 'key'],
    [named('TimeoutError', { code: 'ECONNRESET' }), 'network'],
    [named('TimeoutError', { code: 'ETIMEDOUT' }), 'timeout'],
    [named('TimeoutError'), 'timeout'],
    [named('Error', { code: 'ECONNREFUSED' }), 'network'],
    [new Error('outer', { cause: named('Error', { code: 'ENOTFOUND' }) }), 'network'],
    [new AggregateError([named('Error', { code: 'EHOSTUNREACH' })]), 'network'],
    [named('SyntaxError', { $response: { statusCode: 403 } }), 'credentials'],
    [named('SyntaxError', { $metadata: { httpStatusCode: 429 } }), 'throttled'],
    [named('Whatever', { $metadata: { httpStatusCode: 503 } }), 'network'],
    [named('Strange marked name'), 'other'],
    ['not even an error', 'other'],
  ]
  for (const [thrown, fault] of cases) {
    const made = awsFault(thrown, 'eu-central-1')
    expect([String(thrown), made.fault]).toEqual([String(thrown), fault])
    expect(`${made.message} ${made.hint}`).not.toMatch(/marked|arn:/)
  }
  expect(new Set(cases.map(([, fault]) => fault)).size).toBe(sealFaults.length - 1) // All but 'missing'.
  expect(faultOf(new Error('x'))).toBe('other')
})

test('a damaged record is refused by each seal as a wrong key, before anybody is asked', async () => {
  const tools = { clock: systemClock, random: systemRandom, env: {}, log: silentLogger }
  const seals = [
    awsKmsSealFrom({ kms_key_id: 'k' }),
    pkcs11SealFrom({ lib: '/x', token_label: 't', key_label: 'k', pin: '1' }, tools),
    transitSealFrom({ address: 'http://127.0.0.1:1', key_name: 'k', token: 't' }, tools),
  ]
  const records = [
    '',
    'garbage',
    '{}',
    'null',
    '{"version":1}',
    '{"version":"1"}',
    '{"version":1,"copies":[{}]}',
    '{"version":1,"mount":"../sys","key":"k","ciphertext":"vault:v1:"}',
    '{"version":1,"mount":"transit","key":"a/../../b","ciphertext":"vault:v1:"}',
    '{"version":1,"key_label":"k","key_id":"","mechanism":"none","oaep_hash":"sha1","nonce":"","ciphertext":""}',
  ]
  for (const seal of seals)
    for (const record of records) {
      const refused = seal.unwrap(Buffer.from(record), 'p', new AbortController().signal)
      await expect(refused).rejects.toMatchObject({ fault: 'key', code: 'ERR_DECRYPT' })
    }
  for (const seal of seals) {
    const newer = seal.unwrap(Buffer.from('{"version":2}'), 'p', new AbortController().signal)
    await expect(newer).rejects.toMatchObject({ code: 'ERR_UPGRADE_REQUIRED' })
    await seal.close()
  }
})

test('another key in the configuration than the record names is seen as outdated', () => {
  const arn = 'arn:aws:kms:eu-central-1:1:key/one'
  const record = Buffer.from(JSON.stringify({ version: 1, copies: [{ region: 'eu-central-1', key: arn, blob: '' }] }))
  const seal = (more: Record<string, string>) => awsKmsSealFrom({ region: 'eu-central-1', kms_key_id: 'one', ...more })
  expect(seal({}).outdated(record)).toBe(false)
  expect(seal({ kms_key_id: arn }).outdated(record)).toBe(false)
  expect(seal({ kms_key_id: 'alias/x' }).outdated(record)).toBe(false)
  expect(seal({ kms_key_id: 'two' }).outdated(record)).toBe(true)
  expect(seal({ failover_regions: 'us-west-2' }).outdated(record)).toBe(true)
})
