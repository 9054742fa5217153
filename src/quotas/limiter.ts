/**
 * This node's buckets: one a quota and client. Decides at once, from memory; what it decided is told to the leader, and what the leader answers is
 * what the buckets go on with (shares.ts).
 *
 * A bucket that nothing was answered for lets through the limit's N-th part, N being the number of nodes: so the cluster holds the limit without a leader
 * too. A new one begins full while there is a leader, who will count what it gives; without one it begins with its N-th part of that as well.
 */
import { BoundedLru } from '#base/lru.ts'
import { msUntil, refill, take, type Bucket, type Flow } from './bucket.ts'
import type { Grant, Report } from './shares.ts'

/** What one quota allows one client. */
export interface Limit {
  /** Which quota and part of it: the same on every node. */
  readonly id: string
  readonly flow: Flow
  /** How long who goes beyond it is shut out, ms; 0: not at all. */
  readonly blockMs: number
}

export interface Verdict {
  readonly allowed: boolean
  /** As the quota says it: requests in an interval. */
  readonly limit: number
  /** Requests that would be let through now. */
  readonly remaining: number
  /** Until all of the limit is there again. */
  readonly resetSeconds: number
  /** 0 when allowed. */
  readonly retryAfterSeconds: number
}

/** Who counts, and how many there are of it. */
export interface Cluster {
  readonly nodes: number
  /** A leader counts what this node lets through. */
  readonly inContact: boolean
}

export const limiterBounds = {
  /** Buckets at a time, some 250 bytes each: about 16 MiB. The one that was used longest ago is forgotten first. */
  bucketsMax: 65_536,
  /** Buckets in one report: those that are asked for most. */
  reportsMax: 1_024,
} as const

/** How long a share holds that no other has followed. */
const shareMsMax = 1_500
/** How much of what is asked now counts against what was asked before. */
const weightOfNow = 0.5

interface Local extends Bucket {
  readonly key: string
  readonly limit: Limit
  readonly epoch: number
  taken: number
  /** Asked since the last report. */
  wanted: number
  wantedPerMs: number
  /** What the leader gave of the rate, until when. */
  sharePerMs: number
  sharedUntilMs: number
  blockedUntilMs: number
  /** What was asked is still to be told. */
  told: boolean
}

export interface LimiterOptions {
  readonly cluster: () => Cluster
  /** Differs for each run of this node. */
  readonly epochBase: number
  readonly bucketsMax?: number
}

export class Limiter {
  readonly #options: LimiterOptions
  readonly #buckets: BoundedLru<string, Local>
  /** Asked since the last report, or still to be told that they no longer are. */
  readonly #active = new Set<Local>()
  #epoch: number
  #lastReportMs = -Infinity
  #refused = 0

  constructor(options: LimiterOptions) {
    this.#options = options
    this.#epoch = options.epochBase
    this.#buckets = new BoundedLru({
      weightMax: options.bucketsMax ?? limiterBounds.bucketsMax,
      dropped: (bucket) => this.#active.delete(bucket),
    })
  }

  /** Buckets in use. */
  get size(): number {
    return this.#buckets.size
  }

  /** Requests refused since the start. */
  get refused(): number {
    return this.#refused
  }

  clear(): void {
    this.#buckets.clear()
    this.#active.clear()
  }

  /** One request of `client` under `limit`. `shown`: the limit as the client is told it. */
  take(limit: Limit, client: string, shown: number, nowMs: number): Verdict {
    const key = `${limit.id}\0${client}`
    const bucket = this.#find(key, limit, nowMs)
    const flow = this.#flow(bucket, limit, nowMs)
    bucket.wanted += 1
    this.#active.add(bucket)
    const blocked = limit.blockMs > 0 && bucket.blockedUntilMs > nowMs
    const allowed = !blocked && take(bucket, flow, nowMs)
    if (allowed) bucket.taken += 1
    else {
      this.#refused += 1
      if (limit.blockMs > 0 && !blocked) bucket.blockedUntilMs = nowMs + limit.blockMs
    }
    return verdictOf(bucket, limit, flow, { allowed, shown, nowMs })
  }

  #find(key: string, limit: Limit, nowMs: number): Local {
    const known = this.#buckets.get(key)
    // A quota that was changed begins anew: what the old one owed or saved means nothing under it.
    if (known !== undefined && (known.limit === limit || sameLimit(known.limit, limit))) return known
    const { nodes, inContact } = this.#options.cluster()
    const made: Local = {
      key,
      limit,
      epoch: (this.#epoch += 1),
      tokens: inContact ? limit.flow.tokensMax : Math.max(1, limit.flow.tokensMax / nodes),
      atMs: nowMs,
      taken: 0,
      wanted: 0,
      wantedPerMs: 0,
      sharePerMs: 0,
      sharedUntilMs: -Infinity,
      blockedUntilMs: 0,
      told: true,
    }
    this.#buckets.set(key, made)
    return made
  }

  /** By what the bucket fills: the leader's share, or the N-th part. */
  #flow(bucket: Local, { flow }: Limit, nowMs: number): Flow {
    const { nodes, inContact } = this.#options.cluster()
    if (nodes <= 1) return flow
    if (nowMs < bucket.sharedUntilMs) return { perMs: bucket.sharePerMs, tokensMax: flow.tokensMax }
    return { perMs: flow.perMs / nodes, tokensMax: inContact ? flow.tokensMax : Math.max(1, flow.tokensMax / nodes) }
  }

  /**
   * What the leader must know: buckets that were asked since the last report, but for those that are asked for next to nothing. At most `reportsMax`, those first that are asked for most.
   */
  report(nowMs: number): Report[] {
    const passedMs = Math.max(1, nowMs - this.#lastReportMs)
    this.#lastReportMs = nowMs
    const { nodes } = this.#options.cluster()
    const rows: Report[] = []
    for (const bucket of this.#active) {
      measure(bucket, passedMs)
      if (bucket.wantedPerMs === 0 && bucket.told) this.#active.delete(bucket)
      refill(bucket, this.#flow(bucket, bucket.limit, nowMs), nowMs)
      if (needsCounting(bucket, nodes)) {
        bucket.told = bucket.wantedPerMs === 0
        rows.push(reportOf(bucket, nowMs))
      }
    }
    if (rows.length <= limiterBounds.reportsMax) return rows
    return rows.toSorted((a, b) => b.wantedPerMs - a.wantedPerMs).slice(0, limiterBounds.reportsMax)
  }

  /** What the leader answered. What was let through since the report is taken off. */
  adopt(grants: readonly Grant[], nowMs: number): void {
    for (const { key, epoch, taken, tokens, perMs, blockedMs } of grants) {
      const bucket = this.#buckets.peek(key)
      if (bucket === undefined || bucket.epoch !== epoch) continue
      bucket.tokens = Math.min(bucket.limit.flow.tokensMax, tokens) - (bucket.taken - taken)
      bucket.atMs = nowMs
      bucket.sharePerMs = perMs
      bucket.sharedUntilMs = nowMs + shareMsMax
      if (blockedMs > 0) bucket.blockedUntilMs = Math.max(bucket.blockedUntilMs, nowMs + blockedMs)
    }
  }
}

const sameLimit = (a: Limit, b: Limit): boolean =>
  a.id === b.id && a.flow.perMs === b.flow.perMs && a.flow.tokensMax === b.flow.tokensMax && a.blockMs === b.blockMs

function measure(bucket: Local, passedMs: number): void {
  const perMs = bucket.wanted / passedMs
  // Who has stopped asking leaves its share to the others at once.
  bucket.wantedPerMs = perMs === 0 || bucket.wantedPerMs === 0 ? perMs : weightOfNow * perMs + (1 - weightOfNow) * bucket.wantedPerMs
  bucket.wanted = 0
}

/** Of the whole rate, what all nodes together may let through uncounted beside one that has been given all of it. */
const uncountedPart = 0.05

/**
 * Not what leaves half of its brim untouched and was never counted, and asks for so little that all nodes of that kind together hardly matter: else every client that
 * comes by now and then would be reported. A node's N-th part would be too much: another may have been given the whole rate, knowing of nobody else.
 */
function needsCounting({ limit: { flow }, tokens, wantedPerMs, told }: Local, nodes: number): boolean {
  return nodes > 1 && (!told || tokens < flow.tokensMax / 2 || wantedPerMs > (flow.perMs * uncountedPart) / nodes)
}

function reportOf({ key, epoch, taken, wantedPerMs, tokens, sharedUntilMs, blockedUntilMs }: Local, nowMs: number): Report {
  return { key, epoch, taken, wantedPerMs, tokens, shared: nowMs < sharedUntilMs, blockedMs: Math.max(0, blockedUntilMs - nowMs) }
}

function verdictOf(
  bucket: Local,
  limit: Limit,
  flow: Flow,
  { allowed, shown, nowMs }: { readonly allowed: boolean; readonly shown: number; readonly nowMs: number },
): Verdict {
  const waitMs = allowed ? 0 : Math.max(msUntil(bucket, flow, 1), bucket.blockedUntilMs - nowMs)
  return {
    allowed,
    limit: shown,
    remaining: waitMs > 0 ? 0 : Math.max(0, Math.floor(bucket.tokens)),
    resetSeconds: seconds(msUntil(bucket, flow, limit.flow.tokensMax)),
    retryAfterSeconds: allowed ? 0 : Math.max(1, seconds(waitMs)),
  }
}

/** A share of nothing drips never: the next report brings another. */
const seconds = (ms: number): number => (Number.isFinite(ms) ? Math.ceil(ms / 1_000) : 1)
