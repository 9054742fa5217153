/** What an operator writes down of quotas, as it is kept and as it is matched. */

/** What a quota holds for. Ids, not names: moving a mount moves its quotas with it. */
export interface Scope {
  /** The namespace that it was written in, and that its administrators may change it in; absent: the root. What it holds for lies in there. */
  readonly owner?: string
  readonly namespaceId: string
  /** null: the whole namespace. */
  readonly mountUuid: string | null
  /** Of paths below the mount: '' all of them, 'data/app' that one, 'data/*' all that begin so. */
  readonly suffix: string
  /** Of logins at the mount: the role's; '' any. Never together with a suffix. */
  readonly role: string
  /** Of a namespace's quota: it holds in the namespaces below too, where these have none. */
  readonly inheritable: boolean
}

/** Whose requests are counted together. `entity_then_*`: an entity's; requests without one by address, or all together. */
export const groupings = ['ip', 'none', 'entity_then_ip', 'entity_then_none'] as const
export type Grouping = (typeof groupings)[number]

export interface RateQuota extends Scope {
  readonly name: string
  /** Requests in an interval. */
  readonly rate: number
  readonly intervalSeconds: number
  /** 0: whoever goes beyond the rate waits for a token, no longer. */
  readonly blockSeconds: number
  readonly groupBy: Grouping
  /** For requests without an entity where entities are counted; 0: `rate`. */
  readonly secondaryRate: number
  /** What may be asked at once; 0: what an interval allows. */
  readonly burst: number
}

export interface LeaseQuota extends Scope {
  readonly name: string
  readonly leasesMax: number
}

/** 0: as the listener says. Never more than that. */
export interface RequestQuota extends Scope {
  readonly name: string
  readonly bodyBytesMax: number
  readonly jsonDepthMax: number
  readonly durationSecondsMax: number
}

export interface QuotaConfig {
  readonly exemptPaths: readonly string[]
  readonly auditRefused: boolean
  readonly answerHeaders: boolean
}

/** What a quota is told apart by, over all owners. '/' is in no quota's name, and in no namespace's id. */
export const quotaId = ({ owner, name }: { readonly owner?: string; readonly name: string }): string =>
  owner === undefined ? name : `${owner}/${name}`

export interface QuotaKinds {
  'rate-limit': RateQuota
  'lease-count': LeaseQuota
  'request-limits': RequestQuota
}
export type QuotaKind = keyof QuotaKinds
export const quotaKinds: readonly QuotaKind[] = ['rate-limit', 'lease-count', 'request-limits']
