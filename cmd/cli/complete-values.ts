/**
 * What may stand at the cursor where a command wants a name of the server's: mounts, policies, paths of secrets. Asked of the server with the token of whoever
 * types, so nobody sees a name that listing would not show; quick or not at all, since somebody waits with a finger on the key.
 */
import type { Client } from '#client/client.ts'
import { mountQuestion } from './kv-paths.ts'

type Kind = 'mount' | 'auth-mount' | 'policy' | 'kv-path' | 'path' | 'namespace' | 'role' | 'member'

/** By the command's words: what each of its arguments is; the last of the row goes on. */
export const valueKinds: Readonly<Record<string, readonly (Kind | null)[]>> = {
  'secrets disable': ['mount'],
  'secrets tune': ['mount'],
  'secrets move': ['mount', null],
  'auth disable': ['auth-mount'],
  'auth tune': ['auth-mount'],
  'auth move': ['auth-mount', null],
  'policy read': ['policy'],
  'policy write': ['policy', null],
  'policy delete': ['policy'],
  'kv enable-versioning': ['mount'],
  'kv import': [null, 'kv-path'],
  'kv search': [null, 'kv-path'],
  'kv diff': ['kv-path', 'kv-path'],
  read: ['path'],
  write: ['path', null],
  list: ['path'],
  delete: ['path'],
  patch: ['path', null],
  'namespace lookup': ['namespace'],
  'namespace patch': ['namespace'],
  'namespace delete': ['namespace'],
  'namespace lock': ['namespace'],
  'namespace unlock': ['namespace'],
  'token role read': ['role'],
  'token role write': ['role', null],
  'token role delete': ['role'],
  'operator raft remove-peer': ['member'],
  'operator raft promote': ['member'],
  'operator raft demote': ['member'],
}

/** What the argument at `position` (0: the first) of the command is; null: nothing of the server's. */
export function kindOf(path: readonly string[], position: number): Kind | null {
  const row = valueKinds[path.join(' ')] ?? (path[0] === 'kv' ? ['kv-path' as const, null] : [])
  return row[Math.min(position, row.length - 1)] ?? null
}

/**
 * A name is somebody else's text, and a shell runs what stands in it. What has other characters is not offered.
 * @see completion.ts, which hands these words to the shell
 */
const plain = /^[\w./@+~-]+$/
const offersMax = 500

/** What begins with `typed`; empty where the server does not tell. */
export async function offers(client: Client, kind: Kind, typed: string): Promise<string[]> {
  const found = await namesOf(client, kind, typed)
  return [...new Set(found)].filter((name) => name.startsWith(typed) && plain.test(name)).slice(0, offersMax)
}

async function namesOf(client: Client, kind: Kind, typed: string): Promise<string[]> {
  const folder = typed.slice(0, typed.lastIndexOf('/') + 1)
  switch (kind) {
    case 'mount':
      return mounts(client, 'secret')
    case 'auth-mount':
      return mounts(client, 'auth')
    case 'policy':
      return keys(client, 'sys/policies/acl')
    case 'namespace':
      return keys(client, 'sys/namespaces')
    case 'role':
      return keys(client, 'auth/token/roles')
    case 'member':
      return members(client)
    case 'kv-path':
    case 'path':
      return folder === '' ? topOf(client, kind) : below(client, kind, folder)
  }
}

async function topOf(client: Client, kind: 'kv-path' | 'path'): Promise<string[]> {
  const secrets = await mounts(client, 'secret', kind === 'kv-path' ? /^(kv|generic|cubbyhole)/ : /./)
  return kind === 'kv-path' ? secrets : [...secrets, 'auth/', 'sys/']
}

async function below(client: Client, kind: 'kv-path' | 'path', folder: string): Promise<string[]> {
  if (folder === 'auth/') return (await mounts(client, 'auth')).map((name) => `auth/${name}`)
  const at = kind === 'path' ? folder : await listed(client, folder)
  return (await keys(client, at.replace(/\/+$/, ''))).map((name) => `${folder}${name}`)
}

/** Where the names of a folder of secrets are listed: version 2 has them elsewhere. */
async function listed(client: Client, folder: string): Promise<string> {
  const answer = await client.raw({ method: 'GET', path: `${mountQuestion}${folder.replace(/\/+$/, '')}`, wrapTtl: '' })
  const data = answer.json?.data ?? {}
  const { path: mount, options } = data as { readonly path?: string; readonly options?: { readonly version?: string } | null }
  return mount !== undefined && options?.version === '2' ? `${mount}metadata/${folder.slice(mount.length)}` : folder
}

async function keys(client: Client, path: string): Promise<string[]> {
  const answer = await client.raw({ method: 'GET', path, query: { list: 'true' }, wrapTtl: '' })
  const found = answer.status === 200 ? answer.json?.data?.['keys'] : null
  return Array.isArray(found) ? found.filter((name) => typeof name === 'string') : []
}

async function mounts(client: Client, table: 'secret' | 'auth', types = /./): Promise<string[]> {
  const answer = await client.raw({ method: 'GET', path: mountQuestion.replace(/\/$/, ''), wrapTtl: '' })
  const found = (answer.json?.data?.[table] ?? {}) as Readonly<Record<string, { readonly type?: string }>>
  return Object.entries(found)
    .filter(([, { type = '' }]) => types.test(type))
    .map(([path]) => path)
}

async function members(client: Client): Promise<string[]> {
  const answer = await client.raw({ method: 'GET', path: 'sys/storage/raft/configuration', wrapTtl: '' })
  const config = (answer.json?.data?.['config'] ?? {}) as { readonly servers?: readonly { readonly node_id?: string }[] }
  return (config.servers ?? []).map(({ node_id }) => node_id ?? '')
}
