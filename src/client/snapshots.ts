/** Snapshots of the whole state, as streams: neither side ever holds one in memory. */
import { accepted } from './answer.ts'
import type { Client } from './client.ts'
import type { Download, Secret } from './types.ts'

const path = 'sys/storage/raft/snapshot'

/**
 * The state of this moment, encrypted as it is stored. The caller reads `body` to its end and keeps it; a stream that breaks off throws, and what
 * came until then is no snapshot.
 */
export async function saveSnapshot(client: Client): Promise<Download> {
  return await client.download({ method: 'GET', path })
}

/** Has the cluster check a file by its keys, without taking anything from it. `open` is called for each attempt. @throws ApiError when it does not hold. */
export async function verifySnapshot(client: Client, open: () => AsyncIterable<Uint8Array>): Promise<Secret | null> {
  const call = { method: 'POST', path: `${path}/verify` } as const
  return accepted(await client.upload(call, open), { method: call.method, url: call.path })
}

/** How long nothing may move while the nodes store and check what was sent. */
const restoreQuietMsMax = 3_600_000

/**
 * Puts the file in place of the whole state. Sent once, to the first address, which must be the leader's: repeated, it would undo what was written since. With `force` neither
 * seal nor origin are compared, and the cluster is sealed afterwards, by what the file was sealed by. @throws ApiError, with the leader's address where it is another.
 */
export async function restoreSnapshot(
  client: Client,
  open: () => AsyncIterable<Uint8Array>,
  options: { readonly force?: boolean } = {},
): Promise<Secret | null> {
  const call = { method: 'POST', path: options.force === true ? `${path}-force` : path, retry: false } as const
  const answer = await client.upload({ ...call, idempotent: false, quietMsMax: restoreQuietMsMax }, open)
  return accepted(answer, { method: call.method, url: call.path })
}
