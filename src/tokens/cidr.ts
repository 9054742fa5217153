import ipaddr from 'ipaddr.js'
import { HoldfastError } from '#base/errors.ts'
import { BoundedLru } from '#base/lru.ts'
import type { TokenEntry } from './types.ts'

type Range = readonly [ipaddr.IPv4 | ipaddr.IPv6, number]
const rangesByText = new BoundedLru<string, Range>({ weightMax: 4_096 })

/**
 * A CIDR, or an address standing for itself alone.
 * @throws ERR_BAD_REQUEST when it is neither.
 */
export function parseCidr(text: string): Range {
  const known = rangesByText.get(text)
  if (known) return known
  try {
    const parsed = text.includes('/') ? ipaddr.parseCIDR(text) : alone(ipaddr.process(text))
    rangesByText.set(text, parsed)
    return parsed
  } catch {
    throw new HoldfastError('ERR_BAD_REQUEST', `bound CIDR expected an address or address/bits, got ${JSON.stringify(text.slice(0, 64))}`)
  }
}

const alone = (address: ipaddr.IPv4 | ipaddr.IPv6): Range => [address, address.kind() === 'ipv4' ? 32 : 128]

/** Whether a token may be used from `address` (an IP, as the listener resolved it). A root token that never expires may be used from anywhere. */
export function addressAllowed(entry: TokenEntry, address: string): boolean {
  if (entry.expireTimeMs === null && entry.policies.includes('root')) return true
  return allowedFrom(entry.boundCidrs, address)
}

/** Whether `address` lies in one of `cidrs`; anywhere does when there are none. */
export function allowedFrom(cidrs: readonly string[], address: string): boolean {
  if (cidrs.length === 0) return true
  if (!ipaddr.isValid(address)) return false
  const client = ipaddr.process(address)
  return cidrs.some((text) => {
    const [base, bits] = parseCidr(text)
    // `match` throws across families.
    return base.kind() === client.kind() && client.match(base, bits)
  })
}

/** Whether each of `inner` lies within one of `outer`. */
export function withinCidrs(inner: readonly string[], outer: readonly string[]): boolean {
  return inner.every((text) => {
    const [base, bits] = parseCidr(text)
    return outer.some((wider) => {
      const [widerBase, widerBits] = parseCidr(wider)
      return widerBase.kind() === base.kind() && widerBits <= bits && base.match(widerBase, widerBits)
    })
  })
}
