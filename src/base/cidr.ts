/** Ranges of IP addresses. An IPv4 address that is mapped into IPv6 (`::ffff:10.0.0.1`) is the IPv4 address. */
import ipaddr from 'ipaddr.js'

export interface CidrRange {
  readonly base: ipaddr.IPv4 | ipaddr.IPv6
  readonly bits: number
}

/** `10.0.0.0/8`, or an address standing for itself alone; null when it is neither. */
export function parseCidr(text: string): CidrRange | null {
  try {
    if (text.includes('/')) {
      const [base, bits] = ipaddr.parseCIDR(text)
      return { base, bits }
    }
    const base = ipaddr.process(text)
    return { base, bits: base.kind() === 'ipv4' ? 32 : 128 }
  } catch {
    return null
  }
}

/** Whether `address` lies in one of `ranges`. What is no address lies in none. */
export function inRanges(ranges: readonly CidrRange[], address: string): boolean {
  if (!ipaddr.isValid(address)) return false
  const client = ipaddr.process(address)
  // `match` throws across families.
  return ranges.some(({ base, bits }) => base.kind() === client.kind() && client.match(base, bits))
}
