/**
 * A flood of requests that each cost the server much and that anyone may send: logins by password, where such a method is mounted, else unseal
 * attempts, wrong tokens and bodies that must be parsed.
 */
import { Pool } from 'undici'
import { anywhere, type FaultKind } from './types.ts'

const atOnce = 64
const wrongToken = 'hvs.0000000000000000000000000000000000000000'

export const flood: FaultKind = {
  name: 'flood of logins',
  holdMs: [3_000, 6_000],
  unavailable: anywhere,
  async inject(arena, dice) {
    const node = await arena.victim(dice)
    const hasLogins = (await arena.call(node, 'GET', 'sys/auth').catch(() => null))?.body?.['userpass/'] !== undefined
    const pool = new Pool(node.apiAddress, { connections: atOnce, pipelining: 1 })
    let stopped = false
    let sent = 0
    const attacker = async (id: number): Promise<void> => {
      while (!stopped) {
        sent += 1
        const [method, path, body] = hasLogins ? login(id) : cheap(sent)
        try {
          const answer = await pool.request({
            method,
            path,
            body,
            headers: { 'x-vault-token': wrongToken, 'content-type': 'application/json' },
            signal: AbortSignal.timeout(5_000),
          })
          await answer.body.dump()
        } catch {
          // Refused, or too slow: that is what it is for.
        }
      }
    }
    const attackers = Promise.all(Array.from({ length: atOnce }, (_, id) => attacker(id)))
    return {
      on: `${node.id}, ${hasLogins ? 'passwords' : 'unauthenticated requests'}`,
      async heal() {
        stopped = true
        await attackers
        await pool.destroy()
      },
    }
  },
}

type Shot = readonly ['POST' | 'GET', string, string | null]

function login(id: number): Shot {
  // A user that exists costs a hash; one that does not must cost the same.
  return ['POST', `/v1/auth/userpass/login/${id % 2 === 0 ? 'chaos' : `nobody${id}`}`, JSON.stringify({ password: `wrong-${id}` })]
}

function cheap(n: number): Shot {
  if (n % 3 === 0) return ['POST', '/v1/secret/data/flood', JSON.stringify({ data: { value: 'x'.repeat(50_000) } })]
  if (n % 3 === 1) return ['GET', '/v1/auth/token/lookup-self', null]
  return ['POST', '/v1/sys/wrapping/unwrap', JSON.stringify({ token: wrongToken })]
}
