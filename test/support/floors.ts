/**
 * The floors of the house: a room imports only rooms on a lower floor, and itself. One table, from which the linter's boundary
 * rules are made (`node test/support/floors.ts --write`) and against which the house test checks both linter and code.
 */
import { readFileSync, writeFileSync } from 'node:fs'

/** Lowest first. */
const order = [
  'base',
  'store',
  'transport',
  'replica',
  'barrier',
  'seal',
  'namespaces',
  'policies',
  'identity',
  'leases',
  'tokens',
  'wrapping',
  'quotas',
  'audit',
  'snapshots',
  'core',
  'auth',
  'engines',
  'http',
  'node',
] as const

/** Room -> folder. */
export const folders: Readonly<Record<string, string>> = {
  raft: 'raft',
  ...Object.fromEntries([...order, 'config', 'client'].map((room) => [room, `src/${room}`])),
  cmd: 'cmd',
}

/** Room -> the rooms that it may import besides itself. */
export const mayImport: Readonly<Record<string, readonly string[]>> = (() => {
  const table: Record<string, readonly string[]> = { raft: [], base: [], config: ['base'], client: ['base'] }
  for (const [floor, room] of order.entries()) {
    if (room === 'base') continue
    const lower: string[] = [...order.slice(0, floor), 'raft']
    // `client` may be used by seal (transit), http and above; `config` by what puts a server together.
    if (['seal', 'http', 'node'].includes(room)) lower.push('client')
    if (['seal', 'node', 'http'].includes(room)) lower.push('config')
    table[room] = lower
  }
  table['auth'] = (table['auth'] ?? []).filter((room) => room !== 'engines')
  table['engines'] = (table['engines'] ?? []).filter((room) => room !== 'auth')
  table['cmd'] = [...order, 'raft', 'config', 'client']
  return table
})()

/** Globals that would make a run impossible to replay. */
const impure = ['Date', 'performance', 'setTimeout', 'setInterval', 'setImmediate', 'process', 'crypto', 'globalThis', 'queueMicrotask']

/** The linter's overrides, one a room. */
export function boundaryOverrides(): object[] {
  const rooms = Object.keys(folders)
  return rooms.map((room) => {
    const allowed = new Set([room, ...(mayImport[room] ?? [])])
    const banned = rooms.filter((other) => !allowed.has(other))
    const patterns: object[] =
      banned.length === 0 ? [] : [{ group: banned.flatMap((other) => [`#${other}/**`]), message: `${room}/ imports only lower rooms` }]
    if (room === 'raft') patterns.push({ group: ['node:*', '#*/**', '!#raft/**'], message: 'raft/ imports only itself' })
    const rules: Record<string, unknown> = patterns.length > 0 ? { 'no-restricted-imports': ['error', { patterns }] } : {}
    if (room === 'raft') rules['no-restricted-globals'] = ['error', ...impure, 'Buffer']
    else if (!['node', 'cmd', 'client', 'base'].includes(room)) rules['no-restricted-globals'] = ['error', 'setTimeout', 'setInterval']
    return { files: [`${folders[room]}/**/*.ts`], rules }
  })
}

const path = '.oxlintrc.json'

if (process.argv.includes('--write')) {
  const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
  config['overrides'] = boundaryOverrides()
  writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`)
}
