/** Where a schedule's files go. */
import { folderTarget } from './folder.ts'
import { s3Target } from './s3.ts'
import type { Schedule } from './schedule.ts'
import type { FolderRules, SnapshotTarget } from './types.ts'

/** @throws ERR_CONFIG where this node's configuration does not allow it. */
export async function targetOf(schedule: Schedule, rules: FolderRules): Promise<SnapshotTarget> {
  const { target } = schedule
  return target.kind === 'local' ? await folderTarget(schedule, target, rules) : await s3Target(schedule, target)
}
