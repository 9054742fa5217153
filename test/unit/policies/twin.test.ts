/**
 * The matcher against its slow twin, with which it shares no code: 100,000 cases, some 6 s of one core. HOLDFAST_TWIN_CASES sets another number,
 * HOLDFAST_TWIN_SEED another seed.
 */
import { compileAcl } from '#policies/acl.ts'
import { parsePolicy } from '#policies/parse.ts'
import type { AccessRequest, CompiledAcl } from '#policies/types.ts'
import { Prng } from '#test/sim/prng.ts'
import { expect, test } from 'vitest'
import { twinAllows, twinPresent, twinTie, twinWinner, type TwinFact, type TwinRule } from './twin.ts'

const casesMax = Number(process.env['HOLDFAST_TWIN_CASES'] ?? 100_000)
const seed = Number(process.env['HOLDFAST_TWIN_SEED'] ?? 20_261_123)
const questionsASet = 4

const segments = ['a', 'b', 'ab', '+', '+', 'a', 'b'] as const
const ends = ['', '', '', '/', '*', '/*', '/*', '/a*'] as const
const operations = ['read', 'read', 'read', 'list', 'list', 'scan', 'update', 'create', 'delete', 'patch'] as const
const most = ['read', 'list', 'update', 'scan', 'create', 'delete', 'patch'] as const
const facts: readonly TwinFact[] = ['near', 'short-lived', 'early']

function drawPattern(random: Prng): string {
  const count = random.between(1, 3)
  const text = Array.from({ length: count }, () => random.pick(segments)).join('/') + random.pick(ends)
  return text.includes('+*') || text.includes('+a*') ? drawPattern(random) : text
}

function drawRule(random: Prng): TwinRule {
  const all = ['create', 'read', 'update', 'patch', 'delete', 'list', 'scan', 'deny', 'sudo']
  const capabilities = random.chance(0.8) ? [...most] : all.filter(() => random.chance(0.4))
  const needs = random.chance(0.15) ? facts.filter(() => random.chance(0.5)) : []
  return { path: drawPattern(random), capabilities, needs }
}

const drawPolicies = (random: Prng): TwinRule[][] =>
  Array.from({ length: random.between(1, 3) }, () => Array.from({ length: random.between(3, 7) }, () => drawRule(random)))

/** Now and then a path that some rule writes down: exact rules would hardly be hit otherwise. */
function drawPath(random: Prng, rules: readonly TwinRule[]): string {
  if (random.chance(0.25))
    return (
      random
        .pick(rules)
        .path.replaceAll('+', () => random.pick(['a', 'b']))
        .replace('*', () => random.pick(['', 'b', 'a/b'])) || 'a'
    )
  return Array.from({ length: random.between(1, 4) }, (_, i) =>
    i === 0 ? random.pick(['a', 'b', 'ab']) : random.pick(['a', 'b', 'ab', 'a', 'b', '']),
  ).join('/')
}

const conditionsOf = (needs: readonly TwinFact[]): object => ({
  conditions: {
    ...(needs.includes('near') ? { source_cidrs: ['10.0.0.0/8'] } : {}),
    ...(needs.includes('short-lived') ? { max_token_ttl: '1h' } : {}),
    ...(needs.includes('early') ? { time: '00:00-12:00' } : {}),
  },
})

const compile = (written: readonly (readonly TwinRule[])[]): CompiledAcl =>
  compileAcl(
    written.map((rules, i) =>
      parsePolicy(
        `p${i}`,
        JSON.stringify({
          path: rules.map(({ path, capabilities, needs }) => ({
            [path]: { capabilities, ...(needs.length > 0 ? conditionsOf(needs) : {}) },
          })),
        }),
      ),
    ),
  )

function requestOf(path: string, operation: AccessRequest['operation'], caller: readonly TwinFact[]): AccessRequest {
  return {
    path,
    operation,
    needsSudo: false,
    body: {},
    query: {},
    wrapTtlSeconds: 0,
    nowMs: (caller.includes('early') ? 9 : 15) * 3_600_000,
    clientAddress: caller.includes('near') ? '10.0.0.1' : '192.0.2.1',
    tokenTtlSeconds: caller.includes('short-lived') ? 60 : 7_200,
  }
}

test(`decides as its twin in ${casesMax} random cases: a third allowed, a third by '*' or '+', one in a hundred a tie`, () => {
  const random = new Prng(seed)
  const seen = { all: 0, allowed: 0, wildcard: 0, ties: 0, merged: 0, passedOver: 0 }
  while (seen.all < casesMax) {
    const written = drawPolicies(random)
    const acl = compile(written)
    const rules = written.flat()
    for (let question = 0; question < questionsASet && seen.all < casesMax; question += 1) {
      const operation = random.pick(operations)
      const listing = operation === 'list' || operation === 'scan'
      const asked = drawPath(random, rules).replace(/^\/+/, '')
      const path = listing && !asked.endsWith('/') ? `${asked}/` : asked
      const caller = facts.filter(() => random.chance(0.5))
      const present = twinPresent(rules, caller)
      const winner = twinWinner(present, path, listing)
      const fast = acl.decide(requestOf(path, operation, caller))
      const expected = [twinAllows(present, path, operation), winner?.pattern ?? null]
      if (fast.allowed !== expected[0] || (fast.rule?.pattern ?? null) !== expected[1]) {
        expect([fast.allowed, fast.rule?.pattern ?? null], JSON.stringify({ written, path, operation, caller })).toEqual(expected)
      }
      seen.all += 1
      if (fast.allowed) seen.allowed += 1
      if (winner && /\*$|(^|\/)\+(\/|$)/.test(winner.pattern)) seen.wildcard += 1
      if (twinTie(present, path, listing).tied > 1) seen.ties += 1
      if (winner && present.filter((rule) => rule.path === winner.pattern).length > 1) seen.merged += 1
      if (winner?.pattern !== twinWinner(rules, path, listing)?.pattern) seen.passedOver += 1
    }
  }
  console.log(`twin: ${JSON.stringify(seen)}`)
  // A test of collisions that has none tests nothing.
  expect(seen.all).toBe(casesMax)
  expect(seen.allowed).toBeGreaterThan(casesMax / 3)
  expect(seen.allowed).toBeLessThan((casesMax * 9) / 10)
  expect(seen.wildcard).toBeGreaterThan(casesMax / 3)
  expect(seen.ties).toBeGreaterThan(casesMax / 100)
  expect(seen.merged).toBeGreaterThan(casesMax / 100)
  expect(seen.passedOver).toBeGreaterThan(casesMax / 200)
}, 600_000)

test('capabilities are those of the rule that decides, and explain decides as decide', () => {
  const random = new Prng(7)
  for (let round = 0; round < 1_500; round += 1) {
    const written = drawPolicies(random)
    const acl = compile(written)
    const path = drawPath(random, written.flat())
    const caller = facts.filter(() => random.chance(0.5))
    const request = requestOf(path, random.pick(operations), caller)
    const found = twinWinner(twinPresent(written.flat(), caller), path, true)?.capabilities ?? new Set<string>()
    const expected = found.size === 0 || found.has('deny') ? ['deny'] : [...found].toSorted()
    expect(acl.capabilities(path, request), JSON.stringify({ written, path, caller })).toEqual(expected)
    const { reason, candidates, ...decision } = acl.explain(request)
    expect(decision).toEqual(acl.decide(request))
    expect(reason === 'allowed').toBe(decision.allowed)
    // The first that is there decides.
    expect(candidates.find(({ active }) => active)?.pattern ?? null).toBe(decision.rule?.pattern ?? null)
  }
})

test('the order of policies, and of rules in them, changes nothing', () => {
  const random = new Prng(8)
  for (let round = 0; round < 1_000; round += 1) {
    const written = drawPolicies(random)
    const turned = written.map((rules) => rules.toReversed()).toReversed()
    const request = requestOf(
      drawPath(random, written.flat()),
      random.pick(operations),
      facts.filter(() => random.chance(0.5)),
    )
    expect(compile(written).decide(request).allowed).toBe(compile(turned).decide(request).allowed)
  }
})
