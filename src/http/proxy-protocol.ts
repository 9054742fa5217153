/**
 * The PROXY protocol, versions 1 (text) and 2 (binary), as haproxy specifies it: a header before TLS and HTTP that names the client.
 * Pure: bytes in, outcome out. Neither version can be mistaken for the start of TLS or of an HTTP method that we answer.
 */
import { normalizeAddress } from './client-address.ts'
import type { PeerAddress } from './connection.ts'

export type ProxyHeader =
  /** So far it could still become a header. */
  | { readonly kind: 'more' }
  /** No PROXY header: all bytes belong to the connection. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'bad'; readonly reason: string }
  /** `length` bytes were the header. `client` null: LOCAL or UNKNOWN, which the sender's own health checks use. */
  | { readonly kind: 'header'; readonly length: number; readonly client: PeerAddress | null }

const signature2 = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])
const signature1 = Buffer.from('PROXY ')
/** By the specification: the longest line of version 1, CR LF included. */
const line1BytesMax = 107
/** Addresses take at most 216 bytes, the rest are TLVs; who sends more than this does not send a header. */
const payload2BytesMax = 4_096

/** Longest header that `parseProxyHeader` accepts. */
export const proxyHeaderBytesMax = 16 + payload2BytesMax

const more: ProxyHeader = { kind: 'more' }
const bad = (reason: string): ProxyHeader => ({ kind: 'bad', reason })

/** `bytes` from the very first byte of the connection. Never throws; the caller bounds how long it waits on 'more'. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  if (startsLike(bytes, signature2)) return bytes.length < 16 ? more : parseBinary(bytes)
  if (startsLike(bytes, signature1)) return parseText(bytes)
  return { kind: 'absent' }
}

function startsLike(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length)
  return bytes.compare(signature, 0, length, 0, length) === 0
}

function parseText(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, line1BytesMax).indexOf('\r\n')
  if (end < 0) return bytes.length >= line1BytesMax ? bad('a line of version 1 without an end') : more
  const words = bytes.toString('latin1', 0, end).split(' ')
  const length = end + 2
  if (words[1] === 'UNKNOWN') return { kind: 'header', length, client: null }
  const [, family, source = '', destination = '', sourcePort = '', destinationPort = ''] = words
  const colons = family === 'TCP6'
  if (words.length !== 6 || (family !== 'TCP4' && family !== 'TCP6')) return bad('a line of version 1 in another form')
  if (source.includes(':') !== colons || destination.includes(':') !== colons) return bad('addresses of another family')
  const address = normalizeAddress(source)
  const port = portOf(sourcePort)
  if (address === null || normalizeAddress(destination) === null || port === null || portOf(destinationPort) === null) {
    return bad('an address or port that is none')
  }
  return { kind: 'header', length, client: { address, port } }
}

function portOf(text: string): number | null {
  return /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535 ? Number(text) : null
}

function parseBinary(bytes: Buffer): ProxyHeader {
  const versionCommand = bytes.readUInt8(12)
  const familyProtocol = bytes.readUInt8(13)
  const payload = bytes.readUInt16BE(14)
  if (versionCommand >> 4 !== 2 || (versionCommand & 0x0f) > 1) return bad('a version or command that is not known')
  if (payload > payload2BytesMax) return bad('too long a header')
  const length = 16 + payload
  if (bytes.length < length) return more
  if ((versionCommand & 0x0f) === 0) return { kind: 'header', length, client: null }
  const family = familyProtocol >> 4
  if (family === 1 && payload >= 12) return headerOf(length, [...bytes.subarray(16, 20)].join('.'), bytes.readUInt16BE(24))
  if (family === 2 && payload >= 36) return headerOf(length, ipv6Text(bytes.subarray(16, 32)), bytes.readUInt16BE(48))
  // UNSPEC and UNIX name no address that we could use: the sender's own stands.
  if (family === 0 || family === 3) return { kind: 'header', length, client: null }
  return bad('an address family that is not known, or too short for it')
}

function headerOf(length: number, text: string, port: number): ProxyHeader {
  const address = normalizeAddress(text)
  return address === null ? bad('an address that is none') : { kind: 'header', length, client: { address, port } }
}

function ipv6Text(bytes: Buffer): string {
  return Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16)).join(':')
}
