/** One set of named settings, whatever it is of: a role, a policy, a mount's tuning. Read from both sides, compared, written, and read again. */
import { differing, isSet, lost } from './compare.ts'
import type { Apply, Decision, Fields, Item, Kind } from './types.ts'

export interface Setting {
  readonly kind: Kind
  readonly path: string
  /** What is to be there; null: the source has none any more. */
  readonly wanted: () => Promise<Fields | null>
  /** What is there; null: nothing. */
  readonly present: () => Promise<Fields | null>
  readonly write: (wanted: Fields, present: Fields | null) => Promise<void>
  /** Nothing of it is set at the source: that the target has none of it is the same. */
  readonly isNothing?: (wanted: Fields) => boolean
  /** Why it can't be made, where only what is there already can be changed. */
  readonly notMade?: (wanted: Fields) => string | null
  /** Why what is there can't be changed. */
  readonly notChanged?: (wanted: Fields, present: Fields) => string | null
}

export const settingItem = (setting: Setting): Item => ({ kind: setting.kind, path: setting.path, decide: () => decide(setting) })

async function decide(setting: Setting): Promise<Decision> {
  const [wanted, present] = await Promise.all([setting.wanted(), setting.present()])
  if (wanted === null) return { status: 'skipped', reason: 'it was deleted at the source meanwhile' }
  if (present === null) {
    if (setting.isNothing?.(wanted)) return { status: 'equal' }
    const reason = setting.notMade?.(wanted) ?? null
    return reason === null ? { status: 'copy', apply: applying(setting, wanted, null) } : { status: 'skipped', reason }
  }
  const names = differing(wanted, present)
  if (names.length === 0) return { status: 'equal' }
  // What a server begins with is nobody's choice.
  if (!isSet(present)) return { status: 'copy', apply: applying(setting, wanted, present) }
  const why = setting.notChanged?.(wanted, present) ?? null
  const reason = `the target has another ${names.join(', ')}${why === null ? '' : `: ${why}`}`
  return { status: 'conflict', reason, apply: why === null ? applying(setting, wanted, present) : null }
}

/** Read again: a server ignores fields that it does not know, and says so in a warning at most. */
const applying =
  (setting: Setting, wanted: Fields, present: Fields | null): Apply =>
  async () => {
    await setting.write(wanted, present)
    const names = lost(wanted, (await setting.present()) ?? {})
    return names.length === 0 ? null : `the target did not take: ${names.join(', ')}`
  }
