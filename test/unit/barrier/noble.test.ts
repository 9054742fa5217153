/** Every ciphertext of the fixtures, and of a state of today, is opened by @noble/ciphers too. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gcm } from '@noble/ciphers/aes.js'
import { describe, expect, test } from 'vitest'
import {
  fixtureOwnRootKey,
  fixtureRootKey,
  fixtureSections,
  fixtureValues,
  recordBarrier,
  recordsOf,
  type BarrierFixture,
} from '#test/support/barrier-fixture.ts'
import { hkdfByHand } from '#test/support/by-hand.ts'
import { fixtureFolder } from '#test/support/formats.ts'
import { openBoxByNoble, openByNoble, openEnvelopeByNoble, readKeyring, type OpenedState } from '#test/support/noble-barrier.ts'
import { releasedFormats } from '#base/formats.ts'
import { decode } from '#transport/msgpack.ts'

const sha = (text: string): Buffer => createHash('sha256').update(text).digest()
const rootKey = sha('the root key of the fixtures')
const levels = Array.from({ length: releasedFormats.max }, (_, at) => at + 1)
const readJson = <T>(level: number, name: string): T => JSON.parse(readFileSync(join(fixtureFolder(level), name), 'utf8')) as T

/** Samples that hold a ciphertext, each with its reader: what it holds, as text. */
const sealed: Readonly<Record<string, (bytes: Buffer, sample: (name: string) => Buffer) => string>> = {
  keyring: (bytes) => `term ${readKeyring(openBoxByNoble(rootKey, 'core/keyring', bytes)).activeTerm}`,
  box: (bytes) => `term ${readKeyring(openBoxByNoble(rootKey, 'core/keyring', bytes)).activeTerm}`,
  "namespace's keyring": (bytes) =>
    `term ${readKeyring(openBoxByNoble(rootKey, `core/namespace-keyring/${'ab'.repeat(8)} in `, bytes.subarray(10))).activeTerm}`,
  'value envelope': (bytes, sample) => {
    const { terms } = readKeyring(openBoxByNoble(rootKey, 'core/keyring', sample('keyring')))
    return Buffer.from(openEnvelopeByNoble(terms, Buffer.from([0x10, 1, 2]), bytes)).toString()
  },
  'forwarded request': (bytes) => {
    const key = hkdfByHand(
      sha('forwarding'),
      Buffer.alloc(0),
      Buffer.concat([Buffer.from('holdfast forward v1'), bytes.subarray(0, 16)]),
      32,
    )
    const { version, request } = decode(openBoxByNoble(key, `forward request ${JSON.stringify(['a', 'b'])}`, bytes.subarray(16))) as Record<
      string,
      unknown
    >
    return `version ${String(version)} of ${(request as { path: string }).path}`
  },
  // Its derived keys are the fixtures' root key.
  'backup of shares': (bytes) => {
    const { nonce } = JSON.parse(Buffer.from(openBoxByNoble(rootKey, 'core/unseal-keys-backup', bytes)).toString()) as { nonce: string }
    return `of rekey ${nonce}`
  },
  'join challenge': (bytes) => {
    const head = bytes.subarray(0, 25)
    const hiding = hkdfByHand(sha('r'), head, Buffer.from('raft-join'), 44)
    const found = gcm(hiding.subarray(0, 32), hiding.subarray(32), Buffer.concat([head, Buffer.from('a')])).decrypt(bytes.subarray(25))
    return createHash('sha256').update(found).digest('hex')
  },
}

/** Samples in which nothing is sealed; MACs are not ciphertexts. */
const clear = [
  'command',
  'member update',
  'membership change',
  'signed membership change',
  'raft message',
  'formats announcement, members hint, replica check',
  'snapshot header',
  'snapshot stream',
  'frame',
  'member directory',
  'fence',
  'staged state',
  'order to restore',
  'header of a staged snapshot',
  'record of a restore',
  'format level',
  'log record',
  'log base',
  'state meta',
  'hard state',
  'slot',
  'acknowledged mark',
  'kept members',
  'key uses',
  "namespace's seal",
  'change of a name key',
  'job that changes a name key',
  'namespace',
  'quota',
  'lease',
  'seal configuration',
  'entity and group record',
  'snapshot schedule',
  'snapshot run',
  // What is sealed in it is the state's: opened below.
  'snapshot file',
]

describe.each(levels)('what a release of level %i wrote', (level) => {
  const samples = readJson<Record<string, { readonly bytes: string; readonly reads: unknown }>>(level, 'samples.json')
  const sample = (name: string): Buffer => Buffer.from(samples[name]?.bytes ?? '', 'base64')

  test('samples', () => {
    const held = Object.fromEntries(Object.entries(sealed).map(([name, open]) => [name, open(sample(name), sample)]))
    expect(held).toEqual({
      keyring: 'term 1',
      box: 'term 1',
      "namespace's keyring": 'term 1',
      'value envelope': 'a value',
      'forwarded request': 'version 3 of secret/a',
      'backup of shares': 'of rekey n',
      'join challenge': samples['join challenge']?.reads,
    })
    // A new sample is named above, in one list or the other: a ciphertext that only our own code can open proves nothing.
    expect(Object.keys(samples).toSorted()).toEqual([...clear, ...Object.keys(sealed)].toSorted())
  })

  test('a state behind the barrier: every value, name and key', () => {
    expectWhole(
      openByNoble(recordsOf(readJson<BarrierFixture>(level, 'barrier.json')), rootKey, fixtureSections, {
        own: fixtureOwnRootKey().reveal(),
      }),
    )
  })
})

test('what this release writes', async () => {
  expectWhole(
    openByNoble(recordsOf(await recordBarrier()), fixtureRootKey().reveal(), fixtureSections, { own: fixtureOwnRootKey().reveal() }),
  )
})

function expectWhole({ values, bare, activeTerm, opened }: OpenedState): void {
  const sorted = <T extends { namespace: string; mount: string; path: string }>(list: readonly T[]): T[] =>
    list.toSorted((a, b) => (JSON.stringify([a.namespace, a.mount, a.path]) < JSON.stringify([b.namespace, b.mount, b.path]) ? -1 : 1))
  const plain = sorted(values).map(({ value, ...rest }) => ({ ...rest, value: Buffer.from(value) }))
  expect(plain).toEqual(sorted(fixtureValues))
  expect(activeTerm).toBe(3)
  const names = fixtureValues.reduce((sum, { path }) => sum + path.split('/').length, 0)
  // Boxes: the root's keyring, and that of the namespace with its own seal. Envelopes: two keyrings of namespaces beside values and bare records.
  expect(opened).toEqual({ boxes: 2, envelopes: fixtureValues.length + bare.size + 2, names })
  const named = (start: string): string[] => [...bare.keys()].filter((name) => name.startsWith(start)).toSorted()
  expect(named('core/name-key/')).toHaveLength(4)
  expect(named('core/namespace-seal/')).toHaveLength(1)
  // Terms 1 and 2 of two of them, 1 of the third.
  expect(
    named('core/namespace-key-uses/')
      .map((name) => name.slice(-1))
      .toSorted(),
  ).toEqual(['1', '1', '1', '2', '2'])
  expect(named('core/key-uses/')).toEqual(['core/key-uses/1', 'core/key-uses/2', 'core/key-uses/3'])
}
