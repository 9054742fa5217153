/** Forgets locks that have ended. */
import type { Barrier } from '#barrier/types.ts'
import type { LeaderJob } from './jobs.ts'
import type { UserLockout } from './lockout.ts'
import { MountReader } from './mounts.ts'

const everyMs = 60_000
/** Bounds one pass: what is left waits for the next. */
const stepsPerPassMax = 32

export function lockoutJob({ barrier, lockout }: { readonly barrier: Barrier; readonly lockout: UserLockout }): LeaderJob {
  const mounts = new MountReader()
  const step = (): Promise<boolean> =>
    barrier.transact(async (transaction) => {
      const { entries } = await mounts.read(transaction, 'root')
      return lockout.sweep(transaction, 'root', new Set(entries.map(({ accessor }) => accessor)))
    })
  return {
    name: 'forget locks that have ended',
    everyMs,
    run: async () => {
      for (let count = 0; count < stepsPerPassMax; count += 1) if (!(await step())) return
    },
  }
}
