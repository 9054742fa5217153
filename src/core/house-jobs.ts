/** The house's own jobs: deleting tokens and policies that have ended, aliases of mounts that are gone, what was unmounted, and namespaces. */
import type { Barrier, NamespaceKeys, ReadView } from '#barrier/types.ts'
import { silentLogger, type Logger } from '#base/logger.ts'
import type { IdentityStore } from '#identity/store.ts'
import type { Namespace } from '#namespaces/record.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import type { PolicyStore } from '#policies/store.ts'
import type { QuotaStore } from '#quotas/store.ts'
import type { TokenStore } from '#tokens/store.ts'
import type { LeaderJob } from './jobs.ts'
import type { Leasing } from './leasing.ts'
import { MountReader } from './mounts.ts'
import { moveJob } from './remount.ts'
import { namespaceRemovalJob, type NamespaceDrain } from './namespace-removal.ts'
import { NamespaceRounds } from './namespace-rounds.ts'
import { clearRevoked } from './revoked.ts'
import { sweepStep } from './sweep.ts'
import { apiVersion, buildDate } from './version.ts'
import { versionJob } from './version-history.ts'

const tidyEveryMs = 10_000
const sweepEveryMs = 5_000
const destroyedEveryMs = 2_000
const destroyedPerStepMax = 512
const renewalEveryMs = 1_000
/** Each is opened, hidden and sealed anew: about 20 ms of one processor. */
const renewedPerStepMax = 256
/** Bounds one pass, of one namespace: what is left waits for the next. */
const stepsPerPassMax = 32

interface HouseServices {
  readonly barrier: Barrier
  readonly tokens: TokenStore
  readonly namespaces: NamespaceStore
  readonly identity: Pick<IdentityStore, 'tidyStep' | 'drainNamespace'>
  readonly policies: Pick<PolicyStore, 'tidyStep'>
  /** Absent: there are none. */
  readonly quotas?: QuotaStore
  /** Absent: nothing is lent. */
  readonly leasing?: Pick<Leasing, 'drainNamespace' | 'store' | 'revokeBelow'>
  /** Absent where nothing is sealed (doubles in tests). */
  readonly keys?: Pick<NamespaceKeys, 'sweepDestroyed' | 'renewNamesStep'>
  /** Absent: nothing is said. */
  readonly log?: Logger
}

/** From the namespace of this id up to the root. */
async function lineTo(namespaces: NamespaceStore, view: ReadView, id: string | null): Promise<Namespace[]> {
  const line: Namespace[] = []
  for (let next = id; next !== null;) {
    const namespace = await namespaces.byId(view, next)
    if (namespace === null) break
    line.push(namespace)
    next = namespace.parentId
  }
  return line
}

/** Jobs for `CoreDeps.jobs`. */
export function houseJobs(services: HouseServices): readonly LeaderJob[] {
  const { barrier, tokens, namespaces, identity, policies, quotas, leasing, keys, log = silentLogger } = services
  const mounts = new MountReader()
  const repeat = async (step: () => Promise<boolean>): Promise<void> => {
    for (let count = 0; count < stepsPerPassMax; count += 1) if (!(await step())) return
  }
  const everywhere = (name: string, everyMs: number, step: (namespaceId: string) => Promise<boolean>): LeaderJob => {
    const rounds = new NamespaceRounds(barrier, namespaces)
    return { name, everyMs, run: () => rounds.pass((id) => repeat(() => step(id))) }
  }
  const drains: NamespaceDrain[] = [
    ...(leasing === undefined ? [] : ([(transaction, { id }) => leasing.drainNamespace(transaction, id)] satisfies NamespaceDrain[])),
    ...(quotas === undefined ? [] : [dropQuotas(quotas)]),
    async (transaction, { id, parentId }) => identity.drainNamespace(transaction, await lineTo(namespaces, transaction, parentId), id),
  ]
  return [
    everywhere('tidy tokens', tidyEveryMs, (id) => tidyTokens(barrier, tokens, mounts, id)),
    everywhere('tidy identity', sweepEveryMs, (id) => barrier.transact((transaction) => identity.tidyStep(transaction, id))),
    everywhere('tidy policies', tidyEveryMs, (id) => barrier.transact((transaction) => policies.tidyStep(transaction, id))),
    ...(keys === undefined ? [] : [destroyedJob(keys), renewalJob(keys)]),
    ...(leasing === undefined ? [] : [moveJob({ barrier, namespaces, leasing, log })]),
    versionJob(barrier, apiVersion, buildDate),
    namespaceRemovalJob({ barrier, namespaces, tokens, drains }),
    { name: 'sweep', everyMs: sweepEveryMs, run: () => repeat(() => barrier.transact((transaction) => sweepStep(transaction))) },
  ]
}

/** What destroyed namespaces left: ciphertexts that nobody can open. */
function destroyedJob(keys: Pick<NamespaceKeys, 'sweepDestroyed'>): LeaderJob {
  const run = async (): Promise<void> => {
    for (let count = 0; count < stepsPerPassMax; count += 1) if ((await keys.sweepDestroyed(destroyedPerStepMax)) === 0) return
  }
  return { name: 'sweep destroyed namespaces', everyMs: destroyedEveryMs, run }
}

/** Name keys that are being replaced. Where none is, it costs a look at this node's own state. */
function renewalJob(keys: Pick<NamespaceKeys, 'renewNamesStep'>): LeaderJob {
  const run = async (): Promise<void> => {
    for (let count = 0; count < stepsPerPassMax; count += 1) if ((await keys.renewNamesStep(renewedPerStepMax)) === null) return
  }
  return { name: 'names under another key', everyMs: renewalEveryMs, run }
}

/** A namespace's quotas lie in the root's section, and go before it does. */
const dropQuotas =
  (quotas: QuotaStore): NamespaceDrain =>
  async (transaction, { id }) => {
    await quotas.drop(transaction, { namespaceId: id })
    return false
  }

/** One bounded step in one namespace; true when more is left there. */
function tidyTokens(barrier: Barrier, tokens: TokenStore, mounts: MountReader, namespaceId: string): Promise<boolean> {
  return barrier.transact(async (transaction) => {
    const { entries, more } = await tokens.tidyStep(transaction, undefined, namespaceId)
    if (entries.length > 0) await clearRevoked(transaction, (id) => mounts.read(transaction, id), entries)
    return more
  })
}
