/**
 * Decisions of compiled policies a second, on one core: small and large sets of rules, exact, by '*', by '+', with conditions, with parameters; and
 * what parsing and compiling cost. Run: node bench/policies.ts
 */
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { compileAcl } from '#policies/acl.ts'
import { defaultPolicyText } from '#policies/builtin.ts'
import { parsePolicy } from '#policies/parse.ts'
import type { AccessRequest, CompiledAcl } from '#policies/types.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({ options: { times: { type: 'string', default: '400000' } } })
const times = Number(values.times)
const batches = 20
/** Keeps the compiler from leaving out what nobody looks at. */
let sink: object = {}

/** Runs of `work` a second of this process's own CPU time: others may share the machine. The best of several batches, and the median. */
function perSecond(work: () => object, all = times): { best: number; median: number } {
  const rates = Array.from({ length: batches }, () => {
    const started = process.cpuUsage()
    const count = Math.max(1, Math.floor(all / batches))
    for (let i = 0; i < count; i += 1) sink = work()
    const { user, system } = process.cpuUsage(started)
    return (count * 1e6) / Math.max(1, user + system)
  }).toSorted((a, b) => b - a)
  return { best: Math.round(rates[0]!), median: Math.round(rates[batches / 2]!) }
}

const rules = (count: number, more: string): string =>
  Array.from({ length: count }, (_, i) => {
    const path = [`secret/data/team${i}/app`, `secret/data/team${i}/*`, `secret/+/team${i}/+/config`, `secret/metadata/team${i}/+/*`][i % 4]
    return `path "${path}" { capabilities = ["create", "read", "update", "list"] ${more} }`
  }).join('\n')

const aclOf = (text: string): CompiledAcl => compileAcl([parsePolicy('default', defaultPolicyText), parsePolicy('team', text)])
const requestOf = (path: string): AccessRequest => ({
  path,
  operation: 'update',
  needsSudo: false,
  body: { role: 'dev-1', ttl: '1h' },
  query: {},
  wrapTtlSeconds: 0,
  nowMs: 1_790_000_000_000,
  clientAddress: '10.1.2.3',
  tokenTtlSeconds: 1_800,
})

const conditions = 'conditions { time = "00:00-24:00" timezone = "Europe/Berlin" source_cidrs = ["10.0.0.0/8"] max_token_ttl = "1h" }'
const parameters = 'allowed_parameters = { "role" = ["dev*", "ops*"], "ttl" = [] } denied_parameters = { "admin" = [] }'

function ofRules(count: number, more = ''): Record<string, object> {
  const acl = aclOf(rules(count, more))
  // The last rules of each kind: the matcher has no luck with the first.
  const last = count - 4
  const asked: Readonly<Record<string, string>> = {
    exact: `secret/data/team${last}/app`,
    'by *': `secret/data/team${last + 1}/a/b`,
    'by +': `secret/data/team${last + 2}/x/config`,
    'by + and *': `secret/metadata/team${last + 3}/x/y`,
  }
  const figures: Record<string, object> = {}
  for (const [name, path] of Object.entries(asked)) {
    const request = requestOf(path)
    if (!acl.decide(request).allowed) throw new Error(`expected ${path} to be allowed`)
    figures[name] = perSecond(() => acl.decide(request))
  }
  const nothing = requestOf('nowhere/at/all')
  if (acl.decide(nothing).allowed) throw new Error('expected nowhere to be denied')
  figures['no rule'] = perSecond(() => acl.decide(nothing))
  return figures
}

const text = rules(100, '')
const parsed = [parsePolicy('default', defaultPolicyText), parsePolicy('team', text)]
const load = loadavg().map((value) => Math.round(value * 10) / 10)
const figures = {
  'load of the machine (1, 5, 15 min; 2 cores), others were at work': load,
  unit: 'a second of CPU time of one core',
  'decisions, 10 rules': ofRules(12),
  'decisions, 100 rules': ofRules(100),
  'decisions, 1,000 rules': ofRules(1_000),
  'decisions, 100 rules with parameters': ofRules(100, parameters),
  'decisions, 100 rules with conditions': ofRules(100, conditions),
  'parsings of 100 rules': perSecond(() => parsePolicy('team', text), times / 1_000),
  'compilings of 100 rules': perSecond(() => compileAcl(parsed), times / 1_000),
}
if (Object.keys(sink).length === 0) throw new Error('expected something to be measured')
recordFigures('policies', 'node bench/policies.ts', figures)
