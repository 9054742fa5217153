/** Every field of every path, fed with what its schema does not expect: an answer is a refusal or a result, never "internal error". */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseJsonObject } from '#http/json.ts'
import type { Operation, PathDef } from '#core/types.ts'
import { openHouse } from '#test/support/core-house.ts'

/** As JSON texts: what a client can send. */
const values = [
  'null',
  'true',
  '-1',
  '0',
  '1.5',
  '1e15',
  '1e400',
  '12345678901234567890',
  '""',
  '"x"',
  '"a,b"',
  '"-5s"',
  '"\\ud800"',
  '"\\u0000"',
  '"../.."',
  '"constructor"',
  '"__proto__"',
  '[]',
  '[[]]',
  '[null]',
  '[1e400]',
  '{}',
  '{"__proto__":1}',
  '{"constructor":{"prototype":1}}',
  '{"cas":1e400}',
  '{"cas":{}}',
  '{"version":1e400}',
  `"${'y'.repeat(3_000)}"`,
  '"root"',
  '"9999999999999999999999h"',
  '"AAAA"',
  '[{"a":[1,{"b":null}]}]',
]
const segments = ['x', 'constructor', '__proto__', 'root', '-1', '1e9', 'a%2Fb', '*', '+', 'y'.repeat(1_024)]

const operations: readonly Operation[] = ['read', 'update', 'patch', 'delete', 'list', 'scan', 'help']

test('no answer is an internal error', async () => {
  const { node, rootToken } = await openHouse()
  await node.write('sys/mounts/kv', { type: 'kv-v2' })
  await node.write('sys/mounts/v1', { type: 'kv' })
  await node.write('kv/data/x', { data: { a: { b: 1 } } })
  const targets: { prefix: string; def: PathDef }[] = []
  for (const prefix of ['sys/', 'cubbyhole/', 'kv/', 'v1/', 'auth/token/']) {
    const table = node.core.mounts.lastSeen('root')!.route(`${prefix}x`)!
    for (const def of node.core.registry.paths(table.mount)!.defs) targets.push({ prefix, def })
  }
  // What ends the house, or the token that asks, is tried elsewhere.
  const spared = new Set(['sys/seal', 'sys/step-down', 'sys/init', 'sys/unseal', 'auth/token/revoke-self'])
  const alive = targets.filter(({ prefix, def }) => !spared.has(`${prefix}${def.pattern}`))
  expect(alive.length).toBeGreaterThan(70)
  const seen = new Map<number, number>()
  const bodyOf = (def: PathDef) =>
    fc.dictionary(fc.constantFrom('zzz', ...Object.keys(def.fields)), fc.constantFrom(...values), { maxKeys: 4 })
  const one = fc.constantFrom(...alive).chain((target) =>
    fc.record({
      target: fc.constant(target),
      body: bodyOf(target.def),
      query: fc.dictionary(
        fc.constantFrom('zzz', 'after', 'limit', 'version', ...Object.keys(target.def.fields)),
        fc.constantFrom('', 'x', '-1', '1e400', 'max', '__proto__'),
      ),
      operation: fc.constantFrom(...operations),
      names: fc.array(fc.constantFrom(...segments), { minLength: 8, maxLength: 8 }),
      wrapTtlSeconds: fc.constantFrom(0, 0, 0, 60),
    }),
  )
  await fc.assert(
    fc.asyncProperty(one, async ({ target, body, query, operation, names, wrapTtlSeconds }) => {
      let at = 0
      const below = target.def.pattern.replaceAll(/:\w+\*?\??/g, () => names[at++]!)
      const path = `${target.prefix}${below}${operation === 'list' || operation === 'scan' ? '/' : ''}`
      const text = `{${Object.entries(body)
        .map(([key, value]) => `${JSON.stringify(key)}:${value}`)
        .join(',')}}`
      const answer = await node.ask({
        path,
        operation,
        body: parseJsonObject(Buffer.from(text), true),
        query,
        wrapTtlSeconds,
        token: rootToken,
      })
      seen.set(answer.status, (seen.get(answer.status) ?? 0) + 1)
      expect({ path, operation, text, status: answer.status, said: answer.text.slice(0, 200) }).not.toMatchObject({ status: 500 })
    }),
    { numRuns: 6_000 },
  )
  // Most of it got past the policy, and much of it was done.
  expect(seen.get(403) ?? 0).toBeLessThan(600)
  expect((seen.get(200) ?? 0) + (seen.get(204) ?? 0)).toBeGreaterThan(1_000)
}, 60_000)
