import { systemClock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { createClusterCa } from '#transport/certificates.ts'
import type { ClusterCa } from '#transport/certificates.ts'
import { createIdentity } from '#transport/identity.ts'
import type { TransportLimits } from '#transport/limits.ts'
import { createTransport } from '#transport/transport.ts'
import type { Identity, NodeTransport, PeerAddress, TransportHandlers } from '#transport/types.ts'

export const dayMs = 86_400_000

export const newCa = (clusterId = 'cluster'): Promise<ClusterCa> =>
  createClusterCa({ clusterId, nowMs: systemClock.nowMs(), random: systemRandom })

export const newIdentity = (
  ca: ClusterCa,
  nodeId: string,
  overrides: { nowMs?: number; days?: number; clusterId?: string } = {},
): Promise<Identity> =>
  createIdentity(ca, { nodeId, clusterId: 'cluster', nowMs: systemClock.nowMs(), days: 30, random: systemRandom, ...overrides })

export interface LogLine {
  readonly level: string
  readonly fields: Record<string, unknown>
  readonly message: string
}

export function recordingLogger(lines: LogLine[]): Logger {
  const at = (level: string) => (fields: object, message: string) => void lines.push({ level, fields: { ...fields }, message })
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), child: () => recordingLogger(lines) }
}

export interface TestNode {
  readonly id: string
  readonly identity: Identity
  readonly transport: NodeTransport
  readonly received: { from: string; message: unknown }[]
  readonly unreachable: string[]
  readonly lines: LogLine[]
  /** As others should know it. */
  peer(): PeerAddress
}

/** Limits that make failures show within a test's patience. */
export const quickLimits: Partial<TransportLimits> = {
  pulseMs: 50,
  stallMsMax: 1_000,
  snapshotStallMsMax: 1_000,
  snapshotResumeMsMax: 600,
  reconnectMsMax: 200,
}

const open: NodeTransport[] = []

/** Ends what tests left open; for afterEach. */
export async function closeAll(): Promise<void> {
  await Promise.all(open.splice(0).map((transport) => transport.close()))
}

export async function startNode(
  identity: Identity,
  options: { handlers?: Partial<TransportHandlers>; limits?: Partial<TransportLimits>; address?: string; trustCa?: boolean } = {},
): Promise<TestNode> {
  const received: TestNode['received'] = []
  const unreachable: string[] = []
  const lines: LogLine[] = []
  const transport = createTransport({
    identity,
    listenAddress: options.address ?? '127.0.0.1:0',
    handlers: {
      message: (from, message) => void received.push({ from, message }),
      snapshot: async (_from, _header, body) => {
        for await (const chunk of body) void chunk
      },
      request: async (_from, _kind, body) => body,
      unreachable: (peer) => void unreachable.push(peer),
      ...options.handlers,
    },
    clock: systemClock,
    random: systemRandom,
    log: recordingLogger(lines),
    limits: { ...quickLimits, ...options.limits },
    ...(options.trustCa === undefined ? {} : { trustCa: options.trustCa }),
  })
  await transport.listen()
  open.push(transport)
  const peer = (): PeerAddress => ({ id: identity.nodeId, clusterAddress: transport.address(), fingerprint: identity.fingerprint })
  return { id: identity.nodeId, identity, transport, received, unreachable, lines, peer }
}

/** Tells every node of every other. */
export function acquaint(...nodes: TestNode[]): void {
  for (const node of nodes) node.transport.setPeers(nodes.map((other) => other.peer()))
}

/** Waits until `condition` holds; fails after `ms` with `what`. */
export async function until(what: string, condition: () => boolean, ms = 5_000): Promise<void> {
  const end = performance.now() + ms
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited ${ms} ms for: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
