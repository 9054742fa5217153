/** Who a request comes from: the socket's address, or what a trusted proxy says of it, and never what anyone else says. */
import ipaddr from 'ipaddr.js'
import { HoldfastError } from '#base/errors.ts'

type Address = ipaddr.IPv4 | ipaddr.IPv6

/** Parses an address; IPv4 inside IPv6 (::ffff:1.2.3.4) becomes IPv4, so that one form is compared. null when it is none. */
function parseAddress(text: string): Address | null {
  const bare = text.split('%', 1)[0] ?? ''
  // ipaddr.js would also take '10', '0x7f.1' and other ancient forms: two readers could see two addresses in them.
  if (!ipaddr.IPv6.isValid(bare) && !ipaddr.IPv4.isValidFourPartDecimal(bare)) return null
  return ipaddr.process(bare)
}

/** The one text form of an address; null when it is none. '::ffff:10.0.0.1' is '10.0.0.1'. */
export function normalizeAddress(text: string): string | null {
  return parseAddress(text)?.toString() ?? null
}

export class AddressSet {
  readonly #ranges: readonly (readonly [Address, number])[]

  /** @throws HoldfastError ERR_CONFIG for an entry that is neither an address nor a CIDR. */
  constructor(entries: readonly string[], what = 'address list') {
    this.#ranges = entries.map((entry) => parseRange(entry.trim(), what))
  }

  get empty(): boolean {
    return this.#ranges.length === 0
  }

  has(text: string): boolean {
    if (this.#ranges.length === 0) return false
    const address = parseAddress(text)
    if (address === null) return false
    return this.#ranges.some(([range, bits]) => address.kind() === range.kind() && address.match(range, bits))
  }
}

function parseRange(entry: string, what: string): readonly [Address, number] {
  const slash = entry.indexOf('/')
  const address = parseAddress(slash < 0 ? entry : entry.slice(0, slash))
  const bitsText = slash < 0 ? null : entry.slice(slash + 1)
  const mapped = address?.kind() === 'ipv4' && entry.includes(':')
  const widest = address?.kind() === 'ipv4' ? 32 : 128
  const bits = bitsText === null ? widest : Number(bitsText) - (mapped ? 96 : 0)
  if (address === null || (bitsText !== null && !/^\d{1,3}$/.test(bitsText)) || bits < 0 || bits > widest) {
    throw new HoldfastError('ERR_CONFIG', `${what} expected addresses or CIDRs, got ${JSON.stringify(entry.slice(0, 64))}`, {
      hint: 'write 10.0.0.0/8, 192.168.1.7 or fd00::/8',
    })
  }
  return [address, bits]
}

/**
 * The client's address out of X-Forwarded-For, given that the connection comes from a trusted proxy: `hopSkips` entries are skipped from
 * the end, then the rightmost that is not itself trusted counts (the leftmost if all are). What stands further left the client wrote.
 * null when the entry that counts is no address: nothing to the left of it may be believed either.
 */
export function forwardedFor(header: string, trusted: AddressSet, hopSkips = 0): string | null {
  const hops = header.split(',').map((hop) => hop.trim())
  const last = hops.length - 1 - hopSkips
  for (let at = last; at >= 0; at -= 1) {
    const address = normalizeAddress(withoutPort(hops[at] ?? ''))
    if (address === null) return null
    if (at === 0 || !trusted.has(address)) return address
  }
  return null
}

/** '1.2.3.4:567' and '[::1]:567' without their port: some proxies add one. */
function withoutPort(hop: string): string {
  const bracketed = /^\[([^\]]+)\](?::\d+)?$/.exec(hop)
  if (bracketed?.[1] !== undefined) return bracketed[1]
  return /^\d+\.\d+\.\d+\.\d+:\d+$/.test(hop) ? hop.slice(0, hop.indexOf(':')) : hop
}
