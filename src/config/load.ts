/** The server's configuration: files, then environment, then flags, checked as a whole. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { HoldfastError } from '#base/errors.ts'
import { formatHostPort, parseHostPort } from '#base/host-port.ts'
import type { HostPort } from '#base/host-port.ts'
import { Draft, Section } from './draft.ts'
import type { AuditDraft } from './draft.ts'
import { auditOptionKeys } from './keys.ts'
import type { AuditType, listenerKeys, topKeys } from './keys.ts'
import type { KeyTable, ValuesOf } from './key.ts'
import { Problems } from './problems.ts'
import { readFileText } from './read-file.ts'
import { readEnvironment, readFlags } from './read-names.ts'
import type {
  AuditConfig,
  AuditOptions,
  ConfigSource,
  ListenerConfig,
  RaftConfig,
  RetryJoinConfig,
  SealBlock,
  ServerConfig,
} from './types.ts'

const fileBytesMax = 4 * 1024 * 1024
const defaultAddress = '127.0.0.1:8200'

/**
 * Loads and checks. Touches nothing but the files named; certificates and folders are looked at by those who use them.
 * @throws HoldfastError ERR_CONFIG with every mistake, each with file and line or variable, key, what was expected and what came.
 */
export function loadConfig(source: ConfigSource): ServerConfig {
  const problems = new Problems()
  const draft = new Draft()
  const files = (source.files ?? []).flatMap((path) => filesOf(path, problems))
  const texts = files.map((file) => [file, readText(file, problems)] as const)
  // What a file says that can't be read nobody knows: everything in it would be told as missing, and hide the one mistake.
  problems.throwIfAny()
  for (const [file, text] of texts) if (text !== null) readFileText(draft, file, text, problems)
  if (source.text !== undefined) readFileText(draft, source.text.name, source.text.text, problems)
  readEnvironment(draft, source.env ?? {}, problems)
  readFlags(draft, source.flags ?? {}, problems)
  return finish(draft, files, problems)
}

function filesOf(path: string, problems: Problems): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path]
    const names = readdirSync(path).filter((name) => /\.(?:hcl|json)$/.test(name))
    if (names.length === 0) problems.add(path, '', 'a folder with *.hcl or *.json files', 'none')
    return names.toSorted().map((name) => join(path, name))
  } catch (error) {
    problems.add(path, '', 'a readable file', (error as NodeJS.ErrnoException).code ?? 'an error')
    return []
  }
}

function readText(file: string, problems: Problems): string | null {
  try {
    const { size } = statSync(file)
    if (size <= fileBytesMax) return readFileSync(file, 'utf8')
    problems.add(file, '', `at most ${fileBytesMax} bytes`, String(size))
  } catch (error) {
    problems.add(file, '', 'a readable file', (error as NodeJS.ErrnoException).code ?? 'an error')
  }
  return null
}

function finish(draft: Draft, files: readonly string[], problems: Problems): ServerConfig {
  const top = draft.top.finish(problems)
  if (draft.listeners.length === 0) draft.addListener('configuration')
  const listeners = draft.listeners.map((section) => finishListener(section, top, problems))
  const raft = finishRaft(draft, problems)
  const seals = finishSeals(draft, problems)
  const audit = draft.audits.map((device) => finishAudit(device, top, problems))
  checkUnique(draft, listeners, audit, problems)
  if (top.default_lease_ttl > top.max_lease_ttl) {
    problems.add(draft.top.originOf('default_lease_ttl'), 'default_lease_ttl', 'at most max_lease_ttl', 'more')
  }
  const telemetry = draft.telemetry.finish(problems)
  const userLockouts = [...draft.userLockouts].map(([type, section]) => ({ type, ...section.finish(problems) }))
  const addresses = finishAddresses(draft, top, listeners, problems)
  problems.throwIfAny()
  return { ...top, ...addresses, listeners, raft, seals, audit, telemetry, userLockouts, warnings: problems.warnings, files }
}

function finishListener(section: Section<typeof listenerKeys>, top: ValuesOf<typeof topKeys>, problems: Problems): ListenerConfig {
  const values = section.finish(problems)
  checkTls(section, values, problems)
  const ownForwarders = values.x_forwarded_for_authorized_addrs.length > 0
  const proxyFrom = section.has('proxy_protocol_authorized_addrs') ? values.proxy_protocol_authorized_addrs : top.trusted_proxies
  const { proxy_protocol_behavior: behavior } = values
  if ((behavior === 'allow_authorized' || behavior === 'deny_unauthorized') && proxyFrom.length === 0) {
    problems.add(
      section.originOf('proxy_protocol_behavior'),
      section.keyPath('proxy_protocol_behavior'),
      'proxy_protocol_authorized_addrs or trusted_proxies beside it',
      'neither',
    )
  }
  return {
    ...values,
    address: values.address ?? defaultAddress,
    max_request_duration: values.max_request_duration ?? top.default_max_request_duration,
    x_forwarded_for_authorized_addrs: ownForwarders ? values.x_forwarded_for_authorized_addrs : top.trusted_proxies,
    x_forwarded_for_reject_not_authorized: values.x_forwarded_for_reject_not_authorized ?? ownForwarders,
    x_forwarded_for_reject_not_present: values.x_forwarded_for_reject_not_present ?? ownForwarders,
    proxy_protocol_authorized_addrs: proxyFrom,
  }
}

function checkTls(section: Section<typeof listenerKeys>, values: ValuesOf<typeof listenerKeys>, problems: Problems): void {
  const wrong = (key: string, expected: string, got: string, hint?: string): void =>
    problems.add(section.originOf(key), section.keyPath(key), expected, got, hint)
  if (values.tls_disable) return
  for (const key of ['tls_cert_file', 'tls_key_file'] as const) {
    if (values[key] === null) wrong(key, 'a file', 'none', 'or write tls_disable = true to serve plain HTTP')
  }
  if (values.tls_min_version > values.tls_max_version) wrong('tls_max_version', 'no less than tls_min_version', 'less')
  if (!values.tls_require_and_verify_client_cert) return
  if (values.tls_disable_client_certs) wrong('tls_disable_client_certs', 'false beside tls_require_and_verify_client_cert', 'true')
  if (values.tls_client_ca_file === null) wrong('tls_client_ca_file', 'a file beside tls_require_and_verify_client_cert', 'none')
}

function finishRaft(draft: Draft, problems: Problems): RaftConfig {
  if (draft.raft === null) {
    problems.add('configuration', 'storage', 'a block', 'none', 'write storage "raft" { path = "/var/lib/holdfast" }')
  }
  const values = draft.raftSection('configuration').finish(draft.raft === null ? new Problems() : problems)
  const retryJoin = draft.retryJoins.map((section): RetryJoinConfig => {
    const join = section.finish(problems)
    const both = (a: keyof typeof join, b: keyof typeof join): void => {
      if (join[a] !== null && join[b] !== null) problems.add(section.originOf(b), section.keyPath(b), `only one of ${a} and ${b}`, 'both')
    }
    both('leader_ca_cert_file', 'leader_ca_cert')
    both('leader_client_cert_file', 'leader_client_cert')
    both('leader_client_key_file', 'leader_client_key')
    both('join_token', 'join_token_file')
    return { ...join, leader_api_addr: join.leader_api_addr ?? '' }
  })
  return { ...values, path: values.path ?? '', retry_join: retryJoin }
}

function finishSeals(draft: Draft, problems: Problems): SealBlock[] {
  const seals = draft.seals.map(({ kind, section }): SealBlock => {
    const values = section.finish(problems)
    const options = section.givenTexts()
    delete options.disabled
    return { kind, disabled: values.disabled === true, options }
  })
  const enabled = seals.filter((seal) => !seal.disabled)
  if (enabled.length > 1) {
    const origin = draft.seals.find((_, index) => seals[index] === enabled[1])?.section.origin ?? 'configuration'
    problems.add(origin, 'seal', 'one seal that is not disabled', String(enabled.length), 'a migration marks the old one disabled = true')
  }
  return seals
}

function finishAudit(device: AuditDraft, top: ValuesOf<typeof topKeys>, problems: Problems): AuditConfig {
  const values = device.section.finish(problems)
  const name = (values.path ?? device.name).replace(/\/+$/, '')
  return { ...finishAuditOptions(device, top, problems), name, description: values.description }
}

function finishAuditOptions(
  { type, options: section }: Pick<AuditDraft, 'type' | 'options'>,
  top: AuditRules,
  problems: Problems,
): AuditOptions {
  const options = section.finish(problems) as AuditOptions['options']
  const needs = (key: 'prefix' | 'log_raw', rule: keyof AuditRules): void =>
    problems.add(section.originOf(key), section.keyPath(key), `${rule} = true in the configuration`, 'false')
  if (options.prefix !== null && !top.allow_audit_log_prefixing) needs('prefix', 'allow_audit_log_prefixing')
  if (options.log_raw && !top.unsafe_allow_audit_log_raw) needs('log_raw', 'unsafe_allow_audit_log_raw')
  return { type, options } as AuditOptions
}

export type AuditRules = Pick<ValuesOf<typeof topKeys>, 'allow_audit_log_prefixing' | 'unsafe_allow_audit_log_raw'>

/**
 * Options of a device that the API was given, as the configuration would have them.
 * @throws ERR_BAD_REQUEST: another type, another key, a value that can't be.
 */
export function readAuditOptions(type: string, given: Readonly<Record<string, string>>, rules: AuditRules): AuditOptions {
  if (!Object.hasOwn(auditOptionKeys, type)) {
    const types = Object.keys(auditOptionKeys).join(', ')
    throw new HoldfastError('ERR_BAD_REQUEST', `audit device type expected one of ${types}, got ${JSON.stringify(type)}`)
  }
  const problems = new Problems()
  const section = new Section<KeyTable>(auditOptionKeys[type as AuditType], 'options', '')
  for (const [name, value] of Object.entries(given)) {
    section.set(name, { kind: 'string', value, line: 0, column: 0 }, '', problems)
  }
  const options = finishAuditOptions({ type: type as AuditType, options: section }, rules, problems)
  try {
    problems.throwIfAny()
  } catch (error) {
    throw new HoldfastError('ERR_BAD_REQUEST', (error as Error).message, { cause: error })
  }
  return options
}

function checkUnique(draft: Draft, listeners: readonly ListenerConfig[], audit: readonly AuditConfig[], problems: Problems): void {
  const shared = new Set(['stdout', null, ''])
  const twice = (values: readonly (string | null)[], origin: (index: number) => string | undefined, key: string): void => {
    values.forEach((value, index) => {
      if (shared.has(value) || value?.endsWith(':0') === true || values.indexOf(value) === index) return
      problems.add(origin(index) ?? '', key, 'each only once', `${JSON.stringify(value)} again`)
    })
  }
  const addresses = listeners.map((listener) => listener.address)
  twice(addresses, (index) => draft.listeners[index]?.originOf('address'), 'listener.tcp.address')
  const names = audit.map((device) => device.name)
  twice(names, (index) => draft.audits[index]?.section.origin, 'audit')
  const files = audit.map((device) => (device.type === 'file' ? device.options.file_path : null))
  twice(files, (index) => draft.audits[index]?.options.originOf('file_path'), 'audit.file.options.file_path')
}

interface Addresses {
  readonly api_addr: string
  readonly cluster_addr: string
  readonly cluster_listen: string
}

const everyInterface: ReadonlySet<string> = new Set(['', '0.0.0.0', '::'])

/** The node's two addresses, made from the first listener where they are not given. */
function finishAddresses(draft: Draft, top: ValuesOf<typeof topKeys>, listeners: readonly ListenerConfig[], problems: Problems): Addresses {
  const first = listeners[0]
  const listen = parseHostPort(first?.address ?? defaultAddress)
  const clusterListen = first?.cluster_address
    ? parseHostPort(first.cluster_address)
    : { host: listen.host, port: listen.port === 0 ? 0 : listen.port + 1 }
  const missing = (key: string): string => {
    problems.add(
      'configuration',
      key,
      'a URL',
      'none, and a listener on every interface',
      `write ${key} = "https://NAME-OF-THIS-NODE:PORT"`,
    )
    return ''
  }
  const scheme = first?.tls_disable === true ? 'http' : 'https'
  const api = top.api_addr ?? (everyInterface.has(listen.host) ? missing('api_addr') : `${scheme}://${formatHostPort(listen)}`)
  const cluster = clusterAddress(draft, top, api, clusterListen, problems) ?? missing('cluster_addr')
  return { api_addr: api, cluster_addr: cluster, cluster_listen: formatHostPort(clusterListen) }
}

function clusterAddress(draft: Draft, top: ValuesOf<typeof topKeys>, api: string, listen: HostPort, problems: Problems): string | null {
  if (top.cluster_addr !== null) {
    const url = new URL(top.cluster_addr.replace(/^http:/, 'https:'))
    // Node-to-node addresses carry their port: 443 would be nobody's.
    if (url.port === '') {
      problems.add(draft.top.originOf('cluster_addr'), 'cluster_addr', 'a URL with a port', JSON.stringify(top.cluster_addr))
    }
    return `https://${url.host}`
  }
  if (!everyInterface.has(listen.host)) return `https://${formatHostPort(listen)}`
  return URL.canParse(api) ? `https://${new URL(api).hostname}:${listen.port}` : null
}
