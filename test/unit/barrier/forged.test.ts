/**
 * Ciphertexts that lie elsewhere than they were made for, are cut, bent, or of another namespace: over a real store (LevelDB, log and all), with forgeries that come
 * through the log itself, so that nothing but the barrier stands in their way. Each must be refused; the counts are the figure.
 */
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createBarrier } from '#barrier/barrier.ts'
import { bareKey } from '#barrier/bare.ts'
import type { BarrierControl, Section } from '#barrier/types.ts'
import { systemClock } from '#base/clock.ts'
import { isHoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { ForwardSeal } from '#node/forward-seal.ts'
import { Forwarding } from '#node/forwarding.ts'
import type { StartedReplica } from '#replica/index.ts'
import { decodeHeader, encodeHeader } from '#replica/snapshots.ts'
import type { Replica, SectionBatch } from '#replica/types.ts'
import { createSealManager } from '#seal/manager.ts'
import { createStaticSeal } from '#seal/static.ts'
import type { SealManager } from '#seal/types.ts'
import { decodeSnapshot, encodeSnapshot, type Pair } from '#store/stream.ts'
import { recordFigures } from '#test/support/figures.ts'
import { TestCluster } from '../replica/cluster.ts'

// Thousands of commits, each with its sync: on a busy machine that takes minutes.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 120_000 })

const linear = { kind: 'linearizable' } as const
/** 'own' has a seal of its own. */
const sections: readonly Section[] = ['root', 'team', 'own'].flatMap((namespace) => ['kv', 'kv2'].map((mount) => ({ namespace, mount })))
const paths = ['a', 'b', 'f/a', 'f/b', 'f/g/c', 'd']

interface Place extends Section {
  readonly path: string
  readonly key: Uint8Array
  readonly record: Uint8Array
}

const counts: Record<string, number> = {}
const count = (what: string, times = 1): void => void (counts[what] = (counts[what] ?? 0) + times)
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

let cluster: TestCluster
let replica: StartedReplica
let barrier: BarrierControl
let seal: SealManager
let share = ''
let places: readonly Place[] = []

/** The replica as the barrier knows it, whose own keys for signing are the test's: a forger that has the log in its hands. */
function behind(real: StartedReplica): Replica {
  return new Proxy(real, {
    get(target, name) {
      if (name === 'setAuthenticator') return () => {}
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}

/** Writes past the barrier, through the log. */
async function forge(ops: readonly { key: Uint8Array; value: Uint8Array | null }[]): Promise<void> {
  const { term, applied } = replica.status()
  const batches: SectionBatch[] = [{ section: new Uint8Array([0x20]), ops: [...ops] }]
  await replica.propose({ term, viewIndex: applied, reads: [], ranges: [], sections: batches, timeMs: 1 })
}

function dump(): (readonly [Uint8Array, Uint8Array])[] {
  const view = replica.view()
  const found: (readonly [Uint8Array, Uint8Array])[] = []
  try {
    for (const { key } of known(view)) found.push([key, view.get(key) ?? new Uint8Array(0)])
  } finally {
    view.release()
  }
  return found
}

function* known(view: ReturnType<StartedReplica['view']>): Generator<{ key: Uint8Array }> {
  for (const key of keysOf.get(view.meta.applied) ?? []) yield { key }
}
const keysOf = new Map<number, readonly Uint8Array[]>()

async function loadKeys(): Promise<void> {
  const view = replica.view()
  const cursor = view.keyCursor(new Uint8Array([0x20]), new Uint8Array([0x41]))
  const keys: Uint8Array[] = []
  for (let key = await cursor.next(); key !== undefined; key = await cursor.next()) keys.push(Uint8Array.from(key))
  await cursor.close()
  keysOf.set(view.meta.applied, keys)
  view.release()
}

/** The code that a read of each place is refused with; null where it gave a value. */
async function readAll(which: readonly Place[]): Promise<(string | null)[]> {
  return barrier.read(linear, async (view) => {
    const codes: (string | null)[] = []
    for (const { namespace, mount, path } of which)
      codes.push(
        await view.get({ namespace, mount }, path).then(
          () => null,
          (error: unknown) => (isHoldfastError(error) ? error.code : 'another error'),
        ),
      )
    return codes
  })
}

async function refusedAll(what: string, forged: readonly { place: Place; record: Uint8Array }[]): Promise<void> {
  await forge(forged.map(({ place, record }) => ({ key: place.key, value: record })))
  expect(await readAll(forged.map(({ place }) => place)), what).toEqual(forged.map(() => 'ERR_DECRYPT'))
  count(what, forged.length)
}

const ownRootKey = (): SecretBytes => new SecretBytes(new Uint8Array(32).fill(3))

const restore = (): Promise<void> => forge(places.map(({ key, record }) => ({ key, value: record })))

beforeAll(async () => {
  cluster = new TestCluster()
  replica = await cluster.start('a', true)
  while (!replica.status().ready) await delay(10) // No longer than the hook may take.
  barrier = createBarrier({ replica: behind(replica), clock: systemClock, random: systemRandom, log: silentLogger })
  seal = createSealManager({ barrier, replica: behind(replica), random: systemRandom, log: silentLogger, clusterName: 'forged' })
  const asked = {
    secretShares: 1,
    secretThreshold: 1,
    recoveryShares: 0,
    recoveryThreshold: 0,
    pgpKeys: [],
    recoveryPgpKeys: [],
    rootTokenPgpKey: '',
  }
  const { keys } = await seal.init(asked, async () => '')
  share = hex(keys[0] ?? new Uint8Array(0))
  await seal.unseal({ key: share, reset: false })
  await barrier.transact(async ({ keyrings }) => {
    const record = Buffer.from('{}')
    keyrings?.create('own', 'root', { rootKey: ownRootKey(), sealConfig: record, wrappedRootKey: record })
  })
  const found: Place[] = []
  for (const [at, section] of sections.entries())
    for (const [i, path] of paths.entries()) {
      if (at === 2 && i === 0) await barrier.rotate()
      await loadKeys()
      const before = new Set(dump().map(([key]) => hex(key)))
      await barrier.transact(async (tx) => tx.put(section, path, Buffer.from(`value ${at} of ${path}`.padEnd([20, 30, 250][i % 3] ?? 20))))
      await loadKeys()
      const [key, record] = dump().find(([each]) => each[0] === 0x20 && !before.has(hex(each))) ?? []
      if (key === undefined || record === undefined) throw new Error('a record expected')
      found.push({ ...section, path, key, record })
    }
  places = found
  expect(await readAll(places)).toEqual(places.map(() => null))
})

afterAll(async () => {
  seal?.close()
  barrier?.close()
  await cluster.end()
  recordFigures('forged', 'HOLDFAST_FIGURES=bench/results npx vitest run test/unit/barrier/forged.test.ts', {
    refused: counts,
    accepted: 0,
  })
})

test('values: every record at every other place', async () => {
  for (let shift = 1; shift < places.length; shift++) {
    const forged = places.map((place, i) => ({
      place,
      record: places[(i + shift) % places.length]!.record,
      from: places[(i + shift) % places.length]!,
    }))
    await refusedAll('values swapped', forged)
    for (const { place, from } of forged) {
      if (place.namespace !== from.namespace) count('of those, across namespaces')
      else if (place.mount !== from.mount) count('of those, across mounts')
    }
  }
  expect(counts['values swapped']).toBe(36 * 35)
  expect(counts['of those, across namespaces']).toBe(36 * 24)
  await restore()
  expect(await readAll(places)).toEqual(places.map(() => null))
})

test('values: cut at every length, lengthened, and with bits flipped anywhere', async () => {
  const short = places.filter(({ record }) => record.length < 90)
  for (let length = 0; length < 90; length++) {
    const cut = short.filter(({ record }) => length < record.length)
    if (cut.length > 0)
      await refusedAll(
        'values cut',
        cut.map((place) => ({ place, record: place.record.subarray(0, length) })),
      )
  }
  for (let more = 1; more <= 17; more++)
    await refusedAll(
      'values lengthened',
      places.map((place) => ({ place, record: Buffer.concat([place.record, Buffer.alloc(more, more - 1)]) })),
    )
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.nat(), fc.nat(7)), { minLength: places.length, maxLength: places.length }), (flips) =>
      refusedAll(
        'values with a bit flipped',
        places.map((place, i) => {
          const record = Uint8Array.from(place.record)
          const [at = 0, bit = 0] = flips[i] ?? []
          record[at % record.length] = (record[at % record.length] ?? 0) ^ (1 << bit)
          return { place, record }
        }),
      ),
    ),
    { numRuns: 40 },
  )
  await restore()
})

test('names: a key under another folder, mount or namespace, bent or cut, is listed by nobody', async () => {
  const folderOf = (path: string): string => path.split('/').slice(0, -1).join('/')
  /** Length of the key's last element's beginning: everything before is the folder's prefix. */
  const prefixOf = (place: Place): Uint8Array => {
    let at = 17
    for (let segments = place.path.split('/').length; segments > 1; segments--) at += 3 + Buffer.from(place.key).readUInt16BE(at + 1)
    return place.key.subarray(0, at)
  }
  /** One forged key in each of several folders at once: none of these can be listed. */
  const refusesLists = async (what: string, forged: readonly { at: Place; key: Uint8Array }[]): Promise<void> => {
    await forge(forged.map(({ at, key }) => ({ key, value: at.record })))
    await barrier.read(linear, async (view) => {
      for (const { at } of forged) await expect(view.list(at, folderOf(at.path)), what).rejects.toMatchObject({ code: 'ERR_DECRYPT' })
    })
    await forge(forged.map(({ key }) => ({ key, value: null })))
    count(what, forged.length)
  }
  const folders = [...new Map(places.map((place) => [hex(prefixOf(place)), place])).values()]
  expect(folders).toHaveLength(18)
  for (const from of places) {
    const own = prefixOf(from)
    const moved = folders
      .filter((to) => hex(prefixOf(to)) !== hex(own))
      .map((at) => ({ at, key: Buffer.concat([prefixOf(at), from.key.subarray(own.length)]) }))
    await refusesLists(
      'names moved',
      moved.filter(({ at }) => at.namespace === from.namespace),
    )
    await refusesLists(
      'names moved across namespaces',
      moved.filter(({ at }) => at.namespace !== from.namespace),
    )
  }
  for (let offset = 0; offset < 20; offset++)
    await refusesLists(
      'names bent',
      folders.map((at) => {
        const spot = prefixOf(at).length + offset
        return { at, key: Uint8Array.from(at.key).with(spot, (at.key[spot] ?? 0) ^ 4) }
      }),
    )
  for (const cut of [1, 2, 9])
    await refusesLists(
      'names cut',
      folders.map((at) => ({ at, key: at.key.subarray(0, at.key.length - cut) })),
    )
  expect(await readAll(places)).toEqual(places.map(() => null))
  expect(await barrier.read(linear, (view) => view.list(sections[0]!, ''))).toEqual(['a', 'b', 'd', 'f/'])
})

/** Records of the namespaces' keys by what their names begin with, in no order. */
async function bareRecords(prefix: string): Promise<(readonly [Uint8Array, Uint8Array])[]> {
  await loadKeys()
  return dump().filter(([key]) => Buffer.from(key).includes(prefix))
}

/** Each of `records` bent, cut, and in the place of each other, all of them at once; `namespaces` are those that must not be opened then. */
async function refusesInPlace(
  what: string,
  records: readonly (readonly [Uint8Array, Uint8Array])[],
  namespaces: readonly string[],
): Promise<void> {
  const inNone = places.filter(({ namespace }) => namespaces.includes(namespace))
  const refuses = async (how: string, forged: readonly Uint8Array[]): Promise<void> => {
    await forge(records.map(([key], i) => ({ key, value: forged[i] ?? null })))
    const codes = await readAll(inNone)
    for (const code of codes) expect(['ERR_DECRYPT', 'ERR_NAMESPACE_SEALED', 'ERR_UPGRADE_REQUIRED'], `${what} ${how}`).toContain(code)
    count(`${what} ${how}`, records.length)
  }
  const shortest = Math.min(...records.map(([, record]) => record.length))
  for (let shift = 1; shift < records.length; shift++)
    await refuses(
      'swapped',
      records.map((_, i) => records[(i + shift) % records.length]![1]),
    )
  for (let length = 0; length < shortest; length += 3)
    await refuses(
      'cut',
      records.map(([, record]) => record.subarray(0, length)),
    )
  for (let bit = 0; bit < shortest * 8; bit += 13)
    await refuses(
      'with a bit flipped',
      records.map(([, record]) => Uint8Array.from(record).with(bit >> 3, (record[bit >> 3] ?? 0) ^ (1 << (bit & 7)))),
    )
  await forge(records.map(([key, value]) => ({ key, value })))
}

test('name keys: cut, bent, or those of another namespace', async () => {
  const nameKeys = await bareRecords('core/name-key/')
  expect(nameKeys).toHaveLength(3)
  await refusesInPlace('name keys', nameKeys, ['root', 'team', 'own'])
  expect(await readAll(places)).toEqual(places.map(() => null))
})

test('keyrings of namespaces: cut, bent, or those of another; a value of one namespace says nothing in another', async () => {
  const keyrings = await bareRecords('core/namespace-keyring/')
  expect(keyrings).toHaveLength(2)
  // Open ones would be kept: as after a restart, each is opened anew.
  const closed = places.filter(({ namespace }) => namespace !== 'root')
  const reopen = async (): Promise<void> => {
    seal.seal()
    await seal.unseal({ key: share, reset: false })
    try {
      barrier.namespaces.open('own', ownRootKey())
    } catch (error) {
      expect(isHoldfastError(error)).toBe(true)
    }
  }
  await refusesInPlace('keyrings of namespaces, while they are open,', keyrings, ['team', 'own'])
  const swapped = keyrings.map(([key], i) => ({ key, value: keyrings[(i + 1) % 2]![1] }))
  for (const forged of [
    swapped,
    ...[0, 1, 2, 9, 12, 40].map((at) => keyrings.map(([key, value]) => ({ key, value: changed(value, at) }))),
    ...[0, 5, 10, 60].map((length) => keyrings.map(([key, value]) => ({ key, value: value.subarray(0, length) }))),
  ]) {
    await forge(forged)
    await reopen()
    for (const code of await readAll(closed)) expect(['ERR_DECRYPT', 'ERR_NAMESPACE_SEALED', 'ERR_UPGRADE_REQUIRED']).toContain(code)
    expect((await readAll(places.filter(({ namespace }) => namespace === 'root'))).every((code) => code === null)).toBe(true)
    count('keyrings of namespaces, after a restart', keyrings.length)
  }
  await forge(keyrings.map(([key, value]) => ({ key, value })))
  await reopen()
  expect(await readAll(places)).toEqual(places.map(() => null))
})

test("whether a namespace is sealed: its record can't be made by who writes to the disk", async () => {
  const states = await bareRecords('core/namespace-seal/')
  expect(states).toHaveLength(1)
  const [[key, open]] = states as [[Uint8Array, Uint8Array]]
  await barrier.transact(async ({ keyrings }) => keyrings?.setSealed('own', true))
  const [[, sealed]] = (await bareRecords('core/namespace-seal/')) as [[Uint8Array, Uint8Array]]
  const own = places.filter(({ namespace }) => namespace === 'own')
  for (let bit = 0; bit < sealed.length * 8; bit += 7) {
    await forge([{ key, value: Uint8Array.from(sealed).with(bit >> 3, (sealed[bit >> 3] ?? 0) ^ (1 << (bit & 7))) }])
    for (const code of await readAll(own)) expect(code === 'ERR_DECRYPT' || code === 'ERR_NAMESPACE_SEALED').toBe(true)
    count("a namespace's seal, with a bit flipped")
  }
  // An older one, put back: without the key nothing opens.
  await forge([{ key, value: open }])
  expect(new Set(await readAll(own))).toEqual(new Set(['ERR_NAMESPACE_SEALED']))
  count("a namespace's seal, an older one put back")
  barrier.namespaces.open('own', ownRootKey())
  expect(await readAll(places)).toEqual(places.map(() => null))
})

/** A copy of `bytes` in which the one at `spot` is certainly another: a fixed one would now and then be the one that stood there. */
function changed(bytes: Uint8Array, spot: number, by = 1): Uint8Array {
  return Uint8Array.from(bytes).with(spot, (bytes[spot] ?? 0) ^ by)
}

/** Cuts and flips of `record`, and the records of other places. */
function* bent(record: Uint8Array, others: readonly Uint8Array[], step: number, cutStep = 1): Generator<readonly [string, Uint8Array]> {
  for (let length = 0; length < record.length; length += cutStep) yield ['cut', record.subarray(0, length)]
  for (let bit = 0; bit < record.length * 8; bit += step)
    yield ['with a bit flipped', Uint8Array.from(record).with(bit >> 3, (record[bit >> 3] ?? 0) ^ (1 << (bit & 7)))]
  for (const other of others) yield ['of another place', other]
}

test('the keyring and the wrapped root key: whatever stands in their place opens nothing', async () => {
  const [keyring, rootKey] = ['core/keyring', 'core/root-key'].map((name) => barrier.readBare(name) ?? new Uint8Array(0)) as [
    Uint8Array,
    Uint8Array,
  ]
  const records = {
    'the keyring': ['core/keyring', keyring, [rootKey, places[0]!.record]],
    'the root key': ['core/root-key', rootKey, [keyring, places[0]!.record]],
  } as const
  // While the node is open, an older keyring seals it.
  await barrier.rotate()
  const younger = barrier.readBare('core/keyring') ?? new Uint8Array(0)
  await forge([{ key: bareKey('core/keyring'), value: keyring }])
  expect(barrier.sealed).toBe(true)
  count('the keyring, an older one put back')
  await forge([{ key: bareKey('core/keyring'), value: younger }])
  await seal.unseal({ key: share, reset: false })
  expect(barrier.sealed).toBe(false)
  seal.seal()
  for (const [what, [name, , others]] of Object.entries(records)) {
    const genuine = name === 'core/keyring' ? younger : rootKey
    for (const [how, forged] of bent(genuine, others, 19, 5)) {
      await forge([{ key: bareKey(name), value: forged }])
      const opening = seal.unseal({ key: share, reset: false })
      await expect(opening, `${what} ${how}`).rejects.toMatchObject({ name: 'HoldfastError' })
      expect(barrier.sealed).toBe(true)
      count(`${what}, ${how}`)
    }
    await forge([{ key: bareKey(name), value: genuine }])
  }
  await seal.unseal({ key: share, reset: false })
  barrier.namespaces.open('own', ownRootKey())
  expect(await readAll(places)).toEqual(places.map(() => null))
})

test('root keys that an auto seal wrapped: not of another place, not cut, not bent', async () => {
  const backend = createStaticSeal({ current: { id: 'k', key: new SecretBytes(systemRandom.bytes(32)) }, random: systemRandom })
  const signal = new AbortController().signal
  const wrapped = await backend.wrap(new Uint8Array(32).fill(5), 'core/root-key', signal)
  const elsewhere = await backend.wrap(new Uint8Array(32).fill(6), 'core/recovery-key', signal)
  const { box } = JSON.parse(Buffer.from(wrapped).toString()) as { box: string }
  for (const [how, forged] of bent(Buffer.from(box, 'base64'), [], 3)) {
    const record = Buffer.from(Buffer.from(wrapped).toString().replace(box, Buffer.from(forged).toString('base64')))
    await expect(backend.unwrap(record, 'core/root-key', signal)).rejects.toThrow(/static|box|record/)
    count(`wrapped by an auto seal, ${how}`)
  }
  await expect(backend.unwrap(elsewhere, 'core/root-key', signal)).rejects.toThrow(/static/)
  count('wrapped by an auto seal, of another place')
  expect(await backend.unwrap(wrapped, 'core/root-key', signal)).toEqual(new Uint8Array(32).fill(5))
  await backend.close()
})

test('forwarded requests: cut, bent, of another sender, receiver, direction or cluster', async () => {
  const carried: { request: Uint8Array; answer: Uint8Array }[] = []
  let done = 0
  const end = (self: string, leader: string, send: (sealed: Uint8Array) => Promise<Uint8Array>): Forwarding =>
    new Forwarding({
      barrier,
      random: systemRandom,
      replica: { nodeId: self, status: () => ({ ...replica.status(), leader }), onStatus: () => () => {} },
      transport: () => ({ request: (_to, _kind, body) => send(body) }),
      handle: async () => {
        done++
        return { status: 200, headers: {}, body: Buffer.from('{}') }
      },
    })
  const leader = end('a', 'a', async () => new Uint8Array(0))
  const request = {
    id: 'r',
    operation: 'read',
    path: 'kv/a',
    namespace: '',
    token: 't',
    body: {},
    query: {},
    headers: {},
    clientAddress: '10.0.0.1',
    wrapTtlSeconds: 0,
    method: 'GET',
    ticket: { boot: 1, slot: 0, serial: 1 },
  } as const
  const follower = end('b', 'a', async (sealed) => {
    const answer = await leader.answer('b', sealed)
    carried.push({ request: sealed, answer })
    return answer
  })
  await follower.forward(request)
  await follower.forward(request)
  expect(done).toBe(2)
  const [{ request: sealed, answer }, second] = carried as [(typeof carried)[0], (typeof carried)[0]]
  const refused = { code: 'ERR_PEER_REFUSED' }
  for (const [how, forged] of bent(sealed, [answer], 11)) {
    await expect(leader.answer('b', forged), how).rejects.toMatchObject(refused)
    count(`forwarded, ${how}`)
  }
  await expect(leader.answer('c', sealed)).rejects.toMatchObject(refused)
  await expect(end('d', 'd', async () => new Uint8Array(0)).answer('b', sealed)).rejects.toMatchObject(refused)
  count('forwarded, of another sender or receiver', 2)
  const stranger = new ForwardSeal({ barrier: { derivedKey: () => new SecretBytes(systemRandom.bytes(32)) }, random: systemRandom })
  await expect(leader.answer('b', stranger.seal(`forward request ${JSON.stringify(['b', 'a'])}`, Buffer.from('x')))).rejects.toMatchObject(
    refused,
  )
  count('forwarded, of another cluster')
  // An answer that is bent, or another request's: the client is told that the outcome is not known.
  for (const [how, forged] of bent(answer, [second.answer, sealed], 17)) {
    await expect(end('b', 'a', async () => forged).forward(request), how).rejects.toMatchObject({ code: 'ERR_OUTCOME_UNKNOWN' })
    count(`answers, ${how}`)
  }
  expect(done).toBe(2)
})

test('snapshots: with anything moved, cut, left out or put in, of another state or cluster, or broken on the way', async () => {
  await replica.readIndex(5_000)
  const headers: Uint8Array[] = []
  const bodies: Uint8Array[][] = []
  cluster.onSnapshot = (header, chunks) => void (headers.push(header), bodies.push(chunks))
  await cluster.start('b')
  await replica.addMember(cluster.member('b', false))
  await expect.poll(() => headers.length, { timeout: 10_000 }).toBeGreaterThan(0)
  const header = headers[0] ?? new Uint8Array(0)
  const stream = Buffer.concat(bodies[0] ?? [])
  expect(decodeHeader(header).proof).not.toBeNull()
  const pairs: Pair[] = []
  let state = { clusterId: '', meta: new Uint8Array(0) as Uint8Array }
  const one = async function* (bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
    yield bytes
  }
  await decodeSnapshot(
    one(stream),
    (read) => void (state = read),
    async (some) => void pairs.push(...some.map(([key, value]): Pair => [Uint8Array.from(key), Uint8Array.from(value)])),
  )
  const encoded = async (forged: readonly Pair[], as = state): Promise<Buffer> => {
    const chunks: Uint8Array[] = []
    const sorted = forged.toSorted(([a], [b]) => Buffer.compare(a, b))
    for await (const chunk of encodeSnapshot(
      as,
      (async function* () {
        yield* sorted
      })(),
    ))
      chunks.push(chunk)
    return Buffer.concat(chunks)
  }
  expect((await encoded(pairs)).equals(stream)).toBe(true)
  const target = await cluster.start('z')
  const refuses = async (what: string, bytes: Uint8Array, head = header): Promise<void> => {
    await expect(target.onSnapshot('a', head, one(bytes)), what).rejects.toMatchObject({ name: 'HoldfastError' })
    expect(target.status().applied).toBe(0)
    count(`snapshots ${what}`)
  }
  const at = pairs.flatMap(([key], i) => (key[0] === 0x20 ? [i] : []))
  expect(at.length).toBeGreaterThanOrEqual(24)
  const value = (i: number): Uint8Array => pairs[at[i % at.length]!]![1]
  for (let i = 0; i < 12; i++) {
    const [mine, next] = [at[i]!, at[(i + 7) % at.length]!]
    const swapped = pairs.with(mine, [pairs[mine]![0], value(i + 7)]).with(next, [pairs[next]![0], value(i)])
    await refuses('with two values swapped', await encoded(swapped))
    await refuses('with a value cut', await encoded(pairs.with(mine, [pairs[mine]![0], value(i).subarray(0, -1)])))
    await refuses('without a value', await encoded(pairs.toSpliced(mine, 1)))
    const moved = changed(pairs[mine]![0], 20, i + 1)
    await refuses('with a value moved', await encoded(pairs.with(mine, [moved, value(i)])))
    await refuses('with a value more', await encoded([...pairs, [moved, value(i)]]))
  }
  await refuses('of another cluster', await encoded(pairs, { ...state, clusterId: 'another' }))
  for (let i = 0; i < 24; i++) {
    await refuses('that end early', stream.subarray(0, Math.floor((stream.length * i) / 24)))
    const flipped = Buffer.from(stream)
    const spot = Math.floor((stream.length * (i + 0.5)) / 24)
    flipped[spot] = (flipped[spot] ?? 0) ^ (1 << (i % 8))
    await refuses('with a bit flipped', flipped)
  }
  const { proof, ...rest } = decodeHeader(header)
  for (const forged of [null, new Uint8Array(32), changed(proof ?? new Uint8Array(0), 40), Uint8Array.from(proof ?? []).subarray(1)])
    await refuses('with another proof', stream, encodeHeader({ ...rest, proof: forged }))
  await target.onSnapshot('a', header, one(stream))
  expect(target.status().applied).toBe(rest.index)
})
