/** A private copy of the tree, in which one mutant at a time lives. The working tree is never touched. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { mutate, type Mutant } from './types.ts'

const outputCharactersMax = 1_000_000
/** A mutant that fills the memory must not take the machine with it. */
const heapMegabytesMax = 1_500

export interface Outcome {
  /** Null when it was stopped: at its deadline, or by `stopAt`. */
  readonly code: number | null
  readonly output: string
  readonly seconds: number
  readonly timedOut: boolean
}

export interface RunOptions {
  readonly secondsMax: number
  /** Stops the program as soon as its output matches. */
  readonly stopAt?: RegExp
}

export class Sandbox {
  readonly folder = mkdtempSync(join(tmpdir(), 'holdfast-mutants-'))
  readonly #root: string
  #child: ChildProcess | null = null

  /** Copies what git knows of `root`: as of `commit`, or (`worktree`) as it lies there, new files included. */
  constructor(root: string, commit: string, worktree: boolean) {
    this.#root = root
    try {
      if (worktree) this.#copyWorktree()
      else this.#copyCommit(commit)
      symlinkSync(join(root, 'node_modules'), join(this.folder, 'node_modules'))
      const include = ['raft', 'src/base', 'src/store', 'src/replica', 'src/core', 'test/mutants']
      writeFileSync(join(this.folder, 'tsconfig.mutants.json'), JSON.stringify({ extends: './tsconfig.json', include }))
    } catch (error) {
      this.end()
      throw error
    }
  }

  #copyCommit(commit: string): void {
    const archive = execFileSync('git', ['archive', commit], { cwd: this.#root, maxBuffer: 2 ** 30 })
    execFileSync('tar', ['-x', '-C', this.folder], { input: archive })
  }

  #copyWorktree(): void {
    const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: this.#root })
    for (const path of listed.toString().split('\0').filter(Boolean)) {
      mkdirSync(dirname(join(this.folder, path)), { recursive: true })
      // Deleted, or renamed by somebody else this very moment: then it is not part of the tree.
      cpSync(join(this.#root, path), join(this.folder, path), { force: true, errorOnExist: false })
    }
  }

  /** Runs `task` with the mutant in place, and takes it out again. */
  async with<T>(mutant: Mutant, task: () => Promise<T>): Promise<T> {
    const path = join(this.folder, mutant.file)
    const healthy = readFileSync(path, 'utf8')
    writeFileSync(path, mutate(healthy, mutant))
    try {
      return await task()
    } finally {
      writeFileSync(path, healthy)
    }
  }

  /** Runs a program of node in the copy. Its own process and nothing else is stopped at the deadline. */
  run(args: readonly string[], { secondsMax, stopAt }: RunOptions): Promise<Outcome> {
    const started = performance.now()
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [`--max-old-space-size=${heapMegabytesMax}`, ...args], {
        cwd: this.folder,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, FORCE_COLOR: '0', NO_COLOR: '1' },
      })
      this.#child = child
      let output = ''
      let timedOut = false
      const stop = (): void => void child.kill('SIGKILL')
      const deadline = setTimeout(() => {
        timedOut = true
        stop()
      }, secondsMax * 1_000)
      const take = (chunk: Buffer): void => {
        output = (output + chunk.toString()).slice(-outputCharactersMax)
        if (stopAt?.test(output) === true) stop()
      }
      child.stdout.on('data', take)
      child.stderr.on('data', take)
      child.on('error', reject)
      child.on('close', (code) => {
        clearTimeout(deadline)
        this.#child = null
        resolve({ code, output, seconds: (performance.now() - started) / 1_000, timedOut })
      })
    })
  }

  /** Removes the copy, and stops what still runs in it. */
  end(): void {
    this.#child?.kill('SIGKILL')
    rmSync(this.folder, { recursive: true, force: true })
  }
}
