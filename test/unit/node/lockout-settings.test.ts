import { expect, test } from 'vitest'
import { loadConfig } from '#config/load.ts'
import { lockoutSettings } from '#node/lockout-settings.ts'

const minimal = 'storage "raft" { path = "/data" }\nlistener "tcp" { tls_disable = true }\n'
const settings = (text: string, type = 'userpass', env = {}) =>
  lockoutSettings(loadConfig({ text: { name: 'server.hcl', text: minimal + text }, env }).userLockouts, type)

test('a type goes before all, and all before the defaults, key by key', () => {
  const text = `
    user_lockout "all" { lockout_threshold = "9" lockout_duration = "10m" disable_lockout = true }
    user_lockout "userpass" { lockout_duration = "20s" disable_lockout = "false" }`
  expect(settings(text)).toEqual({ disabled: false, threshold: 9, durationSeconds: 20, counterResetSeconds: 900 })
  expect(settings(text, 'approle')).toEqual({ disabled: true, threshold: 9, durationSeconds: 600, counterResetSeconds: 900 })
  expect(settings('')).toEqual({ disabled: false, threshold: 5, durationSeconds: 900, counterResetSeconds: 900 })
})

test('is set by variables too', () => {
  expect(settings('', 'ldap', { HOLDFAST_USER_LOCKOUT_LDAP_LOCKOUT_COUNTER_RESET: '1h' }).counterResetSeconds).toBe(3_600)
  expect(settings('', 'ldap', { HOLDFAST_USER_LOCKOUT_ALL_DISABLE_LOCKOUT: 'true' }).disabled).toBe(true)
})

test.each([
  ['user_lockout "odd" {}', /user_lockout: expected one of all, userpass, approle, ldap, got "odd"/],
  ['user_lockout "all" { lockout_threshhold = 1 }', /did you mean "lockout_threshold"/],
  ['user_lockout "all" { lockout_threshold = -1 }', /a whole number of at least 0/],
])('says what is wrong with %s', (text, message) => {
  expect(() => settings(text)).toThrow(message)
})
