/** A member that is dead for long, on real processes: it is removed. The shortest time that may be set is a minute, so this takes two and a half. */
import { afterEach, expect, test } from 'vitest'
import type { Answer } from '#cmd/dev/api.ts'
import { House } from '#test/support/house.ts'
import { unseal, until } from '#test/support/server-process.ts'

const house = new House()
afterEach(() => house.end())

test('a member that is dead for long is removed, never below the safe number; when it comes back, it is told so', async () => {
  const made = await house.raise(['a', 'b', 'c', 'd'])
  const a = made.at('a')
  const configure = (more: object): Promise<Answer> => made.call(a, 'POST', 'sys/storage/raft/autopilot/configuration', more)
  const short = { cleanup_dead_servers: true, dead_server_last_contact_threshold: '60s', last_contact_threshold: '2s', min_quorum: 3 }
  expect((await configure({ ...short, dead_server_last_contact_threshold: '59s' })).status).toBe(400)
  expect((await configure(short)).status).toBe(204)
  await made.at('d').stop('SIGKILL')
  await until('the removal of d', async () => ((await made.members(a)).join() === 'a*,b*,c*' ? true : null), 110_000)
  expect(['a', 'b', 'c'].map((id) => made.at(id).log()).join('')).toContain('removed a dead member')

  // It comes back: it gets no say, is refused under its old id, and says so.
  const d = made.at('d')
  await d.startAndAnswer()
  await unseal(d, made.founded)
  await until('its health to say so', async () => ((await d.call('GET', 'sys/health?standbyok=true')).status === 200 ? null : true), 20_000)
  expect(await made.members(a)).toEqual(['a*', 'b*', 'c*'])
  expect(await made.put(a, 'k', 'still')).toBe(200)

  // Three voters are left, and the rule is three: the next dead one stays.
  await made.at('c').stop('SIGKILL')
  const before = performance.now()
  while (performance.now() - before < 75_000) {
    expect(await made.members(a)).toEqual(['a*', 'b*', 'c*'])
    await new Promise((resolve) => setTimeout(resolve, 2_000))
  }
  expect(await made.put(a, 'k', 'safe')).toBe(200)
})
