import type { ListenerConfig } from '#config/types.ts'
import { parseHostPort } from '#base/host-port.ts'
import type { OpenRoutes } from '#core/types.ts'
import { defaultHttpLimits } from './limits.ts'
import type { HttpListenerOptions, ProxyOptions, TlsOptions } from './types.ts'

/** Everything about a listener that its configuration block decides; the node adds core, clock, random source, log and registry. */
export function listenerOptions(
  config: ListenerConfig,
): Pick<HttpListenerOptions, 'host' | 'port' | 'limits' | 'proxies' | 'openRoutes'> & { readonly tls?: TlsOptions } {
  const { host, port } = parseHostPort(config.address, 'listener.tcp.address')
  // 0 means the default in the peers' configurations, and "never" to Node.
  const requestDurationMsMax = config.max_request_duration || defaultHttpLimits.requestDurationMsMax
  const headerReadMsMax = config.http_read_header_timeout || defaultHttpLimits.headerReadMsMax
  const requestReadMsMax = Math.max(config.http_read_timeout || defaultHttpLimits.requestReadMsMax, headerReadMsMax)
  const { requestGraceMs } = defaultHttpLimits
  const options = {
    host,
    port,
    proxies: proxiesOf(config),
    openRoutes: openRoutesOf(config),
    limits: {
      bodyBytesMax: config.max_request_size,
      bufferedBodyBytesMax: Math.max(defaultHttpLimits.bufferedBodyBytesMax, 2 * config.max_request_size),
      headerBytesMax: config.max_request_header_size,
      jsonDepthMax: config.max_request_json_depth,
      jsonStringsMax: config.max_request_json_strings,
      requestDurationMsMax,
      headerReadMsMax,
      requestReadMsMax,
      idleMsMax: config.http_idle_timeout || requestReadMsMax,
      // A request that is still being handled moves nothing on its connection: that must not look like a stall.
      stallMsMax: Math.max(config.http_write_timeout, requestDurationMsMax + 2 * requestGraceMs),
      connectionsMax: config.max_connections,
      requestsInFlightMax: config.max_requests_in_flight,
    },
  }
  return config.tls_disable ? options : { ...options, tls: tlsOf(config) }
}

function openRoutesOf(config: ListenerConfig): OpenRoutes[] {
  return [
    ...(config.disable_unauthed_rekey_endpoints ? [] : (['rekey'] as const)),
    ...(config.disable_unauthed_generate_root_endpoints ? [] : (['generate-root'] as const)),
    ...(config['telemetry.unauthenticated_metrics_access'] ? (['metrics'] as const) : []),
    ...(config['inflight_requests_logging.unauthenticated_in_flight_requests_access'] ? (['in-flight-req'] as const) : []),
  ]
}

function proxiesOf(config: ListenerConfig): ProxyOptions {
  return {
    forwardedForFrom: config.x_forwarded_for_authorized_addrs,
    forwardedForHopSkips: config.x_forwarded_for_hop_skips,
    clientCertificateHeader: config.x_forwarded_for_client_cert_header ?? '',
    rejectForwardedForAbsent: config.x_forwarded_for_reject_not_present,
    rejectForwardedForUnauthorized: config.x_forwarded_for_reject_not_authorized,
    proxyProtocol: config.proxy_protocol_behavior === '' ? 'off' : config.proxy_protocol_behavior,
    proxyProtocolFrom: config.proxy_protocol_authorized_addrs,
  }
}

const versions = { tls12: 'TLSv1.2', tls13: 'TLSv1.3' } as const

function tlsOf(config: ListenerConfig): TlsOptions {
  return {
    certFile: config.tls_cert_file ?? '',
    keyFile: config.tls_key_file ?? '',
    minVersion: versions[config.tls_min_version],
    maxVersion: versions[config.tls_max_version],
    cipherSuites: config.tls_cipher_suites,
    ...(config.tls_client_ca_file === null ? {} : { clientCaFile: config.tls_client_ca_file }),
    requestClientCert: !config.tls_disable_client_certs,
    requireClientCert: config.tls_require_and_verify_client_cert,
  }
}
