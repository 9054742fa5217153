/**
 * What the leader knows of a bucket that several nodes take from. Pure: times are parameters.
 *
 * Each node lets requests through by a bucket of its own, at once, and says a few times a second how many it let through and how many asked. The leader
 * counts all of that against one level, and answers each node with its share of it: of what is there, and of what drips in, in proportion
 * to what is asked there. What nodes let through before they knew of each other makes the level negative, and the shares with it, until it is paid back:
 * so over any longer time no more passes than rate and burst allow. Asking the leader before each request would be exact at each moment, and
 * would cost every request a round trip, and every client its service while there is no leader.
 */
import { refill, type Bucket, type Flow } from './bucket.ts'
import { BoundedLru } from '#base/lru.ts'

/** One node's word on one of its buckets. */
export interface Report {
  readonly key: string
  /** Which life of the bucket: another one counts anew. */
  readonly epoch: number
  /** Let through in this life. */
  readonly taken: number
  /** Asked per ms, of late. */
  readonly wantedPerMs: number
  readonly tokens: number
  /** `tokens` is a leader's share, and no count of the node's own. */
  readonly shared: boolean
  /** 0: not blocked. */
  readonly blockedMs: number
}

/** What a node may let through from now on. */
export interface Grant {
  readonly key: string
  readonly epoch: number
  /** `taken` of the report that this answers. */
  readonly taken: number
  readonly tokens: number
  readonly perMs: number
  readonly blockedMs: number
}

/** A node that has said nothing of a bucket for so long asks for nothing. */
const silentMsMax = 1_000
/** Who asks for nothing now is still given this part of a rate that is short, so that its next request need not wait for a report. */
const idlePart = 0.02

/** More nodes than a cluster has: those that have left are forgotten. */
const takersMax = 32

/**
 * Parts of one; `whole` is what there is to be shared. Of what is short, in proportion to what each wants; where there is enough, each what it wants and of the rest
 * the same: who asks once in a while would else be refused while nobody is at the limit.
 */
export function parts(wanted: readonly number[], whole: number): number[] {
  const asked = wanted.reduce((total, want) => total + want, 0)
  const atLeast = Math.max(whole * idlePart, (whole - asked) / wanted.length)
  const sum = asked + atLeast * wanted.length
  return wanted.map((want) => (sum > 0 ? (want + atLeast) / sum : 1 / wanted.length))
}

interface Taker {
  readonly epoch: number
  readonly taken: number
  readonly wantedPerMs: number
  readonly seenMs: number
}

interface Account extends Bucket {
  readonly takers: Map<string, Taker>
  blockedUntilMs: number
}

/** The leader's accounts of one term. */
export class Ledger {
  readonly #accounts: BoundedLru<string, Account>

  constructor(accountsMax: number) {
    this.#accounts = new BoundedLru({ weightMax: accountsMax })
  }

  get size(): number {
    return this.#accounts.size
  }

  clear(): void {
    this.#accounts.clear()
  }

  /** Takes in a node's report, and says what it gets. `flow`: of the whole cluster. */
  report(node: string, report: Report, flow: Flow, nowMs: number): Grant {
    const account = this.#account(report, flow, nowMs)
    // Taken off before the level rises: what was let through since the last report made room below the brim for what dripped in meanwhile.
    account.tokens = Math.max(account.tokens - charge(account.takers.get(node), report, flow), -debtMax(account, flow))
    refill(account, flow, nowMs)
    const { epoch, taken, wantedPerMs } = report
    account.takers.delete(node)
    account.takers.set(node, { epoch, taken, wantedPerMs, seenMs: nowMs })
    if (account.takers.size > takersMax) account.takers.delete([...account.takers.keys()][0]!)
    if (report.blockedMs > 0) account.blockedUntilMs = Math.max(account.blockedUntilMs, nowMs + report.blockedMs)
    const part = partOf(account, node, flow, nowMs)
    return {
      key: report.key,
      epoch,
      taken,
      tokens: part * account.tokens,
      perMs: part * flow.perMs,
      blockedMs: Math.max(0, account.blockedUntilMs - nowMs),
    }
  }

  #account({ key, shared, tokens }: Report, { tokensMax }: Flow, nowMs: number): Account {
    const known = this.#accounts.get(key)
    if (known !== undefined) return known
    // What an earlier leader shared out is not shared out once more.
    const level = shared ? Math.min(tokensMax, Math.max(-tokensMax, tokens)) : tokensMax
    const made: Account = { tokens: level, atMs: nowMs, takers: new Map(), blockedUntilMs: 0 }
    this.#accounts.set(key, made)
    return made
  }
}

/** What a report adds to what was let through. At first contact: what its own bucket lacks, which nobody has counted yet. */
function charge(known: Taker | undefined, { epoch, taken, tokens, shared }: Report, { tokensMax }: Flow): number {
  if (known !== undefined && known.epoch === epoch) return Math.max(0, taken - known.taken)
  return shared ? 0 : Math.max(0, Math.min(taken, tokensMax - tokens))
}

/** A debt is at most what each node can have let through before it was told: more would punish a client for a lowered limit. */
const debtMax = ({ takers }: Account, { tokensMax, perMs }: Flow): number => (takers.size + 1) * (tokensMax + perMs * silentMsMax)

function partOf({ takers }: Account, node: string, { perMs }: Flow, nowMs: number): number {
  // Who is silent keeps its count: what it lets through later is the difference.
  const ids = [...takers].filter(([id, { seenMs }]) => id === node || nowMs - seenMs <= silentMsMax).map(([id]) => id)
  const shares = parts(
    ids.map((id) => takers.get(id)?.wantedPerMs ?? 0),
    perMs,
  )
  return shares[ids.indexOf(node)] ?? 0
}
