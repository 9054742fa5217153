/** The system engine: everything under sys/. One file a family; the table is made once, when the node is put together. */
import type { EngineDef, PathDef } from '#core/types.ts'
import { auditPaths } from './audit.ts'
import { autopilotJobs, autopilotPaths } from './autopilot.ts'
import { counterPaths } from './counters.ts'
import { generateRootPaths } from './generate-root.ts'
import { httpSettingPaths } from './http-settings.ts'
import { keyPaths } from './keys.ts'
import { keyRotationJobs, keyRotationPaths } from './key-rotation.ts'
import { lifecyclePaths } from './lifecycle.ts'
import { leasePaths } from './leases.ts'
import { lockedUserPaths } from './locked-users.ts'
import { logPaths } from './logs.ts'
import { mountPaths } from './mounts.ts'
import { namespaceLockPaths } from './namespace-lock.ts'
import { namespaceSealPaths } from './namespace-seals.ts'
import { namespacePaths } from './namespaces.ts'
import { passwordPolicyPaths } from './password-policies.ts'
import { pluginPaths } from './plugins.ts'
import { policyPaths } from './policies.ts'
import { quotaPaths } from './quotas.ts'
import { raftPaths } from './raft.ts'
import { rekeyPaths } from './rekey.ts'
import { snapshotPaths } from './snapshots.ts'
import { scheduleOfSnapshotPaths } from './snapshot-schedules.ts'
import { toolPaths } from './tools.ts'
import type { SystemServices } from './types.ts'
import { mfaValidatePath } from './mfa.ts'
import { wrappingPaths } from './wrapping.ts'
import { uiPaths } from './ui.ts'

export type { SystemServices } from './types.ts'

/** Mounted at sys/ in every namespace. `services.engines` must hold every type that can be mounted. */
export function createSystemEngine(services: SystemServices): EngineDef {
  const paths: readonly PathDef[] = [
    ...lifecyclePaths(services),
    ...mountPaths(services),
    ...pluginPaths(services),
    ...policyPaths(services),
    ...passwordPolicyPaths(),
    ...uiPaths(services, () => paths),
    ...counterPaths(services),
    ...logPaths(services),
    ...httpSettingPaths(),
    ...auditPaths(services),
    ...keyPaths(services),
    ...rekeyPaths(services),
    ...generateRootPaths(services),
    ...keyRotationPaths(),
    ...raftPaths(services),
    ...autopilotPaths(services),
    ...snapshotPaths(services),
    ...scheduleOfSnapshotPaths(services),
    ...toolPaths(),
    ...wrappingPaths(services),
    mfaValidatePath(services),
    ...lockedUserPaths(services),
    ...leasePaths(services),
    ...quotaPaths(services),
    ...namespacePaths(services),
    ...namespaceSealPaths(services),
    ...namespaceLockPaths(services),
  ]
  return {
    type: 'system',
    kind: 'secret',
    description: 'system endpoints used for control, policy and debugging',
    paths: () => paths,
    jobs: [...autopilotJobs(services), ...keyRotationJobs(services)],
  }
}
