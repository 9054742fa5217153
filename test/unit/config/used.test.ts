/** Every key of the configuration that is documented as doing something is read by somebody who does it: a key that nobody reads is a promise that is not kept. */
import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { KeyTable } from '#config/key.ts'
import {
  auditKeys,
  auditOptionKeys,
  listenerKeys,
  raftKeys,
  retryJoinKeys,
  sealKeys,
  telemetryKeys,
  topKeys,
  userLockoutKeys,
} from '#config/keys.ts'

/** Read where their name does not stand, or by the configuration itself. */
const elsewhere: Readonly<Record<string, string>> = {
  log_format: 'both of its values mean the same',
  local: 'accepted: devices of the configuration are of this node',
  trusted_proxies: 'handed to the listeners that say nothing, when the configuration is loaded',
  default_max_request_duration: 'handed to the listeners that say nothing, when the configuration is loaded',
  disabled: 'read when seals are chosen by kind, in src/config',
}
/** Put together where they are read: src/node/retry-join.ts, src/seal/static.ts. */
const composed = /^(leader_(ca_cert|client_cert|client_key)|join_token)_file$|^(current|previous)_key(_id)?$/

const tables: Readonly<Record<string, KeyTable>> = {
  top: topKeys,
  listener: listenerKeys,
  raft: raftKeys,
  retry_join: retryJoinKeys,
  audit: auditKeys,
  telemetry: telemetryKeys,
  user_lockout: userLockoutKeys,
  ...Object.fromEntries(Object.entries(auditOptionKeys).map(([type, table]) => [`audit ${type}`, table as KeyTable])),
  ...Object.fromEntries(Object.entries(sealKeys).map(([type, table]) => [`seal ${type}`, table as KeyTable])),
}

test('no key is documented that nobody reads', () => {
  const sources = globSync('src/**/*.ts').filter((path) => !path.startsWith('src/config/'))
  expect(sources.length).toBeGreaterThan(200)
  // What a node only tells of itself is no use of it.
  const text = sources
    .filter((path) => path !== 'src/node/reports.ts')
    .map((path) => readFileSync(path, 'utf8'))
    .join('\n')
  const unread = Object.entries(tables).flatMap(([name, table]) =>
    Object.entries(table)
      .filter(([key, { ignored, refused }]) => ignored === undefined && refused === undefined && !(key in elsewhere) && !composed.test(key))
      .filter(([key]) => !new RegExp(`(?:\\.|\\['?|[{,(]\\s*|'|")${key.replaceAll('.', '\\.')}\\b`).test(text))
      .map(([key]) => `${name}: ${key}`),
  )
  expect(unread).toEqual([])
})
