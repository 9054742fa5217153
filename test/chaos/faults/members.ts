/** Changes of who is a member and who leads. */
import { until } from '#test/support/server-process.ts'
import { anywhere, nothing, type FaultKind } from './types.ts'

export const leadershipTransfer: FaultKind = {
  name: 'leadership transfer',
  holdMs: [500, 1_500],
  unavailable: anywhere,
  async inject(arena, dice) {
    const through = dice.pick(arena.nodes)
    const answer = await arena.call(through, 'PUT', 'sys/step-down').catch(() => null)
    const said = answer === null ? 'no answer' : `${answer.status} ${JSON.stringify(answer.body?.['errors'] ?? [])}`
    return { on: `asked ${through.id}: ${said}`, heal: nothing }
  },
}

export const replaceMember: FaultKind = {
  name: 'membership change',
  holdMs: [500, 1_500],
  unavailable: anywhere,
  async inject(arena, dice) {
    const node = await arena.victim(dice)
    const member = dice.pick(arena.others(node))
    const removed = node.id
    await until(
      `${removed} to be removed`,
      async () => {
        const answer = await arena.call(member, 'POST', 'sys/storage/raft/remove-peer', { server_id: removed })
        // A first try may have been carried out though its answer was lost.
        return answer.status < 300 || JSON.stringify(answer.body).includes('no member') ? true : null
      },
      30_000,
    )
    await node.end('SIGKILL')
    node.becomeNew()
    return {
      on: `${removed} replaced by ${node.id}`,
      heal: async () => {
        node.start()
        await node.answering()
        await arena.join(node, member)
        await arena.allVote()
      },
    }
  },
}
