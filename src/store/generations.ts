/**
 * Which LevelDB folder is the state. `state/` holds one folder per generation (`g1`, `g2`, ...) and a file `current` that names one of them.
 * A received snapshot is written into the next generation; installing it is one rename of a new `current`, so a crash at any step leaves the old
 * state or the new one, never a mix; what `current` does not name is removed at the next start. Views of the old generation stay
 * readable until they are released.
 */
import { join } from 'node:path'
import type { Disk } from './disk.ts'
import { storeCorrupt } from './errors.ts'
import { namesIn, readIfThere, syncDirectory } from './files.ts'

const currentName = 'current'
/** Beside a generation's folder: it waits to be called for by a restore. What it says is the state store's. It goes with the folder. */
const stagedSuffix = '.staged'
/** Beside a generation's folder: it is not to be used. It goes with the folder. */
const condemnedSuffix = '.condemned'
const folderPattern = /^g(\d{1,15})$/

export class Generations {
  readonly #disk: Disk
  readonly #directory: string
  /** Number of the generation in use; 0 when there is none yet. */
  current: number
  /** Why the generation in use is not to be used; null: no reason is known. */
  damage: string | null = null
  /** The generation that is staged, and what was noted of it; null: none. */
  staged: { readonly number: number; readonly note: Uint8Array } | null = null
  #newest: number

  private constructor(disk: Disk, directory: string, current: number, newest: number) {
    this.#disk = disk
    this.#directory = directory
    this.current = current
    this.#newest = newest
  }

  /** A number that no folder has had. */
  next(): number {
    this.#newest += 1
    return this.#newest
  }

  /**
   * Reads which generation is in use, and removes all others. With `repairable` an unreadable pointer is told in `damage`, and nothing is removed.
   * @throws ERR_STORE_CORRUPT
   */
  static async open(disk: Disk, directory: string, repairable = false): Promise<Generations> {
    await disk.mkdir(directory, { recursive: true, mode: 0o700 })
    const pointer = await readIfThere(disk, join(directory, currentName))
    const names = (await namesIn(disk, directory)) ?? []
    const folders = names.filter((name) => folderPattern.test(name))
    const newest = Math.max(0, ...folders.map((name) => Number(name.slice(1))))
    let current = 0
    if (pointer !== null) {
      const name = pointer.toString('latin1').trim()
      const match = folderPattern.exec(name)
      if (match === null || !folders.includes(name)) {
        const damage = 'state/current: expected the name of a folder that is there, got another'
        if (!repairable) throw storeCorrupt(damage)
        const generations = new Generations(disk, directory, newest + 1, newest + 1)
        generations.damage = damage
        return generations
      }
      current = Number(match[1])
      // A process that was killed right after the rename left it in the page cache: what is read here must be there after a power cut, too.
      await syncDirectory(disk, directory)
    }
    // Without a pointer nothing is removed: a lost pointer must not cost the evidence as well.
    if (pointer !== null) {
      const staged = folders.find((name) => name !== `g${current}` && names.includes(`${name}${stagedSuffix}`))
      for (const name of folders)
        if (name !== `g${current}` && name !== staged) await disk.rm(join(directory, name), { recursive: true, force: true })
      for (const name of names.filter((each) => each.endsWith(condemnedSuffix)))
        if (name !== `g${current}${condemnedSuffix}`) await disk.rm(join(directory, name), { force: true })
      for (const name of names.filter((each) => each.endsWith(stagedSuffix)))
        if (name !== `${staged}${stagedSuffix}`) await disk.rm(join(directory, name), { force: true })
    }
    await disk.rm(join(directory, `${currentName}.tmp`), { force: true })
    const generations = new Generations(disk, directory, current, pointer === null ? newest : current)
    await generations.#readStaged(folders)
    const condemned = await readIfThere(disk, join(directory, `g${current}${condemnedSuffix}`))
    if (condemned !== null) generations.damage = `state: expected a sound one, got one that was given up: ${condemned.toString('utf8')}`
    return generations
  }

  /** Durably notes that the generation in use is not to be used any more, and why. */
  async condemn(reason: string): Promise<void> {
    const handle = await this.#disk.open(join(this.#directory, `g${this.current}${condemnedSuffix}`), 'w', 0o600)
    try {
      await handle.writeFile(Buffer.from(reason))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await syncDirectory(this.#disk, this.#directory)
  }

  async #readStaged(folders: readonly string[]): Promise<void> {
    for (const name of folders) {
      const number = Number(name.slice(1))
      const note = number === this.current ? null : await readIfThere(this.#disk, join(this.#directory, `${name}${stagedSuffix}`))
      if (note === null) continue
      this.staged = { number, note }
      this.#newest = Math.max(this.#newest, number)
    }
  }

  /** Durably notes that `generation`, whose files are already durable, waits to be called for. */
  async stage(generation: number, note: Uint8Array): Promise<void> {
    const path = join(this.#directory, `g${generation}${stagedSuffix}`)
    const handle = await this.#disk.open(`${path}.tmp`, 'w', 0o600)
    try {
      await handle.writeFile(Buffer.from(note))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await this.#disk.rename(`${path}.tmp`, path)
    await syncDirectory(this.#disk, this.#directory)
    this.staged = { number: generation, note }
  }

  /** What was staged is in use, or gone. */
  async unstage(generation: number): Promise<void> {
    if (this.staged?.number === generation) this.staged = null
    await this.#disk.rm(join(this.#directory, `g${generation}${stagedSuffix}`), { force: true })
  }

  path(generation: number): string {
    return join(this.#directory, `g${generation}`)
  }

  /** Makes `generation`, whose files are already durable, the one in use. */
  async activate(generation: number): Promise<void> {
    const temporary = join(this.#directory, `${currentName}.tmp`)
    // The generation's own folder entry must be durable before anything names it.
    await syncDirectory(this.#disk, this.#directory)
    const handle = await this.#disk.open(temporary, 'w', 0o600)
    try {
      await handle.writeFile(Buffer.from(`g${generation}\n`))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await this.#disk.rename(temporary, join(this.#directory, currentName))
    await syncDirectory(this.#disk, this.#directory)
    this.current = generation
    this.damage = null
  }

  async remove(generation: number): Promise<void> {
    await this.#disk.rm(this.path(generation), { recursive: true, force: true })
    await this.#disk.rm(`${this.path(generation)}${condemnedSuffix}`, { force: true })
  }
}
