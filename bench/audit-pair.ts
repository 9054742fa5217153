/** The two audit records of one request, as the core has them made: what the benches of the audit record. */
import type { AuditRecord } from '#audit/types.ts'
import { newTold, requestRecord, responseRecord, type AuditFacts } from '#core/audit-records.ts'
import type { LogicalResponse, MountEntry, Request } from '#core/types.ts'
import { rootNamespace } from '#namespaces/record.ts'
import type { TokenEntry } from '#tokens/types.ts'

const tokensCount = 100
const secretsCount = 10_000

/** What a token says of itself; entries are cached, so requests of one token share one. */
const tokens = Array.from(
  { length: tokensCount },
  (_, i): TokenEntry =>
    ({
      accessor: `accessorbenchbench${i}`,
      displayName: 'userpass-alice',
      policies: ['default', 'payroll'],
      meta: { username: 'alice' },
      entityId: '7d2e3179-f69b-450c-7179-ac8ee8bd8ca9',
      type: 'service',
      expireTimeMs: Date.now() + 32 * 24 * 3_600_000,
    }) as unknown as TokenEntry,
)
const mount = {
  type: 'kv',
  accessor: 'kv_6b3a9f4e',
  path: 'secret/',
  namespaceId: 'root',
  namespacePath: '',
  config: {},
} as unknown as MountEntry
let serial = 0

/** The two records of one read or write of a secret with two values, as the core has them made. */
export function pair(write: boolean): [() => AuditRecord, () => AuditRecord] {
  serial += 1
  const at = serial % secretsCount
  const values = { data: { user: `user-${at % 1_000}`, password: `password-${at}` } }
  const token = tokens[serial % tokensCount]!
  const request = {
    id: `7d2e3179-f69b-450c-7179-${String(serial).padStart(12, '0')}`,
    operation: write ? 'update' : 'read',
    path: `secret/data/app/${at}`,
    body: write ? values : {},
    query: {},
    headers: { 'user-agent': 'bench' },
    token: `hvs.CAESIJ0aJkQx6mCwbenchbenchbench${token.accessor}`,
    namespace: '',
    clientAddress: '10.0.0.7',
    clientPort: 40_123,
    wrapTtlSeconds: 0,
  } as unknown as Request
  const metadata = {
    created_time: new Date(at * 1e8).toISOString(),
    custom_metadata: null,
    deletion_time: '',
    destroyed: false,
    version: 1,
  }
  const response = { data: write ? metadata : { ...values, metadata } } as LogicalResponse
  const told = newTold()
  const facts = (): AuditFacts => ({
    request,
    operation: request.operation,
    namespace: rootNamespace,
    mount,
    token,
    nowMs: Date.now(),
    told,
  })
  return [() => requestRecord(facts(), null), () => responseRecord(facts(), 200, response, null)]
}
