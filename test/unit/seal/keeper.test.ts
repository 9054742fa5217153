import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Logger } from '#base/logger.ts'
import { SealFault } from '#seal/faults.ts'
import { SealKeeper } from '#seal/keeper.ts'
import type { AutoSeal, SealManager } from '#seal/types.ts'
import { standingClock } from '#test/support/open-barrier.ts'

function house() {
  const clock = standingClock()
  const lines: string[] = []
  const calls: string[] = []
  const state = { sealed: true, failing: null as SealFault | null, probeFails: false, outdated: false, leads: false, settleFails: false }
  const note = (level: string) => (_fields: object, message: string) => void lines.push(`${level} ${message}`)
  const log: Logger = { debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error'), child: () => log }
  const seal = {
    get wantsToOpen() {
      return state.sealed
    },
    get outdated() {
      return state.outdated
    },
    status: () => ({ sealed: state.sealed }),
    settleMigration: async () => {
      if (state.settleFails) throw new SealFault('other', 'planted')
    },
    autoUnseal: async () => {
      calls.push(`open ${clock.monotonicMs()}`)
      if (state.failing !== null) throw state.failing
      state.sealed = false
      return true
    },
    rewrap: async () => {
      calls.push('rewrap')
      state.outdated = false
    },
  } as unknown as SealManager
  const autoSeal = {
    probe: async () => {
      calls.push(`probe ${clock.monotonicMs()}`)
      if (state.probeFails) throw new SealFault('network', 'planted')
    },
  } as unknown as AutoSeal
  const status = () => ({ role: state.leads ? 'leader' : 'follower', ready: state.leads })
  const keeper = new SealKeeper({
    seal,
    autoSeal,
    replica: { status } as never,
    clock,
    random: { bytes: (length) => new Uint8Array(length).fill(255) }, // The longest pause.
    log,
  })
  const pass = async (ms: number): Promise<void> => {
    for (let i = 0; i < 4; i++) await turn()
    for (let at = 0; at < ms; at += 500) {
      clock.advance(500)
      for (let i = 0; i < 4; i++) await turn()
    }
  }
  return { keeper, state, lines, calls, pass }
}

test('a seal that is away is asked less and less often, at most every 15 s, and said once; the node opens when it is back', async () => {
  const { keeper, state, lines, calls, pass } = house()
  state.failing = new SealFault('network', 'planted: away')
  keeper.start()
  await pass(89_000)
  const times = calls.map((call) => Number(call.split(' ')[1]))
  expect(times.slice(1).map((at, i) => at - (times[i] ?? 0))).toEqual([1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000, 15_000])
  expect(lines.filter((line) => line.startsWith('error'))).toEqual(['error the seal does not open: this node stays sealed and tries again'])
  state.failing = new SealFault('credentials', 'planted: another cause')
  await pass(15_000)
  expect(lines.filter((line) => line.startsWith('error'))).toHaveLength(2)
  state.failing = null
  await pass(15_500)
  expect([state.sealed, lines.at(-1)]).toEqual([false, 'info the seal opens again'])
  keeper.stop()
})

test('open, it is probed seldom, more often after a failure', async () => {
  const { keeper, state, lines, calls, pass } = house()
  keeper.start()
  await pass(599_000)
  expect(calls).toHaveLength(1)
  state.probeFails = true
  await pass(130_000)
  expect(calls.slice(1)).toEqual(['probe 600000', 'probe 660000', 'probe 720000'])
  expect(lines.filter((line) => line.startsWith('warn'))).toHaveLength(3)
  state.probeFails = false
  await pass(660_000)
  expect(calls.slice(4)).toEqual(['probe 780000', 'probe 1380000'])
  keeper.stop()
  await pass(2_000_000)
  expect(calls).toHaveLength(6)
})

test('what goes wrong besides is tried again, and said, every five seconds at most', async () => {
  const { keeper, state, lines, pass } = house()
  state.settleFails = true
  keeper.start()
  await pass(30_000)
  const warnings = lines.filter((line) => line === 'warn looking after the seal: trying again')
  expect([warnings.length >= 5, warnings.length <= 7]).toEqual([true, true])
  keeper.stop()
})

test('the root key is wrapped anew by the leader only', async () => {
  const { keeper, state, calls, pass } = house()
  state.outdated = true
  keeper.start()
  await pass(5_000)
  expect(calls).not.toContain('rewrap')
  state.leads = true
  await pass(5_000)
  expect(calls.filter((call) => call === 'rewrap')).toHaveLength(1)
  keeper.stop()
})
