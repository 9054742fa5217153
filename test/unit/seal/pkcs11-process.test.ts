/**
 * The process that speaks to an HSM, whose library hangs, ends with the node that started it: whenever that is killed. The library is a pipe that nobody
 * writes to: to open it takes for ever.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { isRunning } from '#test/support/processes.ts'
import { until } from '#test/support/server-process.ts'

const child = new URL('../../../src/seal/pkcs11-child.ts', import.meta.url).href
let folder: string
const pids: number[] = []

beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'holdfast-pkcs11-'))))
afterEach(() => {
  for (const pid of pids.splice(0)) if (isRunning(pid)) process.kill(pid, 'SIGKILL')
  rmSync(folder, { recursive: true })
})

/** A node that has asked an HSM, and the process that it asks with, which is stopped before it begins where `stopped`. */
async function asking(stopped: boolean) {
  const library = join(folder, 'libhang.so')
  execFileSync('mkfifo', [library])
  const settings = { library, slot: 0, tokenLabel: null, keyLabel: 'root', keyId: null, mechanism: null, oaepHash: 'sha256' }
  const request = { kind: 'wrap', settings: { ...settings, readWrite: false, generateKey: false } }
  const node = join(folder, 'node.mjs')
  writeFileSync(
    node,
    `import { startPkcs11Process } from ${JSON.stringify(child)}
     const child = startPkcs11Process()
     if (${stopped}) child.kill('SIGSTOP')
     const bytes = { pin: new Uint8Array(4), plaintext: new Uint8Array(32), nonce: new Uint8Array(12), place: new Uint8Array(32) }
     child.send({ ...${JSON.stringify(request)}, ...bytes }, () => console.log(child.pid))
     child.on('exit', (code, signal) => console.log('ended', code, signal))`,
  )
  const started = spawn(process.execPath, [node], { stdio: ['ignore', 'pipe', 'inherit'] })
  const said: string[] = []
  started.stdout.on('data', (text: Buffer) => said.push(text.toString()))
  await once(started.stdout, 'data')
  const held = Number.parseInt(said[0] ?? '', 10)
  pids.push(started.pid as number, held)
  return { held, said, kill: () => (started.kill('SIGKILL'), once(started, 'exit')) }
}

const gone = (pid: number) => until('the process of the HSM to end', async () => (isRunning(pid) ? null : true), 10_000)

test('its library hangs, and the node is killed', async () => {
  const { held, said, kill } = await asking(false)
  // Long enough to have begun, and for the watch to look: as long as the node runs, it stays.
  await delay(2_000)
  expect([isRunning(held), said.length]).toEqual([true, 1])
  await kill()
  await gone(held)
})

test('the node is killed before it has begun: it does not take another for its node, and asks nobody', async () => {
  const { held, kill } = await asking(true)
  await kill()
  process.kill(held, 'SIGCONT')
  await gone(held)
})
