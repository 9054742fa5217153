/** Every subcommand. Parsing, help, did-you-mean and completion come from this table: adding one is its file and a line here. */
import type { Command } from '../cli/types.ts'
import { auditCommands } from './audit/index.ts'
import { benchCommand } from './bench.ts'
import { debugCommand } from './debug/debug.ts'
import { genericCommands } from './generic.ts'
import { kvBulkCommands } from './kv/bulk.ts'
import { kvDataCommands } from './kv/data.ts'
import { kvDiffCommand } from './kv/diff.ts'
import { kvHistoryCommand } from './kv/history.ts'
import { kvMetadataCommands } from './kv/metadata.ts'
import { kvSearchCommand } from './kv/search.ts'
import { kvVersionCommands } from './kv/versions.ts'
import { leaseCommands } from './lease.ts'
import { localCommands } from './local.ts'
import { loginCommands } from './login.ts'
import { migrateCommand } from './migrate/index.ts'
import { monitorCommand } from './monitor.ts'
import { mountCommands } from './mounts.ts'
import { namespaceCommands } from './namespace.ts'
import { namespaceSealCommands } from './namespace-seal.ts'
import { membersCommand } from './operator/members.ts'
import { autopilotCommands } from './operator/autopilot.ts'
import { generateRootCommand } from './operator/generate-root.ts'
import { raftCommands } from './operator/raft.ts'
import { recoverCommand } from './operator/recover.ts'
import { rekeyCommand } from './operator/rekey.ts'
import { sealCommands } from './operator/seal.ts'
import { snapshotCommands } from './operator/snapshot.ts'
import { snapshotScheduleCommands } from './operator/snapshot-schedule.ts'
import { policyCommands } from './policy.ts'
import { runCommand } from './run/run.ts'
import { serverCommand } from './server.ts'
import { statusCommand } from './status.ts'
import { systemCommands } from './system.ts'
import { tokenCommands } from './token.ts'
import { wrappingCommands } from './wrapping.ts'

export const commands: readonly Command[] = [
  serverCommand,
  statusCommand,
  ...loginCommands,
  ...genericCommands,
  runCommand,
  ...kvDataCommands,
  ...kvVersionCommands,
  ...kvMetadataCommands,
  kvDiffCommand,
  kvHistoryCommand,
  kvSearchCommand,
  ...kvBulkCommands,
  migrateCommand,
  ...tokenCommands,
  ...leaseCommands,
  ...policyCommands,
  ...mountCommands,
  ...auditCommands,
  ...namespaceCommands,
  ...namespaceSealCommands,
  ...sealCommands,
  rekeyCommand,
  generateRootCommand,
  membersCommand,
  ...raftCommands,
  recoverCommand,
  ...autopilotCommands,
  ...snapshotCommands,
  ...snapshotScheduleCommands,
  ...systemCommands,
  ...wrappingCommands,
  monitorCommand,
  debugCommand,
  benchCommand,
  ...localCommands,
]
