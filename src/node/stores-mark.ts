/**
 * A note beside the identity, once this node's stores are on the disk: `identity/stores-made`. A node that finds the note and no stores has lost them:
 * what it voted for and what it acknowledged. An empty log in their place would vote a second time and forget writes that were acknowledged, so it
 * does not start again under its id. Without the note it is one whose first start was cut short, or whose stores a recovery has laid aside.
 */
import { closeSync, existsSync, fsyncSync, openSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { HoldfastError } from '#base/errors.ts'
import { storeFailed, storeLost } from '#store/errors.ts'
import { syncFolder } from './data-folder.ts'

const markName = 'stores-made'
const identityFolder = 'identity'
/** Where a recovery lays stores aside. */
export const asideFolder = 'before-recovery'
/** In that folder, while stores are being moved there. */
export const unfinishedName = 'unfinished'
/** Each is made before this node says anything to another, and stays. */
const logFiles = ['hardstate.0', 'hardstate.1', join('log', 'CURRENT')]

/**
 * To be asked before the stores are opened, which makes them where there are none.
 * @throws ERR_STORE_CORRUPT when this node had some, and they are gone; ERR_MEMBERSHIP when a recovery that was laying them aside was cut short
 */
export function checkStores(dataDir: string): void {
  // With a part of them: what lies aside is then in the way of what was made here, and a log without the state that it was compacted behind is no log.
  if (isUnfinished(dataDir)) throw unfinished()
  expectStores(dataDir)
}

function expectStores(dataDir: string): void {
  const there = (...path: string[]): boolean => existsSync(join(dataDir, ...path))
  // A state is only made beside a log; one that is left over, in the midst of a recovery, goes next.
  const made = there(identityFolder, markName) || (there('state', 'current') && !isUnfinished(dataDir))
  if (made && !logThere(dataDir)) throw storesLost()
}

const isUnfinished = (dataDir: string): boolean => existsSync(join(dataDir, asideFolder, unfinishedName))

/** The stores are there, durably; so is the note when this returns. @throws ERR_STORE_FAILED */
export function noteStores(dataDir: string): void {
  const path = join(dataDir, identityFolder, markName)
  try {
    // Whatever its age: one that a killed process left may be in the page cache alone.
    const file = openSync(path, 'w', 0o600)
    try {
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    syncFolder(join(dataDir, identityFolder))
  } catch (error) {
    throw storeFailed(`${path}: could not be written`, error)
  }
}

/**
 * Runs `layAside`, which takes the stores away on purpose: the node is filled anew. Where it leaves them, the note stays as well. One that was cut short
 * may be gone on from.
 * @throws ERR_STORE_CORRUPT when they are gone already; what `layAside` throws
 */
export async function withoutMark<T>(dataDir: string, layAside: () => Promise<T>): Promise<T> {
  expectStores(dataDir)
  rmSync(join(dataDir, identityFolder, markName), { force: true })
  syncFolder(join(dataDir, identityFolder))
  try {
    return await layAside()
  } catch (error) {
    if (logThere(dataDir)) noteStores(dataDir)
    throw error
  }
}

function logThere(dataDir: string): boolean {
  return logFiles.some((name) => existsSync(join(dataDir, name)))
}

function unfinished(): HoldfastError {
  return new HoldfastError(
    'ERR_MEMBERSHIP',
    `stores: expected them whole, got a recovery that was cut short: some of them may lie in ${asideFolder}, others here`,
    {
      hint: `end it: give this node the same list again ('operator raft recover -accept-loss peers.json', or peers.json in its data folder); to take it back instead, move what lies in ${asideFolder} back beside it, and then delete ${asideFolder}/${unfinishedName} (docs/recovery.md)`,
    },
  )
}

function storesLost(): HoldfastError {
  return storeLost(
    "stores: expected this node's log and hard state, which it has had, got none: its data is gone, and with it what it voted for and acknowledged",
    "if its disk is not mounted, mount it; otherwise it must come as a new node: 'operator raft remove-peer' its id on another one, delete this data folder, and join with a new node_id (docs/recovery.md); where it was the only node, restore a snapshot into a new cluster",
  )
}
