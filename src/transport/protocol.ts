/** What both ends agree on: routes, headers, and how undici's clients are set up. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Client, buildConnector } from 'undici'
import { HoldfastError } from '#base/errors.ts'
import type { NodeId } from '#raft/types.ts'
import type { Identity } from './types.ts'

export const streamRoute = '/raft/v1/stream'
export const snapshotRoute = '/snapshot/v1'
export const requestRoute = '/request/v1/'
export const clusterHeader = 'holdfast-cluster'
/** Which transfer of a snapshot a connection belongs to: 32 hex digits, and whether it goes on with one that began on another. */
const transferHeader = 'holdfast-transfer'
const resumesHeader = 'holdfast-transfer-resumes'
const transferPattern = /^[0-9a-f]{32}$/
export const requestKindPattern = /^[a-z0-9][a-z0-9-]{0,63}$/

const from = (id: NodeId): string => `?from=${encodeURIComponent(id)}`
export const streamPath = (id: NodeId): string => streamRoute + from(id)
export const snapshotPath = (id: NodeId): string => snapshotRoute + from(id)
export const requestPath = (id: NodeId, kind: string): string => requestRoute + kind + from(id)

/** Two clusters may have nodes of one name (a restored twin): whoever means the other one is told so. */
export function requestHeaders(identity: Identity): Record<string, string> {
  return { [clusterHeader]: encodeURIComponent(identity.clusterId), 'content-type': 'application/octet-stream' }
}

export const transferHeaders = (id: string, resumes: boolean): Record<string, string> => ({
  [transferHeader]: id,
  ...(resumes ? { [resumesHeader]: 'yes' } : {}),
})

/** @throws ERR_BAD_REQUEST */
export function transferOf(headers: IncomingHttpHeaders): { readonly id: string; readonly resumes: boolean } {
  const id = headers[transferHeader]
  if (typeof id !== 'string' || !transferPattern.test(id))
    throw new HoldfastError('ERR_BAD_REQUEST', 'snapshot: expected the name of its transfer, got none')
  return { id, resumes: headers[resumesHeader] === 'yes' }
}

/** undici's own timeouts are off: it reads a clock that we can't steer. The callers have theirs. */
export function clientOptions(connect: buildConnector.connector, keepAliveMs = 1_000): Client.Options {
  return {
    connect,
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMs,
    maxHeaderSize: 8 * 1024,
  }
}
