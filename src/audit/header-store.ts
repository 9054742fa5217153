/** Request headers that records hold, besides everything else: one replicated record. */
import type { ReadView, Transaction } from '#barrier/types.ts'
import { HoldfastError } from '#base/errors.ts'
import { auditSection, encoded, load } from './records.ts'
import { touchDevices } from './device-store.ts'
import type { HeaderRules } from './types.ts'

const headersPath = 'request-headers'
const headersMax = 64
const namePattern = /^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$/
/** What opens something: never in the clear. */
const secretHeaders = new Set(['authorization', 'cookie', 'proxy-authorization', 'x-vault-token', 'x-holdfast-token'])

/** By name, in lower case: whether its value is hashed. */
export async function auditedHeaders(view: ReadView): Promise<HeaderRules> {
  const record = await load<{ headers: Readonly<Record<string, boolean>> }>(view, headersPath, 'the audited headers')
  return new Map(Object.entries(record?.headers ?? {}))
}

/** `hmac` null: recorded no more. @throws ERR_BAD_REQUEST: no name of a header, one whose value opens something in the clear, too many. */
export async function setAuditedHeader(transaction: Transaction, name: string, hmac: boolean | null, changeId: string): Promise<void> {
  if (!namePattern.test(name)) throw new HoldfastError('ERR_BAD_REQUEST', 'header expected the name of a header, got another')
  if (hmac === false && secretHeaders.has(name))
    throw new HoldfastError('ERR_BAD_REQUEST', `header ${name} expected hmac = true, got false`, {
      hint: 'its value would open something for whoever reads the audit',
    })
  const rules = new Map(await auditedHeaders(transaction))
  if (hmac === null) rules.delete(name)
  else rules.set(name, hmac)
  if (rules.size > headersMax) throw new HoldfastError('ERR_BAD_REQUEST', `expected at most ${headersMax} audited headers, got more`)
  transaction.put(auditSection, headersPath, encoded({ headers: Object.fromEntries(rules) }))
  touchDevices(transaction, changeId)
}
