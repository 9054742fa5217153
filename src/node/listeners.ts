import { hostname } from 'node:os'
import { systemClock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import type { ListenerConfig, ServerConfig } from '#config/types.ts'
import type { Core } from '#core/core.ts'
import { InFlightRegistry } from '#http/in-flight.ts'
import { createHttpListener } from '#http/listener.ts'
import type { HttpListener, HttpListenerOptions, ProxyProtocolBehavior, TlsVersion } from '#http/types.ts'

const tlsVersions: Readonly<Record<string, TlsVersion>> = { tls12: 'TLSv1.2', tls13: 'TLSv1.3' }

/** Every configured listener, listening. If one can't, those before it are closed again. @throws ERR_CONFIG */
export async function openListeners(config: ServerConfig, core: Core, nodeId: string, log: Logger): Promise<readonly HttpListener[]> {
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
        ...optionsOf(listener, config),
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

function optionsOf(
  listener: ListenerConfig,
  config: ServerConfig,
): Pick<HttpListenerOptions, 'host' | 'port' | 'tls' | 'proxies' | 'limits'> {
  const { hostname: host, port } = new URL(`tcp://${listener.address}`)
  const forwardedForFrom = listener.x_forwarded_for_authorized_addrs ?? config.trusted_proxies ?? []
  const strict = listener.x_forwarded_for_authorized_addrs !== null
  return {
    host: host.replace(/^\[|\]$/g, ''),
    port: Number(port),
    ...(listener.tls_disable ? {} : { tls: tlsOf(listener) }),
    proxies: {
      forwardedForFrom,
      forwardedForHopSkips: listener.x_forwarded_for_hop_skips,
      rejectForwardedForAbsent: listener.x_forwarded_for_reject_not_present ?? strict,
      rejectForwardedForUnauthorized: listener.x_forwarded_for_reject_not_authorized ?? strict,
      proxyProtocol: (listener.proxy_protocol_behavior || 'off') as ProxyProtocolBehavior,
      proxyProtocolFrom: listener.proxy_protocol_authorized_addrs ?? config.trusted_proxies ?? [],
    },
    limits: {
      bodyBytesMax: listener.max_request_size,
      headerBytesMax: listener.max_request_header_size,
      jsonDepthMax: listener.max_request_json_depth,
      jsonStringsMax: listener.max_request_json_strings,
      requestDurationMsMax: listener.max_request_duration ?? config.default_max_request_duration,
      headerReadMsMax: listener.http_read_header_timeout,
      requestReadMsMax: listener.http_read_timeout,
      stallMsMax: listener.http_write_timeout,
      idleMsMax: listener.http_idle_timeout,
      connectionsMax: listener.max_connections,
      requestsInFlightMax: listener.max_requests_in_flight,
    },
  }
}

function tlsOf(listener: ListenerConfig): NonNullable<HttpListenerOptions['tls']> {
  const { tls_min_version: min, tls_max_version: max } = listener
  return {
    certFile: listener.tls_cert_file ?? '',
    keyFile: listener.tls_key_file ?? '',
    ...(listener.tls_client_ca_file === null ? {} : { clientCaFile: listener.tls_client_ca_file }),
    minVersion: tlsVersions[min] ?? 'TLSv1.2',
    maxVersion: tlsVersions[max] ?? 'TLSv1.3',
    ...(listener.tls_cipher_suites === null ? {} : { cipherSuites: listener.tls_cipher_suites }),
    requestClientCert: !listener.tls_disable_client_certs,
    requireClientCert: listener.tls_require_and_verify_client_cert,
  }
}
