/** What both ends agree on: routes, headers, and how undici's clients are set up. */
import type { Client, buildConnector } from 'undici'
import type { NodeId } from '#raft/types.ts'
import type { Identity } from './types.ts'

export const streamRoute = '/raft/v1/stream'
export const snapshotRoute = '/snapshot/v1'
export const requestRoute = '/request/v1/'
export const clusterHeader = 'holdfast-cluster'
export const requestKindPattern = /^[a-z0-9][a-z0-9-]{0,63}$/

const from = (id: NodeId): string => `?from=${encodeURIComponent(id)}`
export const streamPath = (id: NodeId): string => streamRoute + from(id)
export const snapshotPath = (id: NodeId): string => snapshotRoute + from(id)
export const requestPath = (id: NodeId, kind: string): string => requestRoute + kind + from(id)

/** Two clusters may have nodes of one name (a restored twin): whoever means the other one is told so. */
export function requestHeaders(identity: Identity): Record<string, string> {
  return { [clusterHeader]: encodeURIComponent(identity.clusterId), 'content-type': 'application/octet-stream' }
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
