/** An engine that lends: credentials of a database that is a Map, made and taken back as a real one would be. Registered in tests only. */
import { HoldfastError } from '#base/errors.ts'
import { aside } from '#core/aside.ts'
import type { EngineDef } from '#core/types.ts'

export interface Lending {
  readonly engine: EngineDef
  /** What is in use outside: user -> how often it was made. */
  readonly users: Map<string, number>
  /** How often each was dropped outside. */
  readonly drops: Map<string, number>
  /** What dropping does instead; null: drops. */
  failing: ((user: string) => Promise<void>) | null
  /** A number that can't be taken back: it fails after its first write. */
  stuck: number | null
}

let serial = 0

/** `creds/NAME` lends a user that lives outside, `counter/NAME` one that is only counted in storage: for exactly-once. */
export function lendingEngine(): Lending {
  const users = new Map<string, number>()
  const drops = new Map<string, number>()
  const lending: Pick<Lending, 'failing' | 'stuck'> = { failing: null, stuck: null }
  const drop = async (user: string): Promise<void> => {
    if (lending.failing) return lending.failing(user)
    drops.set(user, (drops.get(user) ?? 0) + 1)
    users.delete(user)
  }
  const engine: EngineDef = {
    type: 'lending',
    kind: 'secret',
    description: 'lends users of a database of the test',
    paths: () => [
      {
        pattern: 'creds/:name',
        fields: {
          name: { type: 'string', in: 'path', description: 'The role.' },
          ttl: { type: 'duration', in: 'query', description: 'For how long.', default: 0 },
          max_ttl: { type: 'duration', in: 'query', description: 'At most.', default: 0 },
        },
        help: { synopsis: 'A user.', description: 'A user.' },
        operations: {
          read: {
            summary: 'Lend a user',
            writes: true,
            handler: async (context) => {
              const user = `user-${(serial += 1)}`
              await aside(context, 'make', async () => users.set(user, 1))
              const made = [...users.keys()].at(-1)!
              return {
                data: { username: made },
                lease: {
                  type: 'user',
                  internal: { user: made },
                  ttlSeconds: context.fields.ttl as number,
                  maxTtlSeconds: context.fields.max_ttl as number,
                },
              }
            },
          },
        },
      },
      {
        pattern: 'counter/:name',
        fields: {
          name: { type: 'string', in: 'path', description: 'The role.' },
          ttl: { type: 'duration', in: 'query', description: 'For how long.', default: 0 },
        },
        help: { synopsis: 'A number.', description: 'A number.' },
        operations: {
          read: {
            summary: 'Lend a number',
            writes: true,
            handler: async (context) => {
              const made = ((await context.storage.getJson<number>('made')) ?? 0) + 1
              context.storage.putJson('made', made)
              return { data: { made }, lease: { type: 'number', internal: { made }, ttlSeconds: context.fields.ttl as number } }
            },
          },
        },
      },
    ],
    leases: {
      user: {
        revoke: async (call) => {
          const user = String(call.internal.user)
          await aside(call, 'drop', () => drop(user))
        },
        renew: async (call) => {
          if (!users.has(String(call.internal.user))) throw new HoldfastError('ERR_BAD_REQUEST', 'the user is gone')
          return null
        },
      },
      number: {
        revoke: async (call) => {
          const key = `ended/${String(call.internal.made)}`
          call.storage.putJson(key, ((await call.storage.getJson<number>(key)) ?? 0) + 1)
          if (call.internal.made === lending.stuck) throw new HoldfastError('ERR_BAD_REQUEST', 'the number is stuck')
        },
      },
    },
  }
  return {
    engine,
    users,
    drops,
    get failing() {
      return lending.failing
    },
    set failing(value) {
      lending.failing = value
    },
    get stuck() {
      return lending.stuck
    },
    set stuck(value) {
      lending.stuck = value
    },
  }
}
