/**
 * The client of Holdfast's `/v1` API for programs: `import { connect } from '@holdfast/client'`.
 *
 *     await using client = connect()                         // HOLDFAST_ADDR, HOLDFAST_TOKEN ...; or connect({ addresses: [...] })
 *     const { data } = (await new Kv(client, 'secret').get('app/db')) ?? {}
 */
import { systemClock } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { Client } from './client.ts'
import { optionsFromEnvironment } from './environment.ts'
import type { ClientOptions } from './types.ts'

/** A client of this machine's clock. What `options` leaves out is read from the environment (HOLDFAST_ADDR, VAULT_ADDR ...). */
export function connect(options: Partial<ClientOptions> = {}): Client {
  return new Client({ ...optionsFromEnvironment(process.env), ...options }, { clock: systemClock, random: systemRandom })
}

export { Client, normalizeAddress, type ClientTools } from './client.ts'
export { optionsFromEnvironment } from './environment.ts'
export { ApiError, UnreachableError } from './errors.ts'
export { Kv, type KvSecret, type KvVersion, type KvWrite } from './kv.ts'
export { restoreSnapshot, saveSnapshot, verifySnapshot } from './snapshots.ts'
export { TokenKeeper, type KeeperEvent, type KeeperOptions } from './token-keeper.ts'
export type { Call, ClientOptions, Download, Method, RawAnswer, Secret, TlsOptions } from './types.ts'
export { lookupWrapped, rewrap, unwrap, wrap, type Wrapped } from './wrapping.ts'
