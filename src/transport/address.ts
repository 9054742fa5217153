import { HoldfastError } from '#base/errors.ts'
import { parseHostPort } from '#base/host-port.ts'
import type { HostPort } from '#base/host-port.ts'

/** Takes the address of a peer: `host:port`, `[ipv6]:port`, or an `https://` URL of one. @throws ERR_CONFIG */
export function parsePeerAddress(address: string): HostPort {
  const parsed = parseHostPort(address.replace(/^https:\/\//, '').replace(/\/$/, ''), 'cluster address')
  if (parsed.host !== '' && parsed.port !== 0 && !/[@?#]/.test(parsed.host)) return parsed
  throw new HoldfastError('ERR_CONFIG', `cluster address expected a host and a port that can be dialled, got ${JSON.stringify(address)}`, {
    hint: 'write for example 10.0.0.1:8201 or [fd00::1]:8201',
  })
}
