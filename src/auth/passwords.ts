/**
 * Passwords as they are stored, and checking them. New ones are Argon2id; bcrypt hashes that users bring along are checked as they are.
 *
 * Every check costs tens of milliseconds of a thread that consensus shares (libuv's pool) and of a processor, and anyone may ask for one: so all go
 * through one bounded queue, off the event loop. A name that no account has is checked against a hash that nobody's password fits, with the parameters
 * that new hashes get, in the same queue: it answers after the same time.
 */
import { argon2, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { parseOptions, verify as verifyBcrypt } from '@node-rs/bcrypt'
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { WorkQueue } from '#base/work-queue.ts'

export interface Argon2Cost {
  readonly memoryKib: number
  readonly passes: number
  readonly parallelism: number
}

/** What OWASP asks of Argon2id at least. */
export const argon2Cost: Argon2Cost = { memoryKib: 19_456, passes: 2, parallelism: 1 }

export type StoredPassword =
  | ({ readonly kind: 'argon2id'; readonly salt: string; readonly hash: string } & Argon2Cost)
  | { readonly kind: 'bcrypt'; readonly hash: string }

export interface PasswordHasher {
  /** @throws ERR_RATE_LIMITED when too many wait; ERR_BAD_REQUEST for a password that is empty or too long. */
  hash(password: string): Promise<StoredPassword>
  /**
   * Whether the password is the stored one. `stored` null: there is no such account; false, after as long as checking what `hash` makes would take.
   * @throws as `hash`.
   */
  verify(password: string, stored: StoredPassword | null): Promise<boolean>
  /** For metrics. */
  readonly queue: Pick<WorkQueue, 'running' | 'waiting' | 'refused'>
}

export interface PasswordHasherOptions {
  readonly clock: Clock
  readonly random: RandomSource
  /** Hashes at a time; each takes a thread of libuv's pool and `memoryKib`. */
  readonly atOnceMax: number
  readonly waitingMax?: number
  readonly waitMsMax?: number
  readonly cost?: Argon2Cost
}

const saltBytes = 16
const hashBytes = 32
const passwordBytesMax = 4_096
/** Each step doubles the time; 14 takes about a second. */
const bcryptCostMax = 14
const defaults = { waitingMax: 64, waitMsMax: 10_000 } as const

const runArgon2 = promisify(argon2)

function derive(password: string, salt: Uint8Array, { memoryKib, passes, parallelism }: Argon2Cost): Promise<Buffer> {
  const parameters = { message: password, nonce: salt, memory: memoryKib, passes, parallelism, tagLength: hashBytes }
  return runArgon2('argon2id', parameters)
}

/** One a node. */
export function createPasswordHasher(options: PasswordHasherOptions): PasswordHasher {
  const { clock, random, atOnceMax, cost = argon2Cost } = options
  const { waitingMax, waitMsMax } = { ...defaults, ...options }
  const queue = new WorkQueue({ what: 'password checks', clock, atOnceMax, waitingMax, waitMsMax })
  const nobody: StoredPassword = argonOf(random.bytes(saltBytes), random.bytes(hashBytes), cost)
  return {
    queue,
    hash(password) {
      checkLength(password)
      const salt = random.bytes(saltBytes)
      return queue.run(async () => argonOf(salt, await derive(password, salt, cost), cost))
    },
    verify(password, stored) {
      checkLength(password)
      return queue.run(async () => {
        const fits = await matches(password, stored ?? nobody)
        return fits && stored !== null
      })
    },
  }
}

const argonOf = (salt: Uint8Array, hash: Uint8Array, cost: Argon2Cost): StoredPassword => ({
  kind: 'argon2id',
  ...cost,
  salt: Buffer.from(salt).toString('base64'),
  hash: Buffer.from(hash).toString('base64'),
})

async function matches(password: string, stored: StoredPassword): Promise<boolean> {
  if (stored.kind === 'bcrypt') return verifyBcrypt(password, stored.hash)
  const expected = Buffer.from(stored.hash, 'base64')
  const derived = await derive(password, Buffer.from(stored.salt, 'base64'), stored)
  return derived.length === expected.length && timingSafeEqual(derived, expected)
}

function checkLength(password: string): void {
  const bytes = Buffer.byteLength(password)
  if (bytes > passwordBytesMax) {
    throw new HoldfastError('ERR_BAD_REQUEST', `password expected at most ${passwordBytesMax} bytes, got ${bytes}`)
  }
}

/** A hash that a user brings along. @throws ERR_BAD_REQUEST when it is no bcrypt hash, or one that would take too long to check. */
export function bcryptHash(text: string): StoredPassword {
  const shape = /^\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}$/.test(text)
  const cost = shape ? parseOptions(text).cost : 0
  if (cost === 0) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'password_hash expected a bcrypt hash ($2a$, $2b$ or $2y$), got something else', {
      hint: 'for a password in the clear use the field password',
    })
  }
  if (cost > bcryptCostMax)
    throw new HoldfastError('ERR_BAD_REQUEST', `password_hash expected a cost of at most ${bcryptCostMax}, got ${cost}`)
  return { kind: 'bcrypt', hash: text }
}
