import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { MessageType } from '#raft/index.ts'
import { read, TestCluster, write } from './cluster.ts'

let cluster: TestCluster
beforeEach(() => {
  cluster = new TestCluster()
})
afterEach(() => cluster.end())

/** Takes the newest `count` entries off a stopped node's log, and forgets that they were acknowledged, as rot in both would. */
async function loseEnd(id: string, count: number): Promise<void> {
  const level = new ClassicLevel<Uint8Array, Uint8Array>(join(cluster.folder, id, 'log'), { keyEncoding: 'view', valueEncoding: 'view' })
  await level.open()
  const keys = (await level.keys().all()).filter((key) => key.length === 8)
  for (const key of keys.slice(-count)) await level.del(key)
  await level.close()
  rmSync(join(cluster.folder, id, 'acknowledged'))
}

test(
  'a node that lost entries which it had acknowledged has no say until it has them again, comes back by itself, and votes again',
  { timeout: 120_000 },
  async () => {
    const [a] = await cluster.grow('a', 'b', 'c')
    cluster.cut.add('c')
    for (let at = 0; at < 5; at += 1) await write(a!, { [`k${at}`]: 'kept' })
    await cluster.kill('b')
    await loseEnd('b', 5)
    cluster.cut.delete('c')
    let fenced = true
    let spoke = 0
    cluster.onSend = (from, { type, reject }) => {
      const says = type === MessageType.vote || type === MessageType.preVote
      const grants = (type === MessageType.voteReply || type === MessageType.preVoteReply) && reject !== true
      if (from === 'b' && fenced && (says || grants)) spoke += 1
    }
    cluster.cut.add('a')
    // It would win the vote of the other, whose log is no longer than what is left of its own.
    const b = await cluster.start('b')
    expect(b.status().logRepair).toContain('acknowledged')
    // Only c is there, which lacks the five: both together would be a majority, and must not become one.
    const until = Date.now() + 1_500
    while (Date.now() < until) {
      expect(b.status().role).toBe('follower')
      expect(cluster.node('c').status().role).not.toBe('leader')
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    expect(spoke).toBe(0)
    fenced = false
    cluster.cut.delete('a')
    await expect.poll(() => b.status().logRepair, { timeout: 10_000, interval: 20 }).toBeNull()
    for (let at = 0; at < 5; at += 1) expect(await read(b, `k${at}`)).toBe('kept')
    await cluster.kill('c')
    const leader = await cluster.leader()
    await write(leader, { after: '1' })
    expect(await read(b, 'after')).toBe('1')
  },
)
