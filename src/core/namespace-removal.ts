/**
 * Deleting a namespace, as a job of the leader, in steps of a bounded number of keys. Nothing reaches it any more when this begins (core/place.ts); each
 * step is a transaction of its own that deletes some of what is left, and the record goes with the last of it. So a new leader finds the work as far as
 * it was done, and needs no note of it.
 */
import type { Barrier, Section, Transaction } from '#barrier/types.ts'
import { isHoldfastError } from '#base/errors.ts'
import type { Namespace } from '#namespaces/record.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import type { TokenStore } from '#tokens/store.ts'
import type { LeaderJob } from './jobs.ts'
import { MountReader, mountSection } from './mounts.ts'
import { sweepSome } from './sweep.ts'

const everyMs = 2_000
const keysPerStepMax = 512
/** Bounds one pass: what is left waits for the next. */
const stepsPerPassMax = 64

/** Where services of the house keep what is theirs in each namespace. The mount table comes last of all: it says which other sections there are. */
const houseSections = ['sys/lease', 'sys/policy', 'sys/policy-due', 'sys/role', 'sys/identity', 'sys/mfa', 'sys/lockout'] as const

/** Another service's share: deletes some of what it keeps elsewhere for the namespace; true when more is left. */
export type NamespaceDrain = (transaction: Transaction, namespace: Namespace) => Promise<boolean>

export interface RemovalServices {
  readonly barrier: Barrier
  readonly namespaces: NamespaceStore
  readonly tokens: Pick<TokenStore, 'dropNamespaceStep'>
  /** Done once the tokens are gone, in their order: what must be given back while the mounts are still known. */
  readonly drains?: readonly NamespaceDrain[]
}

/** For `CoreDeps.jobs`. */
export function namespaceRemovalJob(services: RemovalServices): LeaderJob {
  const mounts = new MountReader()
  return {
    name: 'delete namespaces',
    everyMs,
    run: async () => {
      for (let count = 0; count < stepsPerPassMax; count += 1) if (!(await removalStep(services, mounts))) return
    },
  }
}

/** One step; true when more may be left, of this namespace or of another. One that is sealed waits until it is open again, or destroyed; the others do not. */
export function removalStep(services: RemovalServices, mounts = new MountReader()): Promise<boolean> {
  const { barrier, namespaces } = services
  return barrier.transact(async (transaction) => {
    for (let after = ''; ;) {
      const namespace = await namespaces.nextDeleting(transaction, after)
      if (namespace === null) return false
      try {
        await removeSome(services, mounts, transaction, namespace)
        return true
      } catch (error) {
        // Its own sections are read first: nothing was written.
        if (!isHoldfastError(error, 'ERR_NAMESPACE_SEALED')) throw error
        after = namespace.id
      }
    }
  })
}

async function removeSome(
  { namespaces, tokens, drains = [] }: RemovalServices,
  mounts: MountReader,
  transaction: Transaction,
  namespace: Namespace,
): Promise<void> {
  if (await tokens.dropNamespaceStep(transaction, namespace.id)) return
  for (const drain of drains) if (await drain(transaction, namespace)) return
  const { entries } = await mounts.read(transaction, namespace.id)
  const ofMounts = entries.map(({ uuid }): Section => ({ namespace: namespace.id, mount: uuid }))
  const ofHouse = houseSections.map((mount): Section => ({ namespace: namespace.id, mount }))
  let left = keysPerStepMax
  for (const section of [...ofMounts, ...ofHouse, mountSection(namespace.id)]) {
    left -= await sweepSome(transaction, section, '', left)
    if (left <= 0) return
  }
  // With its keys: the last that stands of it.
  transaction.keyrings?.destroy(namespace.id)
  await namespaces.remove(transaction, namespace)
}
