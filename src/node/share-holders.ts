/** What holders of shares can do on this node: rekeys, root tokens, and shares encrypted for their eyes at init. */
import type { BarrierControl } from '#barrier/types.ts'
import type { Clock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { InitOptions, InitResult } from '#engines/sys/types.ts'
import type { Replica } from '#replica/types.ts'
import { createRootGeneration, type RootGeneration } from '#seal/generate-root.ts'
import { encryptShares, readPgpKey, readPgpKeys, type PgpKey } from '#seal/pgp.ts'
import { createRekey } from '#seal/rekey.ts'
import type { RekeyService } from '#seal/rekey-types.ts'
import type { AutoSeal } from '#seal/types.ts'
import type { TokenStore } from '#tokens/store.ts'

export interface ShareHolders {
  readonly rekey: RekeyService
  readonly rootGeneration: RootGeneration
  close(): void
}

export function createShareHolders(options: {
  readonly barrier: BarrierControl
  readonly replica: Pick<Replica, 'status' | 'onStatus' | 'readIndex'>
  readonly autoSeal: AutoSeal | null
  readonly tokens: Pick<TokenStore, 'create'>
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
}): ShareHolders {
  const { barrier, tokens } = options
  const rekey = createRekey(options)
  const root = { parent: null, policies: ['root'], path: 'auth/token/root', displayName: 'root', ttlSeconds: 0 }
  const rootGeneration = createRootGeneration({
    ...options,
    createToken: (encode) => barrier.transact(async (transaction) => encode((await tokens.create(transaction, root)).token)),
  })
  const close = (): void => {
    rekey.close()
    rootGeneration.close()
  }
  return { rekey, rootGeneration, close }
}

/** The PGP keys of an init, read and tried before anything is founded. */
export interface InitHolders {
  readonly shares: readonly PgpKey[]
  readonly recovery: readonly PgpKey[]
  readonly rootToken: PgpKey | null
}

/** @throws ERR_BAD_REQUEST naming the key that can't be used. */
export async function initHolders({ pgpKeys, recoveryPgpKeys, rootTokenPgpKey }: InitOptions, nowMs: number): Promise<InitHolders> {
  return {
    shares: await readPgpKeys('pgp_keys', pgpKeys, nowMs),
    recovery: await readPgpKeys('recovery_pgp_keys', recoveryPgpKeys, nowMs),
    rootToken: rootTokenPgpKey === '' ? null : await readPgpKey('root_token_pgp_key', rootTokenPgpKey, nowMs),
  }
}

/** What init answers: everything for the eyes of its holder, where one was named. */
export async function forHolders({ shares, recovery, rootToken }: InitHolders, made: InitResult): Promise<InitResult> {
  const token = rootToken === null ? made.rootToken : Buffer.from(await rootToken.encrypt(Buffer.from(made.rootToken))).toString('base64')
  const { recoveryKeys } = made
  return {
    ...made,
    keys: await encryptShares(shares, made.keys),
    rootToken: token,
    ...(recoveryKeys === undefined ? {} : { recoveryKeys: await encryptShares(recovery, recoveryKeys) }),
  }
}
