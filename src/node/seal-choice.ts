/** Which seals this node runs with: the one that is not disabled (shares when there is none), and the one that a migration comes from. */
import { HoldfastError } from '#base/errors.ts'
import type { SealBlock } from '#config/types.ts'
import { createAutoSeal, type SealTools } from '#seal/create.ts'
import type { AutoSeal } from '#seal/types.ts'

export interface ChosenSeals {
  /** null: shares. */
  readonly active: AutoSeal | null
  readonly retired: AutoSeal | null
}

/** Reads keys and files that the blocks name; asks no KMS yet. @throws ERR_CONFIG. */
export function chooseSeals(blocks: readonly SealBlock[], tools: SealTools): ChosenSeals {
  const disabled = blocks.filter((block) => block.disabled)
  if (disabled.length > 1)
    throw new HoldfastError('ERR_CONFIG', `seal expected at most one block with disabled = true, got ${disabled.length}`, {
      hint: 'a migration comes from one seal',
    })
  const [active, retired] = [blocks.find((block) => !block.disabled), disabled[0]]
  if (active !== undefined && active.kind === retired?.kind && active.kind !== 'shamir')
    throw new HoldfastError('ERR_CONFIG', `seal expected the disabled one of another kind than ${active.kind}, got the same`, {
      hint: 'another key of the same kind is no migration: see docs/seals.md for how each changes its key',
    })
  return {
    active: active === undefined ? null : createAutoSeal(active, tools),
    retired: retired === undefined ? null : createAutoSeal(retired, tools),
  }
}
