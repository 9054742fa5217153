import { afterEach, describe, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import { silentLogger } from '#base/logger.ts'
import { Addresses, addressKind } from '#node/addresses.ts'
import type { Member, ReplicaStatus } from '#replica/types.ts'

const member = (id: string, clusterAddress = `${id}:1`): Member => ({
  id,
  clusterAddress,
  apiAddress: `http://${clusterAddress}`,
  fingerprint: `print-${id}`,
  voter: true,
})
const announcement = (clusterAddress: unknown, apiAddress: unknown = 'http://x:1', version = 1): Uint8Array =>
  Buffer.from(JSON.stringify({ version, cluster_address: clusterAddress, api_address: apiAddress }))

const made: Addresses[] = []
afterEach(() => {
  for (const addresses of made.splice(0)) addresses.stop()
})

/** One node's addresses over a transport and a replica that only note what is asked of them. */
function house(self: Member, members: readonly Member[], leads = false, answers: Record<string, Uint8Array> = {}) {
  const told = { peers: [] as string[], requests: [] as string[], updates: [] as Member[] }
  const state = { members, refuses: false }
  const addresses = new Addresses({
    self,
    clock: systemClock,
    log: silentLogger,
    transport: {
      send: () => {},
      sendSnapshot: async () => {},
      lastContactMs: () => null,
      setPeers: (peers) => {
        told.peers = peers.map(({ id, clusterAddress }) => `${id}=${clusterAddress}`)
      },
      request: async (to, kind, body) => {
        told.requests.push(`${to} ${kind} ${Buffer.from(body).toString()}`)
        const answer = answers[to]
        if (answer === undefined) throw new HoldfastError('ERR_UPSTREAM', 'down')
        return answer
      },
    },
  })
  made.push(addresses)
  addresses.peers.setPeers(members)
  addresses.start({
    status: () => ({ role: leads ? 'leader' : 'follower', members: state.members }) as ReplicaStatus,
    updateMember: async (updated) => {
      if (state.refuses) throw new HoldfastError('ERR_NOT_LEADER', 'sealed')
      told.updates.push(updated)
      state.members = state.members.map((each) => (each.id === updated.id ? updated : each))
    },
  })
  return { addresses, told, state }
}

const members = [member('a'), member('b'), member('c')]

describe('who hears an announcement', () => {
  test('reaches the node there from now on, until the membership says something else', async () => {
    const { addresses, told } = house(member('a'), members)
    await addresses.answer('b', announcement('b:9'))
    expect(told.peers).toEqual(['a=a:1', 'b=b:9', 'c=c:1'])
    addresses.peers.setPeers(members) // Named anew, as it was: the announcement stands.
    expect(told.peers).toContain('b=b:9')
    addresses.peers.setPeers([member('a'), member('b', 'b:7'), member('c')])
    expect(told.peers).toContain('b=b:7')
    addresses.peers.setPeers(members)
    expect(told.peers).toContain('b=b:1')
    expect(told.updates).toEqual([])
  })

  test('puts it into the membership if it leads, once; one that can not write now has it announced again', async () => {
    const { addresses, told, state } = house(member('a'), members, true)
    state.refuses = true
    await addresses.answer('b', announcement('b:9', 'http://b:8'))
    expect(told.updates).toEqual([])
    state.refuses = false
    await addresses.answer('b', announcement('b:9', 'http://b:8'))
    await addresses.answer('b', announcement('b:9', 'http://b:8'))
    expect(told.updates).toEqual([{ ...member('b'), clusterAddress: 'b:9', apiAddress: 'http://b:8' }])
  })

  test('answers with those who announced before, and believes a stranger nothing', async () => {
    const { addresses, told } = house(member('a'), members, true)
    await addresses.answer('stranger', announcement('s:1'))
    await addresses.answer('b', announcement('b:9'))
    const answer = await addresses.answer('c', announcement('c:1'))
    expect(JSON.parse(Buffer.from(answer).toString())).toEqual({ version: 1, moved: [['b', 'b:9']] })
    expect(told.peers).toEqual(['a=a:1', 'b=b:9', 'c=c:1'])
    expect(told.updates.map(({ id }) => id)).toEqual(['b', 'c'])
  })

  test.each([
    ['no address', announcement(5)],
    ['no host and port', announcement('b')],
    ['another version', announcement('b:9', 'http://x:1', 2)],
    ['no API address', announcement('b:9', null)],
    ['no JSON', Buffer.from('{')],
    ['no object', Buffer.from('null')],
    ['too much', Buffer.alloc(200_000, 0x20)],
  ])('refuses what is malformed: %s', async (_what, body) => {
    const { addresses, told } = house(member('a'), members, true)
    await expect(addresses.answer('b', body)).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST' })
    expect(told.peers).toEqual(['a=a:1', 'b=b:1', 'c=c:1'])
  })
})

describe('a node that has moved', () => {
  test('tells every other member, takes in who else has moved, and ends once it is recorded', async () => {
    const answer = Buffer.from(
      JSON.stringify({
        version: 1,
        moved: [
          ['c', 'c:9'],
          ['a', 'a:3'],
          ['stranger', 's:1'],
        ],
      }),
    )
    const { told, state } = house(member('a', 'a:9'), members, false, { b: answer })
    await expect.poll(() => told.peers, { timeout: 2_000 }).toContain('c=c:9')
    expect(told.peers).toEqual(['a=a:1', 'b=b:1', 'c=c:9']) // Nobody tells it where it is itself.
    expect(told.requests.map((each) => each.split(' ').slice(0, 2))).toEqual([
      ['b', addressKind],
      ['c', addressKind],
    ])
    expect(told.requests[0]).toContain('"cluster_address":"a:9","api_address":"http://a:9"')
    await expect.poll(() => told.requests.length, { timeout: 3_000 }).toBe(4) // c was down: both are told again.
    state.members = [member('a', 'a:9'), member('b'), member('c')]
    await new Promise((resolve) => setTimeout(resolve, 1_300))
    expect(told.requests.length).toBe(4)
  })

  test('records itself if it leads; one that stands where it should says nothing', async () => {
    const leader = house(member('a', 'a:9'), members, true)
    await expect.poll(() => leader.told.updates, { timeout: 2_000 }).toEqual([{ ...member('a', 'a:9') }])
    const quiet = house(member('a'), members, true)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect([quiet.told.requests, quiet.told.updates]).toEqual([[], []])
  })
})
