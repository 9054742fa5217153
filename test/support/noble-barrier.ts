/**
 * The barrier read by somebody else: a whole state opened with nothing but the root key, by @noble/ciphers and derivations written out, from the layouts that the
 * source files describe. Shares no code with src/: what both read alike is as described.
 */
import { aessiv, gcm } from '@noble/ciphers/aes.js'
import { hkdfByHand, hmacByHand } from './by-hand.ts'

export interface PlainSection {
  readonly namespace: string
  readonly mount: string
}

export interface PlainValue extends PlainSection {
  readonly path: string
  readonly value: Uint8Array
}

export interface OpenedState {
  readonly values: readonly PlainValue[]
  /** Bare records in an envelope (name keys, uses of keys), by their clear name. */
  readonly bare: ReadonlyMap<string, Uint8Array>
  readonly activeTerm: number
  /** Ciphertexts opened, by kind. */
  readonly opened: { readonly boxes: number; readonly envelopes: number; readonly names: number }
}

const none = new Uint8Array(0)
const derive = (key: Uint8Array, info: string | Uint8Array, length = 32): Uint8Array =>
  hkdfByHand(key, none, typeof info === 'string' ? Buffer.from(info) : info, length)

/** A box: version 1 | nonce 12 | ciphertext | tag 16, bound to `place`. @throws when it does not open. */
export function openBoxByNoble(key: Uint8Array, place: string, box: Uint8Array): Uint8Array {
  if (box[0] !== 1) throw new Error(`box of ${place} expected version 1, got ${box[0]}`)
  return gcm(key, box.subarray(1, 13), Buffer.from(`holdfast box v1 ${place}`)).decrypt(box.subarray(13))
}

/** The keyring: format 1 | version u32 | active term u32 | derivation key 32 | count u32 | count x (term u32 | created f64 | key 32). */
export function readKeyring(plain: Uint8Array): { activeTerm: number; derivation: Uint8Array; terms: Map<number, Uint8Array> } {
  const view = Buffer.from(plain)
  const count = view.readUInt32BE(41)
  if (view[0] !== 1 || view.length !== 45 + count * 44) throw new Error('keyring expected the length that its count says')
  const terms = new Map(Array.from({ length: count }, (_, i) => [view.readUInt32BE(45 + i * 44), view.subarray(57 + i * 44, 89 + i * 44)]))
  return { activeTerm: view.readUInt32BE(5), derivation: view.subarray(9, 41), terms }
}

/** An envelope: header 25 (version 1 | keyring term u32 | what the key is derived from) | nonce 12 | ciphertext | tag 16, bound to header and place. */
export function openEnvelopeByNoble(terms: ReadonlyMap<number, Uint8Array>, place: Uint8Array, record: Uint8Array): Uint8Array {
  const header = Buffer.from(record.subarray(0, 25))
  const termKey = terms.get(header.readUInt32BE(1))
  if (header[0] !== 1 || termKey === undefined)
    throw new Error(`envelope expected version 1 and a known term, got ${header[0]}, ${header.readUInt32BE(1)}`)
  const key = derive(termKey, Buffer.concat([Buffer.from('holdfast value v1'), header.subarray(5)]))
  return gcm(key, record.subarray(25, 37), Buffer.concat([header, place])).decrypt(record.subarray(37))
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** What a physical key's first 17 bytes say: the class, and an HMAC of namespace and mount under a key from the namespace's name key. */
function sectionPrefix(nameKey: Uint8Array, keyClass: number, { namespace, mount }: PlainSection, ring: string): string {
  const id = hmacByHand(derive(nameKey, 'holdfast section v1'), Buffer.from(JSON.stringify(['section', namespace, mount])))
  const own = Buffer.from(ring, 'hex')
  return hex(Buffer.concat([Buffer.from([keyClass]), own, id.subarray(0, 16 - own.length)]))
}

/** A namespace's keyring: format 1 | protection u8 | parent 8 | an envelope under the parent's keyring (1), or a box under a root key of its own (2). */
function readRing(
  id: string,
  record: Uint8Array,
  keyrings: ReadonlyMap<string, ReadonlyMap<number, Uint8Array>>,
  ownRootKey: Uint8Array | undefined,
): ReturnType<typeof readKeyring> | null {
  const [head, parent] = [record.subarray(0, 10), hex(record.subarray(2, 10))]
  const under = keyrings.get(parent === '0'.repeat(16) ? '' : parent)
  if (head[0] !== 1) throw new Error(`a namespace's keyring expected format 1, got ${head[0]}`)
  if (under === undefined) return null // Not yet: its parent comes later.
  const name = `core/namespace-keyring/${id}`
  const place = Buffer.concat([Buffer.from([0x40]), Buffer.from(name), head])
  if (head[1] === 1) return readKeyring(openEnvelopeByNoble(under, place, record.subarray(10)))
  if (ownRootKey === undefined) throw new Error('a root key expected for a namespace with its own seal')
  return readKeyring(openBoxByNoble(ownRootKey, `${name} in ${parent === '0'.repeat(16) ? '' : parent}`, record.subarray(10)))
}

/** The path in a physical key: each element says kind and length, and is AES-SIV under the key so far and its kind. */
function pathOf(nameKey: Uint8Array, key: Uint8Array): string[] {
  const segments: string[] = []
  let at = 17
  while (at < key.length) {
    const kind = key[at] ?? 0
    const end = at + 3 + Buffer.from(key).readUInt16BE(at + 1)
    const aad = Buffer.concat([key.subarray(0, at), Buffer.from([kind])])
    segments.push(Buffer.from(aessiv(nameKey, aad).decrypt(key.subarray(at + 3, end))).toString())
    if ((kind === 1) !== (end === key.length)) throw new Error('a leaf expected at the end of a key, and nowhere else')
    at = end
  }
  return segments
}

/** Opens every record of a state's dump. `ownRootKeys`: of namespaces with their own seal. @throws when anything in it does not open, or belongs to none of `sections`. */
export function openByNoble(
  dump: readonly (readonly [Uint8Array, Uint8Array])[],
  rootKey: Uint8Array,
  sections: readonly PlainSection[],
  ownRootKeys: Readonly<Record<string, Uint8Array>> = {},
): OpenedState {
  const clear = dump.filter(([key]) => key[0] === 0x40).map(([key, value]) => [Buffer.from(key.subarray(1)).toString(), value] as const)
  const bareNames = new Map(clear)
  const sealedKeyring = bareNames.get('core/keyring')
  if (sealedKeyring === undefined) throw new Error('a keyring expected in the dump')
  const { activeTerm, derivation, terms } = readKeyring(openBoxByNoble(rootKey, 'core/keyring', sealedKeyring))
  const opened = { boxes: 1, envelopes: 0, names: 0 }
  const idKey = derive(derivation, 'holdfast derived v1 namespace ids')
  const hidden = (namespace: string): string => hex(hmacByHand(idKey, Buffer.from(namespace))).slice(0, 32)
  const ringOf = (namespace: string): string => (namespace === 'root' ? '' : hidden(namespace).slice(0, 16))
  const ownKeys = new Map(Object.entries(ownRootKeys).map(([namespace, key]) => [ringOf(namespace), key]))
  const keyrings = new Map<string, ReadonlyMap<number, Uint8Array>>([['', terms]])
  const rings = clear.flatMap(([name, record]) => (name.startsWith('core/namespace-keyring/') ? [[name.slice(-16), record] as const] : []))
  while (keyrings.size <= rings.length) {
    const before = keyrings.size
    for (const [id, record] of rings) {
      if (keyrings.has(id)) continue
      const ring = readRing(id, record, keyrings, ownKeys.get(id))
      if (ring === null) continue
      keyrings.set(id, ring.terms)
      if (record[1] === 1) opened.envelopes += 1
      else opened.boxes += 1
    }
    if (keyrings.size === before) throw new Error("a namespace's keyring expected to stand under one that is there")
  }
  const envelope = (ring: string, key: Uint8Array, record: Uint8Array): Uint8Array => {
    opened.envelopes += 1
    return openEnvelopeByNoble(keyrings.get(ring) ?? new Map(), key, record)
  }
  const bare = new Map<string, Uint8Array>()
  const rootNames = hidden('root')
  for (const [name, value] of clear) {
    const [, kind, id = ''] = /^core\/(name-key|key-uses|namespace-key-uses|namespace-seal)\/([^/]+)/.exec(name) ?? []
    if (kind === undefined) continue
    const ring = kind === 'name-key' ? (id === rootNames ? '' : id.slice(0, 16)) : kind === 'namespace-key-uses' ? id : ''
    bare.set(name, envelope(ring, Buffer.concat([Buffer.from([0x40]), Buffer.from(name)]), value))
  }
  const byPrefix = new Map<string, { section: PlainSection; nameKey: Uint8Array }>()
  for (const section of sections) {
    const nameKey = bare.get(`core/name-key/${hidden(section.namespace)}`)
    if (nameKey === undefined) continue
    for (const keyClass of [0x20, 0x30])
      byPrefix.set(sectionPrefix(nameKey, keyClass, section, ringOf(section.namespace)), { section, nameKey })
  }
  const values = dump
    .filter(([key]) => key[0] === 0x20 || key[0] === 0x30)
    .map(([key, record]): PlainValue => {
      const found = byPrefix.get(hex(key.subarray(0, 17)))
      if (found === undefined) throw new Error('a record expected in one of the sections, got one elsewhere')
      const segments = pathOf(found.nameKey, key)
      opened.names += segments.length
      return { ...found.section, path: segments.join('/'), value: envelope(ringOf(found.section.namespace), key, record) }
    })
  return { values, bare, activeTerm, opened }
}
