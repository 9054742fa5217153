/**
 * The disk of one node: a plain folder, a small tmpfs, or ext4 on a loop device over a writeback cache that a power cut can empty
 * (nbdkit's cache filter -> nbdfuse -> loop): killing nbdkit loses exactly what was not fsynced.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, statfsSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { run, succeeds } from './command.ts'
import type { Janitor } from './janitor.ts'

export type DiskKind = 'folder' | 'tmpfs' | 'power'

const tmpfsMegabytes = 512
const powerMegabytes = 2_048
const chunkBytes = 1_048_576

export class Disk {
  readonly kind: DiskKind
  readonly path: string
  readonly #dir: string
  readonly #janitor: Janitor
  #power: Power | null = null

  private constructor(kind: DiskKind, dir: string, janitor: Janitor) {
    this.kind = kind
    this.#dir = dir
    this.#janitor = janitor
    this.path = join(dir, 'disk')
  }

  /** `dir`: the disk's own folder; made here. */
  static async make(kind: DiskKind, dir: string, janitor: Janitor): Promise<Disk> {
    const disk = new Disk(kind, dir, janitor)
    mkdirSync(disk.path, { recursive: true })
    if (kind !== 'folder') janitor.owe({ command: ['umount', '-l', disk.path] })
    if (kind === 'tmpfs') run('mount', '-t', 'tmpfs', '-o', `size=${tmpfsMegabytes}m`, 'holdfast-chaos', disk.path)
    if (kind === 'power') {
      writeFileSync(disk.#image, '')
      truncateSync(disk.#image, powerMegabytes * 1_048_576)
      await disk.#plugIn({ format: true })
    }
    return disk
  }

  /** Loses everything that was not fsynced, and comes back. The node must be dead. */
  async powerCut(): Promise<void> {
    const power = this.#power
    if (power === null) throw new Error('expected a disk that can lose power')
    await power.cut()
    succeeds('umount', '-l', this.path)
    power.unplug()
    this.#power = null
    await this.#plugIn({ format: false })
  }

  /** Takes all free space. Returns what gives it back. */
  async fill(): Promise<() => void> {
    const filler = join(this.path, 'filler')
    const file = await open(filler, 'w')
    try {
      const { bavail, bsize } = statfsSync(this.path)
      // Reserved, not written, where the file system can; the rest byte by byte, until nothing fits any more.
      succeeds('fallocate', '-l', String(Math.max(chunkBytes, bavail * bsize - 2 * chunkBytes)), filler)
      const chunk = Buffer.alloc(65_536)
      let at = (await file.stat()).size
      for (let bytes = chunk.length; bytes >= 1;) {
        try {
          at += (await file.write(chunk, 0, bytes, at)).bytesWritten
        } catch {
          bytes = Math.floor(bytes / 2)
        }
      }
    } finally {
      await file.close()
    }
    return () => rmSync(filler, { force: true })
  }

  get #image(): string {
    return join(this.#dir, 'image')
  }

  async #plugIn({ format }: { format: boolean }): Promise<void> {
    const power = await Power.on(this.#dir, this.#image, this.#janitor)
    this.#power = power
    if (format) run('mkfs.ext4', '-q', power.device)
    run('mount', power.device, this.path)
  }
}

/** One life of the stack below the file system, from plugging in to the cut. */
class Power {
  readonly device: string
  readonly #kit: ChildProcess
  readonly #fuse: ChildProcess
  readonly #fuseDir: string
  readonly #janitor: Janitor
  readonly #owed: readonly number[]

  private constructor(parts: {
    device: string
    kit: ChildProcess
    fuse: ChildProcess
    fuseDir: string
    janitor: Janitor
    owed: readonly number[]
  }) {
    this.device = parts.device
    this.#kit = parts.kit
    this.#fuse = parts.fuse
    this.#fuseDir = parts.fuseDir
    this.#janitor = parts.janitor
    this.#owed = parts.owed
  }

  static async on(dir: string, image: string, janitor: Janitor): Promise<Power> {
    const socket = join(dir, 'nbd.sock')
    const fuseDir = join(dir, 'fuse')
    const seen = join(fuseDir, 'disk')
    rmSync(socket, { force: true })
    mkdirSync(fuseDir, { recursive: true })
    // The cache itself lies in an unlinked file below TMPDIR: it dies with nbdkit.
    const env = { ...process.env, TMPDIR: dir }
    const kit = spawn('nbdkit', ['-f', '-U', socket, '--filter=cache', 'file', image, 'cache=writeback'], {
      stdio: 'ignore',
      env,
      detached: true,
    })
    const owed = [janitor.oweKill(kit.pid ?? 0)]
    await appears(socket)
    owed.push(janitor.owe({ command: ['fusermount3', '-u', '-z', fuseDir] }))
    const fuse = spawn('nbdfuse', [seen, `nbd+unix://?socket=${socket}`], { stdio: 'ignore', detached: true })
    owed.push(janitor.oweKill(fuse.pid ?? 0))
    await appears(seen)
    const device = run('losetup', '-f', '--show', seen).trim()
    owed.push(janitor.owe({ command: ['losetup', '-d', device] }))
    return new Power({ device, kit, fuse, fuseDir, janitor, owed })
  }

  async cut(): Promise<void> {
    await ended(this.#kit)
  }

  unplug(): void {
    succeeds('losetup', '-d', this.device)
    succeeds('fusermount3', '-u', '-z', this.#fuseDir)
    this.#fuse.kill('SIGKILL')
    for (const id of this.#owed) this.#janitor.forget(id)
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await exit
}

async function appears(path: string): Promise<void> {
  for (let i = 0; i < 250; i++) {
    if (existsSync(path)) return
    await delay(20)
  }
  throw new Error(`expected ${path} to appear within 5 s`)
}
