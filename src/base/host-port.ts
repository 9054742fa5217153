/** Network addresses as configurations write them: `127.0.0.1:8200`, `[::1]:8200`, `node1:8200`, `:8200` (every interface). */
import { HoldfastError } from './errors.ts'
import type { ErrorCode } from './errors.ts'

export interface HostPort {
  /** '' means every interface. Without brackets. */
  readonly host: string
  /** 0 asks the system for a free one. */
  readonly port: number
}

/** @throws HoldfastError of `code` (ERR_CONFIG): "`what` expected HOST:PORT, got ...". */
export function parseHostPort(text: string, what = 'address', code: ErrorCode = 'ERR_CONFIG'): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^[\]:/\s]*)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3] ?? Number.NaN)
  if (match === null || !(port <= 65_535)) {
    throw new HoldfastError(code, `${what} expected HOST:PORT, got ${JSON.stringify(text.slice(0, 80))}`, {
      hint: 'write 127.0.0.1:8200, [::1]:8200 or 0.0.0.0:8200',
    })
  }
  return { host: match[1] ?? match[2] ?? '', port }
}

/** The text form that `parseHostPort` reads; IPv6 gets its brackets. */
export function formatHostPort(address: HostPort): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}
