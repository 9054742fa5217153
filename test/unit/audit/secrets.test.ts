/** Every route of every engine is asked with marks in all its fields, in its query, its headers and its token: none of them may be in a line of the audit. */
import { silentLogger } from '#base/logger.ts'
import { SecretBytes } from '#base/secret.ts'
import { createValueHasher, deriveKey } from '#audit/hashing.ts'
import { FormatMemo, formatRecord, plainFormat } from '#audit/format.ts'
import type { AuditRecord } from '#audit/types.ts'
import type { FieldSchema, Operation, PathDef, Request } from '#core/types.ts'
import { seeded, type Random } from '#test/support/audit-tampers.ts'
import { openHouse } from '#test/support/core-house.ts'
import { expect, test } from 'vitest'

const mark = 'MARKEDSECRET'
const none = { request: [], response: [] }
const headerRules = new Map([
  ['x-secret', true],
  ['authorization', true],
])
const hasher = createValueHasher(deriveKey(Buffer.alloc(32, 3), 'test'))
const lineOf = (record: AuditRecord): string => `${formatRecord(record, none, hasher, new FormatMemo(), plainFormat, headerRules)}}`

/** Also as bytes would show: base64, hex, a list of numbers. */
const shapes = [
  mark,
  Buffer.from(mark).toString('base64').slice(0, -4),
  Buffer.from(mark).toString('hex'),
  [...Buffer.from(mark)].join(','),
]
const showsMark = (line: string): boolean => shapes.some((shape) => line.toLowerCase().includes(shape.toLowerCase()))

/** A value that the field may take, or one that it may not, with the mark in it. */
function valueFor(field: FieldSchema, random: Random): unknown {
  const wrong = random(3) === 0
  if (wrong) return [mark, [mark], { [`k${random(3)}`]: mark }, Buffer.from(mark).toString('base64')][random(4)]
  switch (field.type) {
    case 'int':
    case 'duration':
    case 'time':
      return random(2) === 0 ? random(100) : mark
    case 'bool':
      return random(2) === 0
    case 'list':
      return [mark, `${mark}2`]
    case 'map':
    case 'string-map':
      return { a: mark, b: `${mark}3` }
    default:
      return random(2) === 0 ? mark : Buffer.from(mark).toString('base64')
  }
}

const fill = (pattern: string): string =>
  pattern
    .split('/')
    .map((segment) => (segment.startsWith(':') ? 'name' : segment))
    .join('/')
const methodOf: Readonly<Record<Operation, string>> = {
  create: 'POST',
  update: 'POST',
  patch: 'PATCH',
  read: 'GET',
  delete: 'DELETE',
  list: 'LIST',
  scan: 'SCAN',
  help: 'GET',
}

test('no field, query, header, token or binary value of any route of any engine is in a line, in errors neither', async () => {
  const random = seeded(7)
  const { house, rootToken } = await openHouse(1, [], silentLogger)
  const node = house[0]!
  const routes: { at: string; def: PathDef }[] = []
  for (const engine of node.core.registry.all()) {
    const { kind, type } = engine
    const at = type === 'system' ? 'sys/' : kind === 'auth' ? `auth/all-${type}/` : `all-${type}/`
    if (type !== 'system') await node.write(`sys/${kind === 'auth' ? 'auth' : 'mounts'}/all-${type}`, { type })
    const mount = { type, options: null, config: {}, path: at } as unknown as Parameters<typeof engine.paths>[0]
    for (const def of engine.paths(mount)) routes.push({ at, def })
  }
  expect(routes.length).toBeGreaterThan(200)
  node.audit.length = 0
  let asked = 0
  const statuses = new Set<number>()
  const shown = new Map<string, string>()
  for (const { at, def } of routes) {
    for (const operation of Object.keys(def.operations) as Operation[]) {
      // Paths that are asked about are names, in requests and answers.
      if (def.pattern.startsWith('capabilities')) continue
      // They end what the others are asked of.
      if (
        /^(seal|step-down|replication|storage|namespaces|mounts|auth|remount|rekey|rotate|init|unseal)\b/.test(def.pattern) &&
        operation !== 'read'
      )
        continue
      for (let round = 0; round < 3; round += 1) {
        const fields = Object.entries(def.fields).filter(([, field]) => field.in !== 'path')
        const body = Object.fromEntries(fields.map(([name, field]) => [name, valueFor(field, random)]))
        const request: Partial<Request> = {
          operation,
          method: methodOf[operation],
          path: `${at}${fill(def.pattern)}${operation === 'list' || operation === 'scan' ? '/' : ''}`.replace(/\/\/$/, '/'),
          body:
            operation === 'read' || operation === 'delete'
              ? {}
              : { ...body, unknown: mark, binary: new SecretBytes(Buffer.from(mark)), deep: { x: [mark] } },
          query: { version: mark, list: mark, q: mark },
          headers: { 'x-secret': mark, authorization: `Bearer ${mark}` },
          token: random(4) === 0 ? `hvs.${mark}` : rootToken,
          wrapTtlSeconds: random(6) === 0 ? 60 : 0,
          ...(def.rawBody === true ? { rawBody: Buffer.from(mark) } : {}),
        }
        const { status } = await node.ask(request)
        statuses.add(status)
        asked += 1
        for (const record of node.audit.splice(0)) {
          const line = lineOf(record)
          if (showsMark(line))
            shown.set(
              `${operation} ${request.path}`,
              line.slice(Math.max(0, line.toLowerCase().indexOf(mark.toLowerCase()) - 80)).slice(0, 160),
            )
        }
      }
    }
  }
  expect(Object.fromEntries(shown)).toEqual({})
  expect(asked).toBeGreaterThan(800)
  expect([...statuses]).toEqual(expect.arrayContaining([200, 204, 400, 403, 404]))
  // A planted one is found.
  expect(
    showsMark(
      lineOf({ type: 'request', time: '', auth: null, request: { id: '', operation: '', namespace: {}, path: mark, remote_address: '' } }),
    ),
  ).toBe(true)
}, 120_000)
