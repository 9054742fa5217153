/** A snapshot is saved while clients write: read from a node to its end, and checked as a downloaded file is. */
import { Readable } from 'node:stream'
import { inspectSnapshotFile } from '#snapshots/inspect.ts'
import { anywhere, nothing, type FaultKind } from './types.ts'

/** The file is as small as what the clients wrote; on a busy machine it takes its time. */
const saveMsMax = 60_000

export const snapshotSaved: FaultKind = {
  name: 'snapshot saved under load',
  holdMs: [500, 1_000],
  unavailable: anywhere,
  async inject(arena, dice) {
    const node = dice.pick(arena.nodes)
    const answer = await fetch(`${node.apiAddress}/v1/sys/storage/raft/snapshot`, {
      headers: { 'x-vault-token': arena.token },
      signal: AbortSignal.timeout(saveMsMax),
    })
    if (!answer.ok || answer.body === null) {
      // An election is an excuse; that no snapshot is saved at all is none, and shows in the table.
      await answer.body?.cancel()
      return { on: `${node.id}, which answered ${answer.status}`, heal: nothing }
    }
    const { total } = await inspectSnapshotFile(Readable.fromWeb(answer.body as never) as AsyncIterable<Uint8Array>)
    return { on: `${node.id}: ${total.pairs} pairs`, heal: nothing }
  },
}
