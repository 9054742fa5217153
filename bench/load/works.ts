/** The works of /v1, by name: what each asks, again and again. */
import { randomInt } from 'node:crypto'
import type { Work } from './drive.ts'
import { password, perFolder, secretAt, valueOf, type Ground } from './ground.ts'
import { requestText } from './http1.ts'

/** Every tenth request of a mixed work is a write. */
const writeEvery = 10
/** `sizes`: from 16 bytes to 64 KiB, every power of two as often as the others. */
const sizePowers = { lowest: 4, above: 17 } as const
const sizesSecrets = 1_000

interface WorkKind {
  readonly help: string
  make(ground: Ground): Omit<Work, 'name'>
}

export const works: Readonly<Record<string, WorkKind>> = {
  'kv-read': { help: 'GET of a secret drawn at random', make: read },
  'kv-write': { help: 'POST of a secret drawn at random: a new version each time', make: write },
  'kv-mixed': { help: 'nine reads, one write', make: (ground) => mixed(read(ground), write(ground)) },
  'kv-list': { help: `LIST of a folder of ${perFolder} secrets`, make: list },
  'token-create': { help: 'a service token for five minutes', make: tokenCreate },
  'token-lookup': { help: 'auth/token/lookup-self', make: tokenLookup },
  login: { help: 'an AppRole login: role id and secret id for a token', make: login },
  'login-password': { help: 'a userpass login: what costs is the password hash', make: loginPassword },
  cas: { help: 'POST with options.cas, each connection a secret of its own: a refusal is an error', make: checkAndSet },
  sizes: { help: 'nine reads, one write, values from 16 bytes to 64 KiB', make: sizes },
}

/** @throws Error that lists the names there are. */
export function workNamed(name: string, ground: Ground): Work {
  const kind = works[name]
  if (kind === undefined) throw new Error(`work expected one of ${Object.keys(works).join(', ')}, got ${name}`)
  return { name, ...kind.make(ground) }
}

/** Nine of the one, then one of the other. */
function mixed(reads: Omit<Work, 'name'>, writes: Omit<Work, 'name'>): Omit<Work, 'name'> {
  let turn = 0
  return { next: (at) => (++turn % writeEvery === 0 ? writes : reads).next(at) }
}

function read({ mount, headers, options: { secrets } }: Ground): Omit<Work, 'name'> {
  return { next: () => requestText('GET', `/v1/${mount}/data/${secretAt(randomInt(secrets))}`, headers, null) }
}

function write({ mount, headers, options: { secrets, sizeBytes } }: Ground): Omit<Work, 'name'> {
  const body = JSON.stringify({ data: { value: valueOf(sizeBytes) } })
  return { next: () => requestText('POST', `/v1/${mount}/data/${secretAt(randomInt(secrets))}`, headers, body) }
}

function list({ mount, headers, options: { secrets } }: Ground): Omit<Work, 'name'> {
  const folders = Math.ceil(secrets / perFolder)
  return { next: () => requestText('GET', `/v1/${mount}/metadata/f${randomInt(folders)}/?list=true`, headers, null) }
}

function tokenCreate({ headers }: Ground): Omit<Work, 'name'> {
  const request = requestText('POST', '/v1/auth/token/create', headers, '{"ttl":"5m"}')
  return { next: () => request }
}

function tokenLookup({ headers }: Ground): Omit<Work, 'name'> {
  const request = requestText('GET', '/v1/auth/token/lookup-self', headers, null)
  return { next: () => request }
}

function login({ mount, roleId, secretId }: Ground): Omit<Work, 'name'> {
  const body = JSON.stringify({ role_id: roleId, secret_id: secretId })
  const request = requestText('POST', `/v1/auth/${mount}-approle/login`, 'Host: bench\r\n', body)
  return { next: () => request }
}

function loginPassword({ mount }: Ground): Omit<Work, 'name'> {
  const request = requestText('POST', `/v1/auth/${mount}-userpass/login/bench`, 'Host: bench\r\n', JSON.stringify({ password }))
  return { next: () => request }
}

function checkAndSet({ mount, headers, options: { sizeBytes } }: Ground): Omit<Work, 'name'> {
  const value = valueOf(sizeBytes)
  const run = randomInt(2 ** 32)
  const versions: number[] = []
  return {
    next: (at) => {
      const body = JSON.stringify({ options: { cas: versions[at] ?? 0 }, data: { value } })
      return requestText('POST', `/v1/${mount}/data/cas-${run}/c${at}`, headers, body)
    },
    answered: (at, { status, body }) => {
      if (status !== 200) return false
      versions[at] = (JSON.parse(body.toString()) as { data: { version: number } }).data.version
      return true
    },
  }
}

function sizes({ mount, headers }: Ground): Omit<Work, 'name'> {
  const written: number[] = []
  const path = (i: number): string => `/v1/${mount}/data/sizes/s${i}`
  let turn = 0
  return {
    next: () => {
      turn += 1
      const known = written.length
      if (known < sizesSecrets || turn % writeEvery === 0) {
        const i = known < sizesSecrets ? written.push(turn) - 1 : randomInt(sizesSecrets)
        const value = valueOf(2 ** randomInt(sizePowers.lowest, sizePowers.above))
        return requestText('POST', path(i), headers, JSON.stringify({ data: { value } }))
      }
      return requestText('GET', path(randomInt(known)), headers, null)
    },
  }
}
