import type { Clock } from '#base/clock.ts'
import { HoldfastError, wellKnown } from '#base/errors.ts'
import type { Replica, ReplicaStatus } from '#replica/types.ts'
import type { Op, StateView } from '#store/types.ts'
import { KeyClass, bareKey, bareNames } from './bare.ts'
import { byteString } from './bytes.ts'

/** More than an interrupted initialisation can have written. */
const leftoverKeysMax = 10_000

/** Resolves with the replica's status once this node may propose. @throws ERR_NOT_LEADER after `timeoutMs`. */
export function waitUntilReady(replica: Replica, clock: Clock, timeoutMs: number): Promise<ReplicaStatus> {
  const now = replica.status()
  if (now.ready) return Promise.resolve(now)
  return new Promise((resolve, reject) => {
    const end = (): void => {
      unsubscribe()
      timer.cancel()
    }
    const timer = clock.setTimer(timeoutMs, () => {
      end()
      reject(
        new HoldfastError('ERR_NOT_LEADER', `this node expected to lead within ${timeoutMs} ms, got another leader or none`, {
          hint: 'initialise the node that was started to form the cluster; the others join it',
        }),
      )
    })
    const unsubscribe = replica.onStatus((status) => {
      if (!status.ready) return
      end()
      resolve(status)
    })
  })
}

/**
 * Deletions of what an initialisation that died half-way left behind: sealed under a keyring that nobody has, it would be in the
 * way of the next one. Leaves out what `writes` are about to overwrite.
 * @throws ERR_ALREADY_INITIALIZED when a seal configuration, the last thing that initialising writes, is there.
 */
export async function leftoverKeys(view: StateView, writes: readonly Op[]): Promise<Op[]> {
  if (view.get(bareKey(bareNames.sealConfig)) !== undefined)
    throw new HoldfastError('ERR_ALREADY_INITIALIZED', wellKnown.alreadyInitialized, { hint: 'unseal it with the shares printed then' })
  const written = new Set(writes.map(({ key }) => byteString(key)))
  const ops: Op[] = []
  const cursor = view.keyCursor(new Uint8Array([KeyClass.everywhere]), new Uint8Array([KeyClass.bare + 1]))
  try {
    for (let key = await cursor.next(); key !== undefined; key = await cursor.next()) {
      if (!written.has(byteString(key))) ops.push({ key, value: null })
      if (ops.length > leftoverKeysMax)
        throw new HoldfastError('ERR_ALREADY_INITIALIZED', `state expected at most ${leftoverKeysMax} keys before initialising, got more`, {
          hint: 'this data folder holds a cluster that is not whole: restore a snapshot, or begin with an empty folder',
        })
    }
  } finally {
    await cursor.close()
  }
  return ops
}
