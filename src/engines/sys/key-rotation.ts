/** `rotate/config`: when the keyring gets a new term by itself, and the leader's job that sees to it. */
import { formatDuration } from '#base/duration.ts'
import { HoldfastError } from '#base/errors.ts'
import { rotationBounds, rotationDefault, rotationDue, type RotationPolicy } from '#barrier/rotation.ts'
import type { EngineDef, HandlerContext, LogicalResponse, MountStorage, PathDef } from '#core/types.ts'
import { answer, field, optional, path, reads, writes } from './table.ts'
import type { SystemServices } from './types.ts'

const storedAt = 'key-rotation'
const version = 1
/** In a minute at the most that two cores write, a term is used a million times: far less than what the bound keeps in reserve. */
const checkEveryMs = 60_000

/** With as many namespaces as there may be, each has its turn about once an hour. */
const namespacesPerPassMax = 256

interface StoredPolicy extends RotationPolicy {
  readonly version: number
}

export function keyRotationPaths(): PathDef[] {
  const { operationsMin, operationsMax, intervalMsMin } = rotationBounds
  const fields = {
    max_operations: field('int', `Uses of a term after which the next one begins, ${operationsMin} to ${operationsMax}.`),
    interval: field(
      'duration',
      `Age of a term at which the next one begins, at least ${formatDuration(intervalMsMin / 1_000)}; 0: age does not matter.`,
    ),
    enabled: field('bool', 'Whether terms are added by themselves. `sys/rotate` works either way.'),
  }
  const operations: PathDef['operations'] = {
    read: reads('Read', async ({ storage }) => answer(policyAnswer(await readPolicy(storage)))),
    update: writes('Configure', configure),
  }
  const synopsis = 'When the keyring gets a new term by itself.'
  return ['rotate/config', 'rotate/keyring/config'].map((pattern) =>
    path(pattern, synopsis, { rootNamespaceOnly: true, fields }, operations),
  )
}

/** For the system engine's jobs. */
export function keyRotationJobs(services: SystemServices): NonNullable<EngineDef['jobs']> {
  const { barrier } = services
  const round = { after: '' }
  return [
    {
      name: 'keyring rotation',
      everyMs: checkEveryMs,
      run: async (storage, nowMs) => {
        const policy = await readPolicy(storage)
        const due = rotationDue(barrier.status(), policy, nowMs)
        if (due !== null)
          await barrier.rotate(due === 'age' ? 'its term is as old as configured' : 'its term was used as often as configured')
        await rotateNamespaces(services, policy, nowMs, round)
      },
    },
  ]
}

/** The keyrings of namespaces by the same rule, so many a pass; what is sealed waits until it is open again. */
async function rotateNamespaces(
  { barrier, namespaces, namespaceSeals }: SystemServices,
  policy: RotationPolicy,
  nowMs: number,
  round: { after: string },
): Promise<void> {
  if (barrier.read === undefined || namespaceSeals === undefined || !policy.enabled) return
  const window = { limit: namespacesPerPassMax, ...(round.after === '' ? {} : { after: round.after }) }
  const ids = await barrier.read({ kind: 'stale' }, (view) => namespaces.ids(view, window))
  round.after = ids.length < namespacesPerPassMax ? '' : ids.at(-1)!
  for (const id of ids) {
    const status = namespaceSeals.keyStatus(id)
    if (status !== null && rotationDue(status, policy, nowMs) !== null) await namespaceSeals.rotate(id)
  }
}

async function configure(context: HandlerContext): Promise<LogicalResponse | null> {
  const was = await readPolicy(context.storage)
  const intervalSeconds = optional<number>(context, 'interval')
  const policy: StoredPolicy = {
    version,
    enabled: optional<boolean>(context, 'enabled') ?? was.enabled,
    maxOperations: optional<number>(context, 'max_operations') ?? was.maxOperations,
    intervalMs: intervalSeconds === undefined ? was.intervalMs : intervalSeconds * 1_000,
  }
  checkPolicy(policy)
  context.storage.putJson(storedAt, policy)
  return null
}

function checkPolicy({ maxOperations, intervalMs }: RotationPolicy): void {
  const { operationsMin, operationsMax, intervalMsMin, intervalMsMax } = rotationBounds
  if (maxOperations < operationsMin || maxOperations > operationsMax)
    throw new HoldfastError('ERR_BAD_REQUEST', `max_operations expected ${operationsMin} to ${operationsMax}, got ${maxOperations}`, {
      hint: 'a key may seal with at most 2^32 random nonces; fewer uses than a million would fill the keyring with terms',
    })
  if (intervalMs !== 0 && (intervalMs < intervalMsMin || intervalMs > intervalMsMax)) {
    const [min, max, got] = [intervalMsMin, intervalMsMax, intervalMs].map((ms) => formatDuration(ms / 1_000))
    throw new HoldfastError('ERR_BAD_REQUEST', `interval expected 0, or ${min} to ${max}, got ${got}`, {
      hint: 'each term stays in the keyring for good; 0 leaves age out',
    })
  }
}

async function readPolicy(storage: MountStorage): Promise<RotationPolicy> {
  const stored = await storage.getJson<StoredPolicy>(storedAt)
  if (stored === null) return rotationDefault
  if (stored.version !== version)
    throw new HoldfastError('ERR_UPGRADE_REQUIRED', `key rotation policy: expected version ${version}, got ${stored.version}`, {
      hint: 'it was written by another release: start that one',
    })
  return stored
}

function policyAnswer({ enabled, maxOperations, intervalMs }: RotationPolicy): Record<string, unknown> {
  return { max_operations: maxOperations, enabled, interval: intervalMs === 0 ? 0 : formatDuration(intervalMs / 1_000) }
}
