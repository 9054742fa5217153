/** Seals, rekeys and root tokens over a fake cluster, a set a node, the first leading; and PGP holders. */
import { decrypt, generateKey, readKey, readMessage, readPrivateKey } from 'openpgp'
import { createBarrier } from '#barrier/barrier.ts'
import type { BarrierControl, Section } from '#barrier/types.ts'
import { systemClock, type Clock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { createRootGeneration, type RootGeneration } from '#seal/generate-root.ts'
import { guardSeal } from '#seal/guard.ts'
import { createSealManager } from '#seal/manager.ts'
import { createRekey } from '#seal/rekey.ts'
import type { RekeyService } from '#seal/rekey-types.ts'
import { createStaticSeal } from '#seal/static.ts'
import type { AutoSeal, SealInitOptions, SealInitResult, SealManager } from '#seal/types.ts'
import { FakeCluster } from './fake-replica.ts'

export const hex = (share: Uint8Array | undefined): string => Buffer.from(share ?? new Uint8Array(0)).toString('hex')
const kv: Section = { namespace: 'root', mount: 'kv' }

export interface ShareNode {
  readonly barrier: BarrierControl
  readonly seal: SealManager
  readonly rekey: RekeyService
  readonly rootGeneration: RootGeneration
}

export const staticSeal = (): AutoSeal =>
  guardSeal(createStaticSeal({ current: { id: 'k1', key: new SecretBytes(new Uint8Array(32).fill(1)) }, random: systemRandom }), {
    clock: systemClock,
    random: systemRandom,
  })

export const plainInit: SealInitOptions = {
  secretShares: 3,
  secretThreshold: 2,
  recoveryShares: 3,
  recoveryThreshold: 2,
  pgpKeys: [],
  recoveryPgpKeys: [],
  rootTokenPgpKey: '',
}

/** Founded, with a value at `kv` 'v', and every node open. `tokens` has the root tokens that were made. */
export async function shareCluster(nodes: number, options: { autoSeal?: AutoSeal; init?: Partial<SealInitOptions>; clock?: Clock } = {}) {
  const { autoSeal, clock = systemClock } = options
  const fake = new FakeCluster({ ids: Array.from({ length: nodes }, (_, at) => `node-${at + 1}`) })
  const tokens: string[] = []
  const made: ShareNode[] = fake.nodes.map((replica) => {
    const barrier = createBarrier({ replica, clock, random: systemRandom, log: silentLogger })
    const shared = { barrier, replica, random: systemRandom, log: silentLogger, clock }
    const createToken = async (encode: (token: string) => Promise<string>): Promise<string> => {
      const token = `s.${hex(systemRandom.bytes(12))}`
      const encoded = await encode(token)
      tokens.push(token)
      return encoded
    }
    return {
      barrier,
      seal: createSealManager({ ...shared, ...(autoSeal === undefined ? {} : { autoSeal }) }),
      rekey: createRekey({ ...shared, autoSeal: autoSeal ?? null }),
      rootGeneration: createRootGeneration({ ...shared, createToken }),
    }
  })
  const at = (position: number): ShareNode => made[position]!
  const init: SealInitResult<void> = await at(0).seal.init({ ...plainInit, ...options.init }, () =>
    at(0).barrier.transact(async (transaction) => transaction.put(kv, 'v', Buffer.from('kept'))),
  )
  const keys = (init.recoveryKeys ?? init.keys).map(hex)
  const settle = async (): Promise<void> => {
    for (const replica of fake.nodes) await replica.appliedUpTo(fake.log.length)
  }
  /** Opens `node` with `shares`; the auto seal needs none. */
  const open = async (node: ShareNode, shares: readonly string[] = keys): Promise<boolean> => {
    if (autoSeal === undefined) for (const key of shares) await node.seal.unseal({ key, reset: false })
    else await node.seal.autoUnseal()
    return !node.barrier.sealed
  }
  await settle()
  for (const node of made) await open(node)
  /** What the node reads, linearizable. */
  const value = (node: ShareNode): Promise<string> =>
    node.barrier.read({ kind: 'linearizable' }, async (view) => Buffer.from((await view.get(kv, 'v')) ?? []).toString())
  return { fake, at, made, keys, open, settle, value, tokens, ...at(0) }
}

export interface PgpHolder {
  readonly fingerprint: string
  readonly armored: string
  readonly base64: string
  readonly privateArmored: string
  /** The text of a PGP message. */
  open(message: Uint8Array): Promise<string>
}

export async function pgpHolder(name: string, options: { expires?: number; type?: 'rsa' | 'curve25519' } = {}): Promise<PgpHolder> {
  const { publicKey, privateKey } = await generateKey({
    userIDs: [{ name, email: `${name}@example.com` }],
    format: 'armored',
    ...(options.type === 'rsa' ? { type: 'rsa', rsaBits: 2048 } : { type: 'ecc', curve: 'curve25519Legacy' }),
    ...(options.expires === undefined ? {} : { keyExpirationTime: options.expires, date: new Date(1_600_000_000_000) }),
  })
  const parsed = await readKey({ armoredKey: publicKey })
  return {
    fingerprint: parsed.getFingerprint(),
    armored: publicKey,
    base64: Buffer.from(parsed.write()).toString('base64'),
    privateArmored: privateKey,
    open: async (binary) => {
      const message = await readMessage({ binaryMessage: Uint8Array.from(binary) })
      const { data } = await decrypt({ message, decryptionKeys: await readPrivateKey({ armoredKey: privateKey }) })
      return String(data)
    },
  }
}
