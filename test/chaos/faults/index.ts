import { hungAudit } from './audit.ts'
import { packetLoss, slowLinks } from './bad-network.ts'
import { clockJump } from './clock.ts'
import { fsyncFails, fullDisk, powerCut, slowDisk } from './disks.ts'
import { flood } from './flood.ts'
import { kill } from './kill.ts'
import { leadershipTransfer, replaceMember } from './members.ts'
import { asymmetricPartition, bridgePartition, symmetricPartition } from './partitions.ts'
import { pause } from './pause.ts'
import { lag, restartAll, sealedRestart } from './restarts.ts'
import { snapshotSaved } from './snapshot.ts'
import type { FaultKind } from './types.ts'

export const faultKinds: readonly FaultKind[] = [
  kill,
  pause,
  symmetricPartition,
  asymmetricPartition,
  bridgePartition,
  packetLoss,
  slowLinks,
  powerCut,
  flood,
  hungAudit,
  fsyncFails,
  fullDisk,
  slowDisk,
  clockJump,
  restartAll,
  sealedRestart,
  replaceMember,
  lag,
  snapshotSaved,
  leadershipTransfer,
]
