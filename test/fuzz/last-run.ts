/** What ends things: a token's own end, a leader that steps down, a node that seals itself. On a cluster of three that has nothing else to do. */
import { Agent } from 'undici'
import type { Judge } from './judge.ts'
import { startCluster, waitForLeader } from '#test/support/cluster.ts'

export interface Ending {
  readonly what: string
  readonly status: number
}

export async function lastRun(judge: Judge): Promise<Ending[]> {
  const running = await startCluster({ nodes: 3 })
  const { cluster } = running
  const agent = new Agent()
  const endings: Ending[] = []
  const ask = async (path: string, token: string, body: object = {}): Promise<{ status: number; text: string }> => {
    const { apiAddress } = await waitForLeader(cluster)
    const answer = await agent.request({
      origin: apiAddress,
      path: `/v1/${path}`,
      method: 'POST',
      headers: { 'x-vault-token': token },
      body: JSON.stringify(body),
    })
    return { status: answer.statusCode, text: await answer.body.text() }
  }
  const ending = async (what: string, token: string): Promise<void> => {
    const { status, text } = await ask(what, token)
    endings.push({ what, status })
    judge.note(`POST /${what}`, { status, text }, { path: what })
  }
  try {
    const made = JSON.parse((await ask('auth/token/create', cluster.rootToken, { ttl: '1h' })).text) as { auth: { client_token: string } }
    await ending('auth/token/revoke-self', made.auth.client_token)
    await ending('sys/step-down', cluster.rootToken)
    await waitForLeader(cluster)
    await ending('sys/seal', cluster.rootToken)
    return endings
  } finally {
    await agent.destroy()
    await running.dispose()
  }
}
