/** Forgets locks that have ended. */
import type { Barrier } from '#barrier/types.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import type { LeaderJob } from './jobs.ts'
import { sweepStepsMax, type UserLockout } from './lockout.ts'
import { MountReader } from './mounts.ts'
import { NamespaceRounds } from './namespace-rounds.ts'

const everyMs = 60_000

interface LockoutServices {
  readonly barrier: Barrier
  readonly lockout: UserLockout
  readonly namespaces: NamespaceStore
}

export function lockoutJob({ barrier, lockout, namespaces }: LockoutServices): LeaderJob {
  const mounts = new MountReader()
  const rounds = new NamespaceRounds(barrier, namespaces)
  const step = (namespaceId: string, after: string): Promise<string | null> =>
    barrier.transact(async (transaction) => {
      const { entries } = await mounts.read(transaction, namespaceId)
      return lockout.sweep(transaction, namespaceId, new Set(entries.map(({ accessor }) => accessor)), after)
    })
  return {
    name: 'forget locks that have ended',
    everyMs,
    inside: true,
    run: () =>
      rounds.pass(async (id) => {
        let after: string | null = ''
        for (let count = 0; count < sweepStepsMax && after !== null; count += 1) after = await step(id, after)
      }),
  }
}
