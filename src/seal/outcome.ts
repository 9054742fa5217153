import type { BarrierControl } from '#barrier/types.ts'
import { sleep, type Clock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Replica } from '#replica/types.ts'

const findOutMsMax = 10_000
const readIndexMsMax = 2_000
const pauseMs = 100

/**
 * Waits for `change`, proposed in `term`, which writes `value` into the bare record `name`. Where leadership was lost in the middle it is found out from
 * the next leader: a new term that has committed something has our entry before it, or nowhere. True: done. False: nobody could tell in time.
 * @throws what `change` throws when it was surely not done.
 */
export async function settled(options: {
  readonly barrier: Pick<BarrierControl, 'readBare'>
  readonly replica: Pick<Replica, 'status' | 'readIndex'>
  readonly clock: Clock
  readonly change: Promise<void>
  readonly term: number
  readonly name: string
  readonly value: Uint8Array
}): Promise<boolean> {
  const { barrier, replica, clock, change, term, name, value } = options
  const stands = (): boolean => {
    const found = barrier.readBare(name)
    return found !== null && Buffer.compare(found, value) === 0
  }
  try {
    await change
    return true
  } catch (error) {
    if (!isHoldfastError(error, 'ERR_OUTCOME_UNKNOWN')) throw error
    const endMs = clock.monotonicMs() + findOutMsMax
    while (clock.monotonicMs() < endMs) {
      if (stands()) return true
      try {
        await replica.readIndex(readIndexMsMax)
        if (stands()) return true
      } catch {
        // No leader yet: ask again.
        await sleep(clock, pauseMs)
        continue
      }
      // The next leader has it not, and never will.
      if (replica.status().term > term)
        throw new HoldfastError('ERR_NOT_LEADER', 'the change of the seal expected one leader to its end, got another', {
          cause: error,
          hint: 'nothing was changed: begin it again',
        })
      await sleep(clock, pauseMs)
    }
    return false
  }
}
