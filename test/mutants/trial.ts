/** One mutant's trial: it compiles, a cluster without faults does not notice it, and then the simulator and the named test have their try. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Sandbox } from './sandbox.ts'
import { splitTest, type Mutant } from './types.ts'

export interface TrialOptions {
  /** For the simulator's try. */
  readonly seconds: number
  readonly ticks: number
  /** The simulator to use for all; otherwise the cluster's for driver and store, the core's for the core. */
  readonly simulator: string | null
}

export interface Verdict {
  readonly id: string
  readonly failures: readonly number[]
  readonly file: string
  readonly breaks: string
  readonly killedBy: 'simulator' | 'test' | null
  /** What it died of, or what is wrong with it. */
  readonly evidence: string
  readonly seed: number | null
  /** Until the kill. */
  readonly seconds: number | null
}

interface Found {
  readonly seed: number | null
  readonly failure: string
  readonly seconds: number
}

const compileSecondsMax = 120
const calmSecondsMax = 60
const testSecondsMax = 180
const replaySecondsMax = 60
/** Many seeds of a simulator that stops by itself at the time that it is given. */
const seedsMax = 1_000_000
/** A run that does not stop by itself hangs. */
const graceSeconds = 30

const coreSimulator = 'test/sim/main.ts'
const clusterSimulator = 'test/sim/cluster/main.ts'
const tsc = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.mutants.json']
const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--no-file-parallelism', '--reporter=verbose']

export class Trial {
  readonly #sandbox: Sandbox
  readonly #options: TrialOptions
  /** Simulators with seeds that fail without any mutant: they prove nothing here, and something elsewhere. */
  readonly unclean = new Set<string>()
  /** Named tests that pass without any mutant. */
  readonly #sound = new Map<string, boolean>()

  constructor(sandbox: Sandbox, options: TrialOptions) {
    this.#sandbox = sandbox
    this.#options = options
  }

  /** Is the tree itself sound? Null, or why not: then no verdict would mean anything. */
  async baseline(): Promise<string | null> {
    const compiled = await this.#sandbox.run(tsc, { secondsMax: compileSecondsMax })
    if (compiled.code !== 0) return `the tree does not compile: ${lastLines(compiled.output)}`
    const calm = await this.#sandbox.run(['test/mutants/calm.ts'], { secondsMax: calmSecondsMax })
    return calm.code === 0 ? null : `the fault-free run fails without any mutant: ${lastLines(calm.output)}`
  }

  async judge(mutant: Mutant): Promise<Verdict> {
    const survived = (evidence: string): Verdict => ({ ...named(mutant), killedBy: null, evidence, seed: null, seconds: null })
    const invalid = await this.#sandbox.with(mutant, () => this.#invalid(mutant))
    if (invalid !== null) return survived(invalid)
    return (await this.#simulate(mutant)) ?? (await this.#test(mutant)) ?? survived('survived')
  }

  async #invalid(mutant: Mutant): Promise<string | null> {
    const compiled = await this.#sandbox.run(tsc, { secondsMax: compileSecondsMax })
    if (compiled.code !== 0) return `not a mutant, does not compile: ${lastLines(compiled.output)}`
    const calm = await this.#sandbox.run(['test/mutants/calm.ts'], { secondsMax: calmSecondsMax })
    return calm.code === 0 ? null : `not a mutant, fails without faults: ${lastLines(calm.output)} (${mutant.file})`
  }

  #simulatorFor({ file }: Mutant): string | null {
    if (this.#options.simulator !== null) return this.#options.simulator
    if (file.startsWith('raft/')) return coreSimulator
    return existsSync(join(this.#sandbox.folder, clusterSimulator)) ? clusterSimulator : null
  }

  /** Seed after seed until one fails that is clean without the mutant, or the time is up. */
  async #simulate(mutant: Mutant): Promise<Verdict | null> {
    const simulator = this.#simulatorFor(mutant)
    if (simulator === null) return null
    const budget = 'simulator' in mutant.killedBy ? this.#options.seconds : this.#options.seconds / 3
    let left = budget
    for (let first = 1; left >= 1;) {
      const found = await this.#search(mutant, simulator, first, left)
      left -= found.seconds
      if (found.seed === null) return null
      const { seed, failure } = found
      const seconds = rounded(budget - left)
      if (await this.#isClean(simulator, seed))
        return { ...named(mutant), killedBy: 'simulator', evidence: failure.slice(0, 160), seed, seconds }
      first = seed + 1
    }
    return null
  }

  async #search(mutant: Mutant, simulator: string, first: number, secondsMax: number): Promise<Found> {
    const seconds = String(Math.ceil(secondsMax))
    const args = [
      simulator,
      '--seeds',
      String(seedsMax),
      '--seed',
      String(first),
      '--ticks',
      String(this.#options.ticks),
      '--seconds',
      seconds,
    ]
    const failed = /^seed (\d+) failed: (.*)\n/m
    const options = { secondsMax: secondsMax + graceSeconds, stopAt: failed }
    const ran = await this.#sandbox.with(mutant, () => this.#sandbox.run(args, options))
    const [, seed = null, failure = ''] = failed.exec(ran.output) ?? []
    return { seed: seed === null ? null : Number(seed), failure, seconds: ran.seconds }
  }

  /** Without the mutant: a seed that fails anyway has found something else. */
  async #isClean(simulator: string, seed: number): Promise<boolean> {
    const name = `${simulator} ${seed}`
    if (this.unclean.has(name)) return false
    const args = [simulator, '--seeds', '1', '--seed', String(seed), '--ticks', String(this.#options.ticks)]
    const ran = await this.#sandbox.run(args, { secondsMax: replaySecondsMax })
    if (ran.code !== 0) this.unclean.add(name)
    return ran.code === 0
  }

  async #test(mutant: Mutant): Promise<Verdict | null> {
    const { test } = mutant.killedBy
    if (test === undefined) return null
    if (!(await this.#isSound(test))) throw new Error(`mutant ${mutant.id}: expected its test to pass without it: ${test}`)
    const ran = await this.#sandbox.with(mutant, () => this.#runTest(test))
    if (ran.code === 0) return null
    return { ...named(mutant), killedBy: 'test', evidence: test, seed: null, seconds: rounded(ran.seconds) }
  }

  async #isSound(test: string): Promise<boolean> {
    const known = this.#sound.get(test)
    if (known !== undefined) return known
    const ran = await this.#runTest(test)
    // A name that matches nothing passes, too: only skipped tests.
    const sound = ran.code === 0 && /Tests .*\b[1-9]\d* passed/.test(ran.output)
    this.#sound.set(test, sound)
    return sound
  }

  #runTest(test: string): ReturnType<Sandbox['run']> {
    const { path, name } = splitTest(test)
    return this.#sandbox.run([...vitest, path, '-t', name.replaceAll(/[$()*+.?[\\\]^{|}]/g, '\\$&')], { secondsMax: testSecondsMax })
  }
}

/** Does the named test stand in its file? Its name may begin with that of the group that it stands in, and fill in what a table of cases leaves open. */
export function testExists(root: string, test: string): boolean {
  const { path, name } = splitTest(test)
  const file = join(root, path)
  if (!existsSync(file)) return false
  const text = readFileSync(file, 'utf8')
  if (text.includes(name)) return true
  const groups = titlesOf(text, 'describe').filter((group) => name.startsWith(`${group} `))
  const rest = groups.map((group) => name.slice(group.length + 1))
  return titlesOf(text, 'test').some((title) => rest.some((each) => patternOf(title).test(each)))
}

function titlesOf(text: string, kind: 'describe' | 'test'): string[] {
  const call = new RegExp(`\\b${kind}(?:\\.each\\([^\\n]*\\))?\\(\\s*(['"\`])(.*?)\\1,`, 'g')
  return [...text.matchAll(call)].map(([, , title = '']) => title)
}

function patternOf(title: string): RegExp {
  const escaped = title.replaceAll(/[$()*+.?[\\\]^{|}]/g, '\\$&')
  return new RegExp(`^${escaped.replaceAll(/%[a-z]|\\\$[\w.]+/g, '.+')}$`)
}

function named({ id, failures, file, breaks }: Mutant): Pick<Verdict, 'id' | 'failures' | 'file' | 'breaks'> {
  return { id, failures, file, breaks }
}

function rounded(seconds: number): number {
  return Math.round(seconds * 10) / 10
}

function lastLines(output: string): string {
  return output.trim().split('\n').filter(Boolean).slice(-8).join(' | ').slice(0, 600)
}
