/** `user_lockout_config` of a login method's tuning, and how a method says what is in force. */
import { HoldfastError } from '#base/errors.ts'
import type { LockoutSettings } from '#core/lockout.ts'
import { readFields } from '#core/fields.ts'
import type { MountConfig, PathDef, UserLockoutConfig } from '#core/types.ts'
import { field, path } from './table.ts'

const thresholdMax = 1_000_000
const secondsMax = 366 * 86_400

const schema: PathDef = path(
  'user_lockout_config',
  'Lockout',
  {
    fields: {
      lockout_threshold: field('int', 'Wrong tries that lock a name.'),
      lockout_duration: field('duration', 'For how long.'),
      lockout_counter_reset: field('duration', 'After so long without one, wrong tries are forgotten.'),
      lockout_counter_reset_duration: field('duration', 'The same, by its other name.'),
      lockout_disable: field('bool', 'No name is locked.'),
    },
  },
  {},
)

/** What the mount says once `asked` has been said; keys that are not named stay. @throws ERR_BAD_REQUEST. */
export function tunedLockout(config: MountConfig, asked: unknown): UserLockoutConfig {
  const { fields } = readFields(schema, {}, { body: asked as Record<string, unknown>, query: {} }, 'update')
  const bounded = (name: string, max: number): number | undefined => {
    const value = fields[name] as number | undefined
    if (value !== undefined && (value < 1 || value > max)) {
      throw new HoldfastError('ERR_BAD_REQUEST', `user_lockout_config.${name} expected 1 to ${max}, got ${value}`, {
        hint: 'to lock no name set lockout_disable',
      })
    }
    return value
  }
  const set = {
    lockout_threshold: bounded('lockout_threshold', thresholdMax),
    lockout_duration: bounded('lockout_duration', secondsMax),
    lockout_counter_reset: bounded('lockout_counter_reset_duration', secondsMax) ?? bounded('lockout_counter_reset', secondsMax),
    lockout_disable: fields.lockout_disable as boolean | undefined,
  }
  return { ...config.user_lockout_config, ...Object.fromEntries(Object.entries(set).filter(([, value]) => value !== undefined)) }
}

export const describeLockout = ({ disabled, threshold, durationSeconds, counterResetSeconds }: LockoutSettings) => ({
  user_lockout_counter_reset_duration: counterResetSeconds,
  user_lockout_disable: disabled,
  user_lockout_duration: durationSeconds,
  user_lockout_threshold: threshold,
})
