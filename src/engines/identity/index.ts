/**
 * Identity is mounted, since clients expect it in `sys/mounts`, and answers no route yet: entities and groups come with the
 * first login method that needs them.
 */
import type { EngineDef } from '#core/types.ts'

const noPaths: readonly never[] = []

export const identityEngine: EngineDef = {
  type: 'identity',
  kind: 'secret',
  description: 'identity store',
  paths: () => noPaths,
}
