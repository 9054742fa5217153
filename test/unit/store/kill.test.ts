import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import { temporaryFolder, text } from './helpers.ts'

const clusterId = 'cluster-1'

/** Runs the child for `ms`, kills it with -9, and returns the last term and index that it acknowledged. */
async function runAndKill(directory: string, ms: number): Promise<{ term: number; index: number }> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.resolve('./kill-child.ts')), directory, clusterId], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    if (output === '') setTimeout(() => child.kill('SIGKILL'), ms)
    output += chunk.toString()
  })
  await new Promise((resolve) => child.on('exit', resolve))
  const whole = output.slice(0, output.lastIndexOf('\n'))
  const last = (word: string): number => Number([...whole.matchAll(new RegExp(`^${word} (\\d+)$`, 'gm'))].at(-1)?.[1] ?? 0)
  return { term: last('term'), index: last('index') }
}

test('kill -9 at any moment loses nothing that was acknowledged, and applies nothing twice', async () => {
  const directory = temporaryFolder()
  let reached = 0
  for (const ms of [20, 55, 90, 35]) {
    const acknowledged = await runAndKill(directory, ms)
    const log = await openLogStore({ directory, clusterId })
    const state = await openStateStore({ directory, clusterId })
    expect(acknowledged.index).toBeGreaterThan(reached)
    expect(log.lastIndex()).toBeGreaterThanOrEqual(acknowledged.index)
    expect(log.hardState.term).toBeGreaterThanOrEqual(acknowledged.term)
    expect(state.meta.applied).toBeGreaterThanOrEqual(acknowledged.index)
    const view = state.view()
    expect(text(view.get(Buffer.from('\x10applied')))).toBe(String(state.meta.applied))
    view.release()
    for (const { index, term, data } of log.entries(log.firstIndex(), log.lastIndex() + 1, Infinity) ?? []) {
      expect(text(data)).toBe(`entry ${index} of ${term}`)
    }
    reached = acknowledged.index
    await state.close()
    await log.close()
  }
})
