import { isIPv6 } from 'node:net'
import { HoldfastError } from '#base/errors.ts'

export interface HostPort {
  readonly host: string
  readonly port: number
}

/** Takes `host:port`, `[ipv6]:port` or an `https://` URL of one. @throws ERR_CONFIG */
export function parseAddress(address: string): HostPort {
  const match = /^(?:https:\/\/)?(?:\[([0-9a-fA-F:.]+)\]|([^\s/:[\]@?#]+)):(\d{1,5})\/?$/.exec(address)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || port > 65_535) {
    throw new HoldfastError('ERR_CONFIG', `cluster address: expected host:port, got ${JSON.stringify(address)}`, {
      hint: 'write for example 10.0.0.1:8201 or [fd00::1]:8201',
    })
  }
  return { host, port }
}

export function formatAddress(address: HostPort): string {
  return isIPv6(address.host) ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}
