/** What the core is put together from. The services are named here by what the core needs of them; node/ hands in the real ones. */
import type { Clock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { AuditBroker } from '#audit/types.ts'
import type { Barrier, ReadView, Transaction } from '#barrier/types.ts'
import type { MfaStore } from '#identity/mfa.ts'
import type { LoginAlias, LoginIdentity, ResolvedIdentity } from '#identity/types.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import type { CompiledAcl, PolicySubject } from '#policies/types.ts'
import type { ReplicaStatus } from '#replica/types.ts'
import type { CreateToken } from '#tokens/store.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { Wrapping } from '#wrapping/wrapping.ts'
import type { LeaderJob } from './jobs.ts'
import type { Leasing } from './leasing.ts'
import type { UserLockout } from './lockout.ts'
import type { QuotaService } from './quota-gate.ts'
import type { CoreResponse, EngineDef, Request } from './types.ts'

/** Tokens as a request needs them. */
export interface TokenGate {
  /** The entry of a token that is good at `view`; null when it is unknown, expired, revoked or used up, or of none of `namespaceIds`. Constant time in the token. */
  lookup(view: ReadView, token: string, namespaceIds?: readonly string[]): Promise<TokenEntry | null>
  /** Counts one use of a limited token, in the request's own transaction; on the last one the token is good for this request and no other. */
  consumeUse(transaction: Transaction, entry: TokenEntry): Promise<TokenEntry>
  /** The storage name of a token; null for what can't be one. @throws ERR_SEALED. */
  hash(token: string): string | null
  /** The entry of that name; null as `lookup`. */
  lookupHash(view: ReadView, idHash: string, namespaceId?: string): Promise<TokenEntry | null>
  /** Makes a login's token, in the login's own transaction. Absent: nobody can log in. */
  create?(transaction: Transaction, params: CreateToken): Promise<{ readonly token: string; readonly entry: TokenEntry }>
}

/** Identity as a login needs it. */
export interface IdentityGate {
  /** The entity of an alias, made where there is none, in the login's own transaction. @throws ERR_PERMISSION_DENIED for one that is disabled. */
  login(transaction: Transaction, alias: LoginAlias, namespaceId: string): Promise<LoginIdentity>
  /** Absent: no login needs a second factor. */
  readonly mfa?: MfaStore
  /** With `mfa`: which groups an entity is in. */
  resolve?(view: ReadView, entityId: string, namespace?: string): Promise<ResolvedIdentity | null>
}

/** Policies as a request needs them. */
export interface PolicyGate {
  /** The policies of a token, with those of its identity, as they are in `view`, compiled. Names that do not exist grant nothing. */
  compileFor(view: ReadView, subject: PolicySubject): Promise<CompiledAcl>
  /** Names of those that a token has through its entity, groups and roles: for a login's answer. */
  identityPolicies?(view: ReadView, subject: PolicySubject): Promise<string[]>
}

export interface CoreDeps {
  readonly barrier: Barrier
  /** Consensus's view of this node: who leads, and whether it is this node and ready. */
  readonly replica: { status(): ReplicaStatus }
  readonly tokens: TokenGate
  readonly policies: PolicyGate
  /** Absent: one of the core's own. */
  readonly namespaces?: NamespaceStore
  /** Absent: logins have no entity. */
  readonly identity?: IdentityGate
  /** Absent: no number of wrong tries locks a name. */
  readonly lockout?: UserLockout
  /** Absent: nothing is limited. */
  readonly quotas?: QuotaService
  /** Its `barrier` must be this one's. Absent: no engine can lend anything, and nothing that is due is ended. */
  readonly leasing?: Leasing
  /** Whether what reaches outside must wait: the state is another cluster's (snapshots/restored.ts). Absent: never. */
  readonly waits?: () => boolean
  /** Whether this node hands every read to the leader, too. Absent: it answers them itself. */
  readonly forwardsReads?: boolean
  /** Absent: a request that asks for wrapping is refused. */
  readonly wrapping?: Wrapping
  readonly audit: Pick<AuditBroker, 'record'>
  /** Every engine and login method, the system engine and cubbyhole among them. */
  readonly engines: readonly EngineDef[]
  /** Sends a request to the leader and gives back its answer. @throws ERR_NO_LEADER, ERR_UPSTREAM, ERR_OUTCOME_UNKNOWN. */
  readonly forward: (request: Request) => Promise<CoreResponse>
  /** The house's own jobs (tidying tokens), run while this node is the ready leader. */
  readonly jobs: readonly LeaderJob[]
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
  readonly nodeId: string
  /** Which run of this node it is: greater than that of each run before. */
  readonly boot: number
}
