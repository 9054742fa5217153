import { hostname } from 'node:os'
import { systemClock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import type { Tracer } from '#base/tracing.ts'
import type { ServerConfig } from '#config/types.ts'
import type { Core } from '#core/core.ts'
import type { HttpSettings } from '#core/cors.ts'
import { listenerOptions } from '#http/from-config.ts'
import { InFlightRegistry } from '#http/in-flight.ts'
import { createHttpListener } from '#http/listener.ts'
import type { RequestMetrics } from '#http/request-metrics.ts'
import type { HttpListener } from '#http/types.ts'

/** Every configured listener, listening. If one can't, those before it are closed again. @throws ERR_CONFIG */
export async function openListeners(
  config: ServerConfig,
  core: Core,
  nodeId: string,
  log: Logger,
  settings: HttpSettings,
  metrics: RequestMetrics,
  tracer: Tracer | null,
): Promise<readonly HttpListener[]> {
  const inFlight = new InFlightRegistry(config.listeners.reduce((sum, listener) => sum + listener.max_requests_in_flight, 0))
  const responseHeaders = {
    ...(config.enable_response_header_hostname ? { 'X-Vault-Hostname': hostname() } : {}),
    ...(config.enable_response_header_raft_node_id ? { 'X-Vault-Raft-Node-ID': nodeId } : {}),
  }
  const opened: HttpListener[] = []
  try {
    for (const listener of config.listeners) {
      const made = createHttpListener({
        core,
        clock: systemClock,
        random: systemRandom,
        log,
        inFlight,
        responseHeaders,
        settings,
        metrics,
        ...(tracer === null ? {} : { tracer }),
        ...listenerOptions(listener),
      })
      await made.listen()
      opened.push(made)
    }
  } catch (error) {
    await Promise.all(opened.map((listener) => listener.close(0)))
    throw error
  }
  return opened
}
