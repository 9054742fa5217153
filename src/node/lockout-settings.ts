/** What the configuration says of user lockout for one type of login method. */
import type { UserLockoutConfig } from '#config/types.ts'
import { lockoutDefaults, type LockoutSettings } from '#core/lockout.ts'

/** `user_lockout "TYPE"` over `user_lockout "all"` over the defaults, key by key. Each node says its own; the leader's holds. */
export function lockoutSettings(blocks: readonly UserLockoutConfig[], type: string): LockoutSettings {
  const chosen = [blocks.find((block) => block.type === type), blocks.find((block) => block.type === 'all')].filter(
    (block) => block !== undefined,
  )
  const first = <T>(read: (block: UserLockoutConfig) => T | null): T | null =>
    chosen.map(read).find((value) => value !== null && value !== 0) ?? null
  const seconds = (ms: number | null): number | null => (ms === null ? null : Math.max(1, Math.ceil(ms / 1_000)))
  return {
    disabled: first(({ disable_lockout: disabled }) => disabled) ?? lockoutDefaults.disabled,
    threshold: first(({ lockout_threshold: threshold }) => threshold) ?? lockoutDefaults.threshold,
    durationSeconds: seconds(first(({ lockout_duration: ms }) => ms)) ?? lockoutDefaults.durationSeconds,
    counterResetSeconds: seconds(first(({ lockout_counter_reset: ms }) => ms)) ?? lockoutDefaults.counterResetSeconds,
  }
}
