import { expect, test } from 'vitest'
import { policyText } from '../../../bench/load/ground.ts'
import { help, readOptions } from '../../../bench/load/options.ts'
import { costsOf, type CpuProfile } from '../../../bench/load/profile.ts'
import { works } from '../../../bench/load/works.ts'
import { parsePolicy } from '#policies/parse.ts'

test('what is missing or wrong is named', () => {
  expect(readOptions([], { VAULT_TOKEN: 't' })).toMatchObject({
    address: null,
    token: 't',
    works: ['kv-read', 'kv-write'],
    connections: [64],
    nodes: 3,
    audit: true,
  })
  expect(readOptions(['--connections', '1,1024', '--rate', '70%'], {})).toMatchObject({ connections: [1, 1024], rate: { percent: 70 } })
  const refused: [string[], string][] = [
    [['--work', 'kv-red'], '--work expected one of kv-read'],
    [['--connections', '2000'], '--connections expected a whole number from 1 to 1024, got 2000'],
    [['--nodes', '2'], '--nodes expected one of 1, 3, got 2'],
    [['--via', 'x'], '--via expected one of leader'],
    [['--seconds', '0'], '--seconds expected seconds above 0'],
    [['--rate', 'fast'], '--rate expected a whole number'],
    [['--address', 'http://127.0.0.1:1', '--tls'], '--tls expected no --address'],
    [['--compare', 'wat'], '--compare expected URL, bare, openbao, etcd, tls or checkout:DIR, got wat'],
    [['--turn', '1'], "Unknown option '--turn'"],
  ]
  for (const [argv, said] of refused) expect(() => readOptions(argv, {}), argv.join(' ')).toThrow(said)
})

test('the help names every work and every option', () => {
  for (const name of Object.keys(works)) expect(help).toMatch(new RegExp(`^ {4}${name} `, 'm'))
  const known = [
    'address',
    'token',
    'ca',
    'work',
    'connections',
    'seconds',
    'warm-up',
    'turns',
    'rate',
    'secrets',
    'size',
    'policy-rules',
    'compare',
    'compare-token',
    'json',
  ]
  for (const name of [...known, 'nodes', 'via', 'tls', 'no-audit', 'config', 'data', 'profile', 'gate', 'others', 'restart'])
    expect(help).toContain(`--${name}`)
})

test('the policy that is measured has as many rules as were asked for, and our parser takes it', () => {
  expect(parsePolicy('bench', policyText('bench-1', 20)).rules).toHaveLength(20)
})

test('samples count for the nearest function of ours, inside the windows only', () => {
  const frame = (functionName: string, url: string, lineNumber = 0) => ({ functionName, url, lineNumber })
  const profile: CpuProfile = {
    startTime: 1_000,
    nodes: [
      { id: 1, callFrame: frame('(root)', ''), children: [2, 3, 5] },
      { id: 2, callFrame: frame('(idle)', '') },
      { id: 3, callFrame: frame('handle', 'file:///x/src/core/core.ts', 9), children: [4] },
      { id: 4, callFrame: frame('update', 'node:internal/crypto/hash') },
      { id: 5, callFrame: frame('(garbage collector)', '') },
    ],
    samples: [4, 3, 2, 5, 4],
    timeDeltas: [10, 10, 10, 10, 10],
  }
  const costs = costsOf(profile, [{ from: 1_000, to: 1_040 }], 5)
  expect(costs.busy).toBeCloseTo(0.75)
  expect(costs.stages.map(({ what, share }) => [what, share.toFixed(2)])).toEqual([
    ['core', '0.67'],
    ['(garbage collector)', '0.33'],
  ])
  expect(costs.ours[0]?.what).toBe('handle src/core/core.ts:10')
  expect(costs.self.map(({ what }) => what)).toContain('update node:internal/crypto/hash:1')
})
