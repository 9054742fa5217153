/**
 * Authorization codes: good once, for a minute, for one client, provider and address.
 *
 * They lie in the replicated state, by the hash of their secret, and are deleted in the transaction that redeems them: of two nodes, or two requests, one
 * gets tokens and the other finds nothing. (Kept in a leader's memory they would be lost with it, and good twice where two believe they lead.) By the
 * minute in which they end, so that the sweep opens none; by person within it, so that nobody's flood keeps others from signing in.
 */
import { createHash } from 'node:crypto'
import { randomBase62, type RandomSource } from '#base/random.ts'
import type { MountStorage } from '#core/types.ts'
import { readRecord, writeRecord } from '../records.ts'
import { Fault } from './faults.ts'
import type { Challenge } from './pkce.ts'

const codeMs = 60_000
const minuteMs = 60_000
const secretChars = 43
/** Of one person, that end in one minute. */
const codesOfOneMax = 32
const sweptPerPassMax = 2_048
const folder = 'oidc/codes'

export interface Authorization {
  readonly clientId: string
  readonly provider: string
  readonly redirectUri: string
  readonly entityId: string
  readonly scopes: readonly string[]
  /** '': none was sent. */
  readonly nonce: string
  /** When the person's own token was made. */
  readonly authTimeMs: number
  readonly challenge: Challenge | null
}

interface Stored extends Authorization {
  readonly untilMs: number
}

const what = 'an authorization code of the OpenID provider'
const digest = (text: string): string => createHash('sha256').update(text).digest('hex')

/** A code for what was asked. @throws Fault where the person has as many as anybody may. */
export async function makeCode(storage: MountStorage, random: RandomSource, asked: Authorization, nowMs: number): Promise<string> {
  const untilMs = nowMs + codeMs
  const place = `${Math.ceil(untilMs / minuteMs).toString(36)}/${digest(asked.entityId).slice(0, 16)}`
  if ((await storage.list(`${folder}/${place}`, { limit: codesOfOneMax })).length >= codesOfOneMax)
    throw new Fault('temporarily_unavailable', `expected at most ${codesOfOneMax} codes of one person that are not redeemed yet`)
  const secret = randomBase62(random, secretChars)
  writeRecord(storage, `${folder}/${place}/${digest(secret)}`, { ...asked, untilMs } satisfies Stored)
  return `${place.replace('/', '-')}-${secret}`
}

/** What `code` stands for, and it is spent. null: it is none, or none any more. */
export async function takeCode(storage: MountStorage, code: string, nowMs: number): Promise<Authorization | null> {
  const [, minute, person, secret] = /^([0-9a-z]{1,8})-([0-9a-f]{16})-([0-9A-Za-z]{43})$/.exec(code) ?? []
  if (secret === undefined) return null
  const path = `${folder}/${minute}/${person}/${digest(secret)}`
  const found = await readRecord<Stored>(storage, path, what)
  if (found === null) return null
  storage.delete(path)
  return found.untilMs > nowMs ? found : null
}

/** A pass of the leader's job: minutes that are over go, with what was never redeemed. */
export async function dropCodes(storage: MountStorage, nowMs: number): Promise<void> {
  const minuteNow = Math.floor(nowMs / minuteMs)
  let left = sweptPerPassMax
  for (const name of await storage.list(folder)) {
    const minute = Number.parseInt(name, 36)
    if (left > 0 && minute <= minuteNow) left -= await storage.deleteTree(`${folder}/${name.replace(/\/$/, '')}`, left)
  }
}
