/** Disks that lose power, fail to sync, are full or slow. */
import { spawn, type ChildProcess } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import type { ChaosNode } from '../node.ts'
import { nothing, type FaultKind } from './types.ts'

export const powerCut: FaultKind = {
  name: 'power cut',
  holdMs: [300, 2_000],
  unavailable: (machine) => machine.powerCut,
  async inject(arena, dice) {
    // One, or all of them: then whatever was acknowledged lies on disks that have just lost what was not fsynced.
    const victims = dice.chance(0.3) ? arena.nodes : [await arena.victim(dice)]
    await Promise.all(victims.map((node) => node.end('SIGKILL')))
    for (const node of victims) await node.disk.powerCut()
    return { on: victims.map(({ id }) => id).join(', '), heal: nothing }
  },
}

export const fullDisk: FaultKind = {
  name: 'full disk',
  holdMs: [2_000, 4_000],
  unavailable: (machine) => machine.mounts,
  async inject(arena, dice) {
    const node = await arena.victim(dice)
    node.mayEnd = true
    const empty = await node.disk.fill()
    return {
      on: node.id,
      async heal() {
        empty()
        // It has had a write fail: nothing but a restart makes it trust its disk again.
        await node.end('SIGKILL')
      },
    }
  },
}

const syncs = 'fsync,fdatasync,sync_file_range,msync'

/** Strace on all threads of the node, as long as it runs. */
async function tamper(node: ChaosNode, injection: string): Promise<ChildProcess> {
  const tracer = spawn(
    'strace',
    ['-f', '-q', '-o', '/dev/null', '-e', `trace=${syncs}`, '-e', `inject=${syncs}:${injection}`, '-p', String(node.pid)],
    {
      stdio: 'ignore',
      detached: true,
    },
  )
  node.owe(tracer.pid ?? 0)
  await delay(300) // It attaches to some twenty threads.
  if (tracer.exitCode !== null) throw new Error(`expected strace to attach to ${node.id}, got exit code ${tracer.exitCode}`)
  return tracer
}

async function letGo(tracer: ChildProcess): Promise<void> {
  if (tracer.exitCode !== null || tracer.signalCode !== null) return
  const ended = new Promise((resolve) => tracer.once('exit', resolve))
  tracer.kill('SIGINT')
  await ended
}

export const fsyncFails: FaultKind = {
  name: 'fsync EIO',
  holdMs: [2_000, 4_000],
  unavailable: (machine) => machine.strace,
  async inject(arena, dice) {
    const node = await arena.victim(dice)
    node.mayEnd = true
    const tracer = await tamper(node, 'error=EIO')
    return {
      on: node.id,
      async heal() {
        await letGo(tracer)
        await node.end('SIGKILL')
      },
    }
  },
}

export const slowDisk: FaultKind = {
  name: 'slow disk',
  holdMs: [3_000, 6_000],
  unavailable: (machine) => machine.strace,
  async inject(arena, dice) {
    const node = await arena.victim(dice)
    const delayMs = dice.between(20, 600)
    const tracer = await tamper(node, `delay_enter=${delayMs * 1_000}`)
    return { on: `${node.id}, ${delayMs} ms a sync`, heal: () => letGo(tracer) }
  },
}
