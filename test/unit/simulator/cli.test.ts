/** What a run leaves behind: the report, the picture of a failing history, and the exit code. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { runSimulator } from '#test/sim/cli.ts'
import { runSeed } from '#test/sim/cluster/world.ts'
import type { Result, Simulator } from '#test/sim/result.ts'
import { missingKinds, seedsForEveryKind } from '#test/sim/summary.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-sim-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const rows = { weather: ['rain', 'snow'] }
const result: Result = {
  seed: 1,
  failure: null,
  faults: { rain: 2 },
  operations: 3,
  traceHash: 'a1',
  recoveryTicks: 4,
  picture: null,
}

function simulator(outcome: (seed: number) => Partial<Result>): Simulator {
  return { program: 'test/sim/none.ts', ticks: 10, rows, runSeed: (seed) => ({ ...result, seed, ...outcome(seed) }) }
}

/** Runs the command line and returns its code and what it printed. */
async function run(target: Simulator, ...args: string[]): Promise<{ code: number; printed: string }> {
  let printed = ''
  const take = (text: string | Uint8Array): boolean => {
    printed += String(text)
    return true
  }
  const spies = [vi.spyOn(process.stdout, 'write').mockImplementation(take), vi.spyOn(process.stderr, 'write').mockImplementation(take)]
  try {
    return { code: await runSimulator(target, args), printed }
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}

test('the report has seeds, ticks, failures, faults, operations and seconds', async () => {
  const json = join(folder, 'report.json')
  const { code } = await run(
    simulator((seed) => ({ failure: seed === 5 ? 'broken' : null })),
    '--seeds',
    '3',
    '--seed',
    '4',
    '--json',
    json,
  )
  expect(code).toBe(1)
  const report = JSON.parse(readFileSync(json, 'utf8')) as { seconds: number }
  expect(report).toMatchObject({ seeds: 3, ticks: 10, failed: [5], faults: { rain: 6 }, operations: 9 })
  expect(report.seconds).toBeTypeOf('number')
})

test('a run that is long enough fails for a kind of fault that never happened', async () => {
  expect(missingKinds({ seeds: seedsForEveryKind - 1, faults: {} }, rows)).toEqual([])
  expect(missingKinds({ seeds: seedsForEveryKind, faults: { rain: 1 } }, rows)).toEqual(['snow'])
  const short = await run(
    simulator(() => ({})),
    '--seeds',
    '10',
  )
  expect(short.code).toBe(0)
  const long = await run(
    simulator(() => ({})),
    '--seeds',
    String(seedsForEveryKind),
  )
  expect(long.code).toBe(1)
  expect(long.printed).toContain('never happened in 1000 seeds: snow')
  const whole = simulator(() => ({ faults: { rain: 1, snow: 1 } }))
  expect((await run(whole, '--seeds', String(seedsForEveryKind))).code).toBe(0)
})

test('a wrong call says what was expected, and exits 2', async () => {
  const none = simulator(() => ({}))
  expect(await run(none, '--seeds', 'many')).toEqual({ code: 2, printed: "error: --seeds expected a whole number, got 'many'\n" })
  expect((await run(none, '--sedes', '1')).code).toBe(2)
})

test('a history that is no history of a register fails, with its picture in a file that the output names', async () => {
  const planted: Simulator = {
    ...simulator(() => ({})),
    runSeed: (seed, ticks, trace) =>
      runSeed(seed, ticks, trace, (clients) => {
        const recorder = clients?.recorder
        const id = recorder?.call({ client: 'planted', key: 'a', kind: 'get', input: null }) ?? 0
        recorder?.returned(id, { version: 1_000_000, value: 'never written' })
      }),
  }
  const { code, printed } = await run(planted, '--seeds', '1', '--seed', '7', '--ticks', '200', '--pictures', folder)
  expect(code).toBe(1)
  expect(printed).toMatch(/^seed 7 failed: linearizability: violation/)
  expect(printed).toContain('replay: node test/sim/none.ts --seeds 1 --seed 7 --ticks 200 --trace')
  const [, path = ''] = /^picture: (.*)$/m.exec(printed) ?? []
  expect(path).toBe(join(folder, 'seed-7.html'))
  const page = readFileSync(path, 'utf8')
  expect(page).toContain('<svg')
  expect(page).toContain('never written')
})

test('a trace comes with a picture, clean or not; a clean seed without one writes none', async () => {
  const lines: string[] = []
  expect((await runSeed(7, 200, (line) => lines.push(line))).picture).toContain('linearizable')
  expect(lines.length).toBeGreaterThan(50)
  expect((await runSeed(7, 200)).picture).toBeNull()
})
