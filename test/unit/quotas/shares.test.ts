import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Limiter, type Limit } from '#quotas/limiter.ts'
import { Ledger, parts } from '#quotas/shares.ts'

test('parts make one, none is nothing, who wants more gets more', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 9 }), (wanted) => {
      const shares = parts(wanted, 10)
      const sum = shares.reduce((total, share) => total + share, 0)
      return (
        Math.abs(sum - 1) < 1e-9 &&
        shares.every((share) => share > 0) &&
        wanted.every((want, i) => wanted.every((other, j) => want < other || shares[i]! >= shares[j]! - 1e-12))
      )
    }),
    { numRuns: 2_000 },
  )
  expect(parts([0, 0], 0)).toEqual([0.5, 0.5])
  expect(parts([1_000, 0, 0], 10)[0]).toBeGreaterThan(0.99)
})

/** Nodes with limiters, a leader's ledger, and time in steps of 5 ms. Reports take `delayMs` to the leader and as long back. */
class Cluster {
  readonly limiters: Limiter[]
  readonly #ledger = new Ledger(100)
  readonly #limit: Limit
  readonly #queue: { atMs: number; run: () => void }[] = []
  readonly delayMs: number
  nowMs = 0
  leader = true
  readonly admitted: number[]
  constructor(nodes: number, limit: Limit, delayMs: number) {
    this.#limit = limit
    this.delayMs = delayMs
    this.admitted = Array.from({ length: nodes }, () => 0)
    this.limiters = this.admitted.map(
      (_, i) => new Limiter({ cluster: () => ({ nodes, inContact: this.leader }), epochBase: i * 1_000_000 }),
    )
  }
  newLeader(): void {
    this.#ledger.clear()
  }
  /** `load`: requests a second, by node. */
  run(ms: number, load: (node: number, nowMs: number) => number): void {
    const owed = this.limiters.map(() => 0)
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; this.nowMs += 5) {
      for (const each of this.#queue.filter(({ atMs }) => atMs <= this.nowMs)) {
        this.#queue.splice(this.#queue.indexOf(each), 1)
        each.run()
      }
      for (const [i, limiter] of this.limiters.entries()) {
        owed[i] = (owed[i] ?? 0) + load(i, this.nowMs) * 0.005
        for (; owed[i]! >= 1; owed[i]! -= 1) if (limiter.take(this.#limit, 'c', 0, this.nowMs).allowed) this.admitted[i]! += 1
        // Nodes report at different moments.
        if (this.leader && (this.nowMs + i * 85) % 250 === 0) this.#report(i, limiter)
      }
    }
  }
  #report(node: number, limiter: Limiter): void {
    const reports = limiter.report(this.nowMs)
    this.#after(() => {
      const grants = reports.map((report) => this.#ledger.report(`n${node}`, report, this.#limit.flow, this.nowMs))
      this.#after(() => limiter.adopt(grants, this.nowMs))
    })
  }
  #after(run: () => void): void {
    this.#queue.push({ atMs: this.nowMs + this.delayMs, run })
  }
  get total(): number {
    return this.admitted.reduce((sum, each) => sum + each, 0)
  }
}

const limit = (rate: number, burst = rate): Limit => ({ id: 'q', flow: { perMs: rate / 1_000, tokensMax: Math.max(1, burst) }, blockMs: 0 })

test('three nodes, whatever is asked where: over 10 s within 3 % of rate and burst, and nearly as much as is asked for', () => {
  const weights = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 3, maxLength: 3 })
  let overloaded = 0
  fc.assert(
    fc.property(
      fc.integer({ min: 5, max: 500 }),
      fc.double({ min: 0.2, max: 8, noNaN: true }),
      weights,
      weights,
      fc.integer({ min: 0, max: 60 }),
      (rate, load, first, second, delayMs) => {
        const cluster = new Cluster(3, limit(rate, rate / 2), delayMs)
        const at = (of: readonly number[], node: number): number => {
          const sum = of.reduce((total, weight) => total + weight, 0)
          return sum === 0 ? load * rate * (1 / 3) : (load * rate * (of[node] ?? 0)) / sum
        }
        // The load moves to other nodes half way.
        cluster.run(10_000, (node, nowMs) => at(nowMs < 5_000 ? first : second, node))
        const asked = load * rate * 10
        const allowed = rate * 10 + rate / 2
        if (asked > allowed) overloaded += 1
        // A tenth is what is promised on a real network; here at most a hundredth came of it in 8,000 cases, and a few requests of a small limit.
        expect(cluster.total, 'at most').toBeLessThanOrEqual(allowed * 1.03 + 4)
        const due = Math.min(asked, rate * 10)
        expect(cluster.total, 'at least').toBeGreaterThanOrEqual(Math.max(due * 0.93 - 10, due * 0.9 - 8))
      },
    ),
    { numRuns: 300 },
  )
  expect(overloaded).toBeGreaterThan(100)
})

test('all through one node: the whole rate; all through three: the same', () => {
  const one = new Cluster(3, limit(100, 10), 5)
  one.run(10_000, (node) => (node === 1 ? 400 : 0))
  expect(one.total).toBeGreaterThanOrEqual(980)
  expect(one.total).toBeLessThanOrEqual(1_060)
  const even = new Cluster(3, limit(100, 10), 5)
  even.run(10_000, () => 133)
  expect(even.total).toBeGreaterThanOrEqual(980)
  expect(even.total).toBeLessThanOrEqual(1_060)
  // In proportion to what is asked.
  const uneven = new Cluster(3, limit(100, 10), 5)
  uneven.run(10_000, (node) => [300, 150, 50][node]!)
  expect(Math.abs(uneven.admitted[0]! / uneven.total - 0.6)).toBeLessThan(0.08)
  expect(Math.abs(uneven.admitted[2]! / uneven.total - 0.1)).toBeLessThan(0.08)
})

test('without a leader each node holds its part; a leader that was followed by another gives nobody a second burst', () => {
  const alone = new Cluster(3, limit(100, 10), 5)
  alone.leader = false
  alone.run(10_000, () => 400)
  expect(alone.total).toBeGreaterThanOrEqual(990)
  expect(alone.total).toBeLessThanOrEqual(1_015)
  const failover = new Cluster(3, limit(100, 100), 5)
  failover.run(4_000, () => 400)
  failover.newLeader()
  failover.run(6_000, () => 400)
  expect(failover.total).toBeGreaterThanOrEqual(1_000)
  expect(failover.total).toBeLessThanOrEqual(1_180)
})

test('the ledger counts a report that comes twice once, and a bucket that began anew from its beginning', () => {
  const ledger = new Ledger(10)
  const flow = { perMs: 0, tokensMax: 100 }
  const report = { key: 'k', epoch: 1, taken: 10, wantedPerMs: 1, tokens: 90, shared: false, blockedMs: 0 }
  expect(ledger.report('a', report, flow, 0).tokens).toBeCloseTo(90)
  expect(ledger.report('a', report, flow, 1).tokens).toBeCloseTo(90)
  expect(ledger.report('a', { ...report, taken: 15 }, flow, 2).tokens).toBeCloseTo(85)
  expect(ledger.report('a', { ...report, epoch: 2, taken: 5, tokens: 95 }, flow, 3).tokens).toBeCloseTo(80)
  // Two nodes that each let a whole burst through before they knew of each other owe one.
  const other = ledger.report('b', { ...report, taken: 100, tokens: 0 }, flow, 4)
  expect(other.tokens).toBeLessThan(0)
  // A block is told to every node that asks.
  ledger.report('a', { ...report, epoch: 2, taken: 5, blockedMs: 5_000 }, flow, 10)
  expect(ledger.report('b', { ...report, taken: 100, tokens: 0 }, flow, 1_010).blockedMs).toBe(4_000)
  ledger.clear()
  expect(ledger.size).toBe(0)
})
