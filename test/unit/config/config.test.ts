import fc from 'fast-check'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { isHoldfastError } from '#base/errors.ts'
import { renderConfigurationPage } from '#config/document.ts'
import { auditOptionKeys, listenerKeys, raftKeys, retryJoinKeys, sealKeys, telemetryKeys, topKeys, userLockoutKeys } from '#config/keys.ts'
import { loadConfig } from '#config/load.ts'
import { nearest } from '#config/problems.ts'
import type { ConfigSource, ServerConfig } from '#config/types.ts'
import { listenerOptions } from '#http/from-config.ts'

const root = join(import.meta.dirname, '../../..')
const folder = mkdtempSync(join(tmpdir(), 'holdfast-config-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const minimal = `
listener "tcp" {
  tls_disable = true
}
storage "raft" {
  path = "/data"
}
`

const load = (text: string, source: Omit<ConfigSource, 'text'> = {}): ServerConfig =>
  loadConfig({ ...source, text: { name: 'server.hcl', text } })

/** All mistakes of a configuration; fails if there is none. */
function mistakes(text: string, source: Omit<ConfigSource, 'text'> = {}): readonly string[] {
  try {
    load(text, source)
  } catch (error) {
    if (isHoldfastError(error, 'ERR_CONFIG')) return error.errors
    throw error
  }
  throw new Error('expected mistakes, got a configuration')
}

test('the example loads, and says what it means', () => {
  const config = loadConfig({ files: [join(root, 'docs/examples/server.hcl')] })
  expect(config.warnings).toEqual([])
  expect(config).toMatchObject({
    api_addr: 'https://vault-1.example.com:8200',
    cluster_addr: 'https://vault-1.example.com:8201',
    cluster_listen: '0.0.0.0:8201',
    default_lease_ttl: 24 * 3_600_000,
    log_level: 'info',
    seals: [],
    audit: [{ type: 'file', name: 'file', options: { file_path: '/var/log/holdfast/audit.log' } }],
    raft: { path: '/var/lib/holdfast', node_id: 'vault-1', retry_join: [{ leader_api_addr: 'https://vault-2.example.com:8200' }, {}] },
    telemetry: { prometheus_retention_time: 24 * 3_600_000 },
  })
  expect(config.listeners).toHaveLength(2)
  const [first, second] = config.listeners.map(listenerOptions)
  expect(first).toMatchObject({
    host: '0.0.0.0',
    port: 8200,
    tls: { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' },
    proxies: { forwardedForFrom: ['10.0.10.0/28'], proxyProtocol: 'allow_authorized', proxyProtocolFrom: ['10.0.10.0/28'] },
  })
  expect(second).toMatchObject({ host: '127.0.0.1', port: 8210 })
  expect(second).not.toHaveProperty('tls')
})

test('zero never means for ever', () => {
  const zeros = ['max_request_duration', 'http_read_header_timeout', 'http_read_timeout', 'http_write_timeout', 'http_idle_timeout']
  const [listener] = load(
    `listener "tcp" {\n tls_disable = true\n ${zeros.map((key) => `${key} = 0`).join('\n')}\n}\nstorage "raft" { path = "/d" }`,
  ).listeners
  expect(listener && listenerOptions(listener).limits).toMatchObject({
    requestDurationMsMax: 90_000,
    headerReadMsMax: 10_000,
    requestReadMsMax: 30_000,
    idleMsMax: 30_000,
    stallMsMax: 100_000,
  })
})

test('JSON says the same as HCL', () => {
  const json = JSON.stringify({
    api_addr: 'http://127.0.0.1:8200',
    listener: [{ tcp: { address: '127.0.0.1:8200', tls_disable: 1, telemetry: { unauthenticated_metrics_access: 'true' } } }],
    storage: { raft: { path: '/data', retry_join: [{ leader_api_addr: 'http://a:8200' }, { leader_api_addr: 'http://b:8200' }] } },
    audit: { file: { main: { options: { file_path: '/a.log' } } } },
    seal: { awskms: { kms_key_id: 'k', disabled: true } },
  })
  const hcl = `
    api_addr = "http://127.0.0.1:8200"
    listener "tcp" {
      address = "127.0.0.1:8200"
      tls_disable = "true"
      telemetry { unauthenticated_metrics_access = true }
    }
    storage "raft" {
      path = "/data"
      retry_join { leader_api_addr = "http://a:8200" }
      retry_join { leader_api_addr = "http://b:8200" }
    }
    audit "file" "main" { options { file_path = "/a.log" } }
    seal "awskms" {
      kms_key_id = "k"
      disabled = true
    }`
  expect(load(json)).toEqual(load(hcl))
  expect(load(hcl).listeners[0]?.['telemetry.unauthenticated_metrics_access']).toBe(true)
  expect(load(hcl).seals).toEqual([{ kind: 'awskms', disabled: true, options: { kms_key_id: 'k' } }])
})

test('addresses are made from the first listener', () => {
  expect(load(minimal)).toMatchObject({
    api_addr: 'http://127.0.0.1:8200',
    cluster_addr: 'https://127.0.0.1:8201',
    cluster_listen: '127.0.0.1:8201',
  })
  const everywhere = 'listener "tcp" {\n address = "0.0.0.0:9000"\n tls_disable = true\n}\nstorage "raft" { path = "/d" }\n'
  expect(mistakes(everywhere)[0]).toContain('api_addr')
  expect(load(`api_addr = "http://node1:9000"\n${everywhere}`)).toMatchObject({
    cluster_addr: 'https://node1:9001',
    cluster_listen: '0.0.0.0:9001',
  })
})

test('all mistakes are reported, each with file, line, key, what was expected and what came', () => {
  const text = `api_adr = "http://127.0.0.1:8200"
log_level = "loud"
listener "tcp" {
  address = "localhost"
  tls_disable = "perhaps"
  tls_cert_fil = "/a"
  max_request_size = 10
  http_idle_timeout = "soon"
  x_forwarded_for_authorized_addrs = ["10.0.0.0/33"]
  tls_min_version = "tls10"
}
storage "raft" {
  retry_join {
    auto_join = "provider=aws"
  }
}
storage "consul" {}
seal "awskmss" {}
audit "email" "s" {}
default_lease_ttl = "1000h"
`
  const found = mistakes(text)
  const expected = [
    /^server\.hcl:1: api_adr: expected a known key, got another \(did you mean "api_addr"\?\)$/,
    /^server\.hcl:2: log_level: expected one of "trace", .*, got "loud"$/,
    /^server\.hcl:4: listener\.tcp\.address: expected HOST:PORT .*, got "localhost"$/,
    /^server\.hcl:5: listener\.tcp\.tls_disable: expected true or false, got "perhaps"$/,
    /^server\.hcl:6: listener\.tcp\.tls_cert_fil: .*did you mean "tls_cert_file"\?/,
    /^server\.hcl:7: listener\.tcp\.max_request_size: expected a whole number of at least 1024 .*, got 10$/,
    /^server\.hcl:8: listener\.tcp\.http_idle_timeout: expected a duration .*, got "soon"$/,
    /^server\.hcl:9: listener\.tcp\.x_forwarded_for_authorized_addrs: expected a list of addresses or CIDRs .*, got a list$/,
    /^server\.hcl:10: listener\.tcp\.tls_min_version: expected one of "tls12", "tls13", got "tls10"$/,
    /^server\.hcl:12: storage\.raft\.path: expected a value, got none$/,
    /^server\.hcl:13: storage\.raft\.retry_join\.leader_api_addr: expected a value, got none$/,
    /^server\.hcl:14: storage\.raft\.retry_join\.auto_join: expected nothing here, got a value \(name one retry_join block/,
    /^server\.hcl:17: storage\.consul: expected storage "raft", got "consul" \(each node holds the data itself/,
    /^server\.hcl:18: seal: expected one of shamir, .*, got "awskmss" \(did you mean "awskms"\?\)$/,
    /^server\.hcl:19: audit: expected one of file, stdout, socket, syslog, http, got "email"/,
    /^server\.hcl:20: default_lease_ttl: expected at most max_lease_ttl, got more$/,
  ]
  for (const pattern of expected)
    expect(
      found.some((line) => pattern.test(line)),
      `${pattern} in\n${found.join('\n')}`,
    ).toBe(true)
})

test('a secret never stands in a mistake', () => {
  const found = mistakes(`${minimal}
seal "transit" {
  address = "nonsense"
  key_name = "k"
  token = ["s.verysecret"]
}
seal "pkcs11" {
  lib = "/l"
  key_label = "k"
  pin = true
  pinn = "1234-verysecret"
}`)
  expect(found.join('\n')).not.toContain('verysecret')
  expect(found.some((line) => line.includes('seal.transit.token: expected a string, got a list'))).toBe(true)
  expect(found.some((line) => line.includes('seal.pkcs11.pin: expected a string, got a bool'))).toBe(true)
  expect(found.some((line) => line.includes('expected one seal that is not disabled, got 2'))).toBe(true)
})

describe('single mistakes', () => {
  test.each([
    ['', 'storage'],
    ['listener "unix" { address = "/run/h.sock" }\nstorage "raft" { path = "/d" }', 'listener "tcp"'],
    ['listener "tcp" {}\nstorage "raft" { path = "/d" }', 'tls_cert_file'],
    [`${minimal}ha_storage "consul" {}`, 'ha_storage'],
    [`${minimal}listener "tcp" { tls_disable = true }`, '"127.0.0.1:8200" again'],
    [`${minimal}audit "file" "a" {}`, 'file_path'],
    [`${minimal}audit "file" "a" { options { file_path = "/x" } }\naudit "file" "a" { options { file_path = "/y" } }`, '"a" again'],
    [`${minimal}cluster_addr = "https://node"`, 'a port'],
    [`${minimal}api_addr = "node:8200"`, 'a URL'],
    [`${minimal}log_level = "info"\nlog_level = "warn"`, 'it twice'],
    [
      'listener "tcp" {\n tls_disable = true\n proxy_protocol_behavior = "deny_unauthorized"\n}\nstorage "raft" { path = "/d" }',
      'trusted_proxies',
    ],
    [
      'storage "raft" {\n path = "/d"\n retry_join {\n leader_api_addr = "http://a:1"\n join_token = "a"\n join_token_file = "b"\n}\n}\nlistener "tcp" { tls_disable = true }',
      'both',
    ],
    ['storage "raft" { path = ', 'line 1'],
    ['{"storage": ', 'line 1'],
    [`${minimal}telemetry = 3`, 'telemetry'],
    [`${minimal}disable_clustering = true`, 'disable_clustering'],
  ])('%j', (text, part) => {
    const found = mistakes(text)
    expect(found.join('\n')).toContain(part)
  })
})

test('what has no effect is accepted with a warning', () => {
  const config = load(`${minimal}
disable_mlock = true
ui = true
cache_size = "10"
user_lockout "all" { lockout_threshold = 3 }
telemetry { statsd_address = "a:1" }`)
  expect(config.warnings).toHaveLength(4)
  expect(config.warnings[0]).toMatch(/^server\.hcl:\d+: disable_mlock: has no effect: /)
})

describe('environment and flags', () => {
  test('win over files, in that order', () => {
    const env = {
      HOLDFAST_LOG_LEVEL: 'warn',
      HOLDFAST_STORAGE_RAFT_PATH: '/env',
      HOLDFAST_CLUSTER_NAME: 'env',
      VAULT_API_ADDR: 'http://alias:1',
    }
    const config = load(`log_level = "debug"\n${minimal}`, { env, flags: { log_level: 'error', 'storage.raft.node_id': 'n1' } })
    expect(config).toMatchObject({
      log_level: 'error',
      cluster_name: 'env',
      api_addr: 'http://alias:1',
      raft: { path: '/env', node_id: 'n1' },
    })
    const both = load(minimal, { env: { ...env, HOLDFAST_API_ADDR: 'http://ours:1' } })
    expect(both.api_addr).toBe('http://ours:1')
  })

  test('make blocks that no file has', () => {
    const config = loadConfig({
      env: {
        HOLDFAST_LISTENER_TCP_ADDRESS: '127.0.0.1:1000',
        HOLDFAST_LISTENER_TCP_TLS_DISABLE: 'true',
        HOLDFAST_LISTENER_TCP_TELEMETRY_UNAUTHENTICATED_METRICS_ACCESS: '1',
        HOLDFAST_LISTENER_TCP_1_ADDRESS: '127.0.0.1:2000',
        HOLDFAST_LISTENER_TCP_1_TLS_DISABLE: 'true',
        HOLDFAST_STORAGE_RAFT_PATH: '/d',
        HOLDFAST_STORAGE_RAFT_RETRY_JOIN_LEADER_API_ADDR: 'http://a:1',
        HOLDFAST_STORAGE_RAFT_RETRY_JOIN_1_LEADER_API_ADDR: 'http://b:1',
        HOLDFAST_STORAGE_RAFT_RETRY_JOIN_AS_NON_VOTER: 'true',
        HOLDFAST_SEAL_STATIC_CURRENT_KEY: 'env://K',
        HOLDFAST_SEAL_STATIC_CURRENT_KEY_ID: 'k1',
        HOLDFAST_AUDIT_FILE_MY_LOG_OPTIONS_FILE_PATH: '/a.log',
        HOLDFAST_TRUSTED_PROXIES: '10.0.0.1, fd00::/8',
        HOLDFAST_TOKEN: 'the client reads this one',
      },
    })
    expect(config.listeners.map((listener) => listener.address)).toEqual(['127.0.0.1:1000', '127.0.0.1:2000'])
    expect(config.listeners[0]?.['telemetry.unauthenticated_metrics_access']).toBe(true)
    expect(config.listeners[1]?.x_forwarded_for_authorized_addrs).toEqual(['10.0.0.1', 'fd00::/8'])
    expect(config.raft.retry_join.map((join) => join.leader_api_addr)).toEqual(['http://a:1', 'http://b:1'])
    expect(config.raft.retry_join_as_non_voter).toBe(true)
    expect(config.seals).toEqual([{ kind: 'static', disabled: false, options: { current_key_id: 'k1', current_key: 'env://K' } }])
    expect(config.audit).toMatchObject([{ name: 'my_log', options: { file_path: '/a.log' } }])
    expect(config.warnings).toEqual([])
  })

  test('a device of a file is met by its name', () => {
    const text = `${minimal}audit "file" "My-Log" { options { file_path = "/a" } }`
    expect(load(text, { env: { HOLDFAST_AUDIT_FILE_MY_LOG_OPTIONS_FSYNC: 'true' } }).audit).toMatchObject([
      { name: 'My-Log', options: { fsync: true } },
    ])
  })

  test('mistakes name the variable or the flag', () => {
    const found = mistakes(minimal, {
      env: { HOLDFAST_LOG_LEVEL: 'loud', HOLDFAST_LISTENER_TCP_ADRESS: 'a:1', HOLDFAST_LISTENER_TCP_3_ADDRESS: 'a:1' },
      flags: { 'no.such': 'x' },
    })
    expect(found).toHaveLength(4)
    expect(found).toContain(
      'HOLDFAST_LISTENER_TCP_3_ADDRESS: expected the name of a key, got another (did you mean HOLDFAST_LISTENER_TCP_ADDRESS?)',
    )
    expect(found.find((line) => line.startsWith('HOLDFAST_LISTENER_TCP_ADRESS'))).toContain('did you mean HOLDFAST_LISTENER_TCP_ADDRESS?')
    expect(found.find((line) => line.startsWith('HOLDFAST_LOG_LEVEL: log_level: expected one of'))).toBeDefined()
    expect(found).toContain('-no.such: expected the path of a key, got another')
  })

  test('a near miss at the top level is said', () => {
    expect(load(minimal, { env: { HOLDFAST_API_ADR: 'http://a:1' } }).warnings[0]).toContain('did you mean HOLDFAST_API_ADDR?')
  })

  test('every key of a table has a variable that sets it', () => {
    const tables = {
      '': topKeys,
      'listener.tcp': listenerKeys,
      'storage.raft': raftKeys,
      'storage.raft.retry_join': retryJoinKeys,
      telemetry: telemetryKeys,
    }
    let count = 0
    for (const [path, table] of Object.entries({
      ...tables,
      'seal.pkcs11': sealKeys.pkcs11,
      'audit.file.x.options': auditOptionKeys.file,
      'user_lockout.all': userLockoutKeys,
    })) {
      for (const key of Object.keys(table)) {
        const dotted = path === '' ? key : `${path}.${key}`
        const variable = `HOLDFAST_${dotted.replaceAll('.', '_').toUpperCase()}`
        // A value that no kind of key takes but 'string' and 'list': whatever happens, the name must have been understood.
        let lines: readonly string[] = []
        try {
          lines = load(minimal, { env: { [variable]: '\u0001' } }).warnings
        } catch (error) {
          lines = isHoldfastError(error) ? error.errors : []
        }
        expect(
          lines.some((line) => line.includes('the name of a key')),
          variable,
        ).toBe(false)
        count += 1
      }
    }
    expect(count).toBeGreaterThan(100)
  })
})

test('files and folders: later ones win, blocks add up', () => {
  const parts = join(folder, 'parts')
  mkdirSync(parts)
  writeFileSync(join(parts, 'a.hcl'), `log_level = "debug"\n${minimal}`)
  writeFileSync(join(parts, 'b.json'), '{"log_level": "warn", "listener": {"tcp": {"address": "127.0.0.1:9999", "tls_disable": true}}}')
  writeFileSync(join(parts, 'c.txt'), 'not read')
  const config = loadConfig({ files: [parts] })
  expect(config.log_level).toBe('warn')
  expect(config.listeners).toHaveLength(2)
  expect(config.files.map((file) => file.slice(parts.length + 1))).toEqual(['a.hcl', 'b.json'])
  expect(() => loadConfig({ files: [join(folder, 'missing.hcl')] })).toThrow(/^[^\n]*missing\.hcl: expected a readable file, got ENOENT$/)
})

test('no text makes the loader fail in another way than ERR_CONFIG', () => {
  const words = fc.constantFrom(
    'listener',
    '"tcp"',
    'storage',
    '"raft"',
    '{',
    '}',
    '=',
    '[',
    ']',
    '"x"',
    '1',
    'true',
    ',',
    '\n',
    'path',
    'seal',
    'audit',
    'user_lockout',
    'options',
    'retry_join',
    'null',
    '__proto__',
    'constructor',
    'toString',
  )
  fc.assert(
    fc.property(fc.array(words, { maxLength: 30 }), (parts) => {
      try {
        load(parts.join(' '))
      } catch (error) {
        expect(isHoldfastError(error, 'ERR_CONFIG')).toBe(true)
      }
    }),
    { numRuns: 2_000 },
  )
})

test('nearest finds the slips of fingers and nothing far away', () => {
  const keys = Object.keys(listenerKeys)
  expect(nearest('adress', keys)).toBe('address')
  expect(nearest('tls_disabel', keys)).toBe('tls_disable')
  expect(nearest('TLS_DISABLE', keys)).toBe('tls_disable')
  expect(nearest('colour', keys)).toBe(null)
  expect(nearest('x', keys)).toBe(null)
})

test('docs/configuration.md is what the tables say', async () => {
  await expect(renderConfigurationPage()).toMatchFileSnapshot(join(root, 'docs/configuration.md'))
})
