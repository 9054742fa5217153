/** What a schedule needs of the place that it saves to. */
export interface SnapshotTarget {
  /**
   * Keeps `chunks` under `name`: all of it or nothing, in place of one of that name. Ends soon after `signal` aborts. @throws ERR_UPSTREAM, ERR_CONFIG,
   * ERR_SNAPSHOT_TARGET, and what `chunks` throws.
   */
  store(name: string, chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<{ readonly url: string; readonly bytes: number }>
  /** Names of the schedule's files that stand there. Bounded: the oldest are among them. */
  list(signal: AbortSignal): Promise<readonly string[]>
  remove(name: string, signal: AbortSignal): Promise<void>
  close(): void
}

export interface FolderRules {
  /** `snapshot_folder` of this node's configuration; null: schedules may use no folder. */
  readonly root: string | null
  readonly nodeId: string
}
