import type { Logger } from '#base/logger.ts'

export interface LevelCheckOptions {
  /** True where a lost end is made good from elsewhere (the state, from the log): a .log is cut at its first bad record instead of refused. */
  readonly repairTornLogs: boolean
  readonly logger: Logger
}

/** Checks every live file of a closed LevelDB folder. */
export async function checkLevelFiles(_directory: string, _options: LevelCheckOptions): Promise<void> {}
