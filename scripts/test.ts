/**
 * `npm test`: every gate in turn, and one closing line summed from the runners. `--full` adds what is too long for CI.
 * A gate that ran nothing counts as failed.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

interface Counts {
  passed: number
  failed: number
  skipped: number
}

// See vitest.config.ts; the chaos run starts servers too.
process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, '..', 'node_modules', '.cache', 'compiled')
const full = process.argv.includes('--full')
const scratch = mkdtempSync(join(tmpdir(), 'holdfast-test-'))
const total: Counts = { passed: 0, failed: 0, skipped: 0 }
const summary: string[] = []

/** Runs a program with its output shown; resolves with its exit code. Detached groups are not made: Ctrl-C reaches all. */
function run(command: string, args: readonly string[]): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'] })
    child.on('error', () => resolve(127))
    child.on('exit', (code) => resolve(code ?? 1))
  })
}

function add(name: string, counts: Counts, startedMs: number): void {
  total.passed += counts.passed
  total.failed += counts.failed
  total.skipped += counts.skipped
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(0)
  summary.push(`${name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped (${seconds} s)`)
}

/** A gate that only says yes or no counts as one test. */
async function gate(name: string, command: string, args: readonly string[]): Promise<void> {
  console.log(`\n== ${name}: ${command} ${args.join(' ')}`)
  const started = performance.now()
  const ok = (await run(command, args)) === 0
  add(name, { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 }, started)
}

interface VitestReport {
  numPassedTests: number
  numFailedTests: number
  numPendingTests: number
  numTodoTests: number
  success: boolean
  testResults: {
    name: string
    status: string
    message?: string
    assertionResults: { fullName: string; status: string; failureMessages?: string[] }[]
  }[]
}

async function vitest(name: string, args: readonly string[]): Promise<void> {
  console.log(`\n== ${name}`)
  const started = performance.now()
  const file = join(scratch, `${name}.json`)
  const code = await run('vitest', ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`, ...args])
  let report: VitestReport
  try {
    report = JSON.parse(readFileSync(file, 'utf8')) as VitestReport
  } catch {
    return add(name, { passed: 0, failed: 1, skipped: 0 }, started)
  }
  const skipped = report.numPendingTests + report.numTodoTests
  // A file that failed to load has no failed test of its own, yet it must not pass for green.
  const unloaded = report.testResults.filter(
    (result) => result.status === 'failed' && result.assertionResults.every(({ status }) => status !== 'failed'),
  ).length
  const failed = report.numFailedTests + unloaded
  const ranNothing = report.numPassedTests + failed === 0
  for (const { fullName, status } of report.testResults.flatMap((result) => result.assertionResults)) {
    if (status !== 'passed' && status !== 'failed') summary.push(`  skipped: ${fullName}`)
  }
  // Again at the end: what is far above may be cut off where the output is kept.
  for (const { name: file, status, message, assertionResults } of report.testResults) {
    if (status !== 'failed') continue
    const broken = assertionResults.filter((each) => each.status === 'failed')
    if (broken.length === 0) summary.push(`  failed to load: ${file}: ${message ?? ''}`)
    for (const { fullName, failureMessages = [] } of broken) summary.push(`  failed: ${file} > ${fullName}\n${failureMessages.join('\n')}`)
  }
  if (code !== 0 && failed === 0) summary.push('  no test failed, yet the runner did: an error outside of every test, see above')
  // On CI every part that a test needs has been installed: a skip there would hide a missing install step.
  const badSkips = process.env['CI'] === 'true' ? skipped : 0
  add(
    name,
    {
      passed: report.numPassedTests,
      failed: failed + badSkips + (ranNothing || (code !== 0 && failed === 0) ? 1 : 0),
      skipped: skipped - badSkips,
    },
    started,
  )
}

interface SimReport {
  seeds: number
  failed: unknown[]
}

async function simulate(seconds: number): Promise<void> {
  console.log(`\n== simulation, ${seconds} s`)
  const started = performance.now()
  const file = join(scratch, 'sim.json')
  const code = await run(process.execPath, ['test/sim/cluster/main.ts', '--seconds', String(seconds), '--json', file])
  try {
    const report = JSON.parse(readFileSync(file, 'utf8')) as SimReport
    const failed = report.failed.length + (code !== 0 && report.failed.length === 0 ? 1 : 0)
    add(
      'simulation (seeds)',
      { passed: report.seeds - report.failed.length, failed: failed + (report.seeds === 0 ? 1 : 0), skipped: 0 },
      started,
    )
  } catch {
    add('simulation (seeds)', { passed: 0, failed: 1, skipped: 0 }, started)
  }
}

await gate('types', 'tsc', ['-p', '.'])
await gate('lint', 'oxlint', [])
await gate('format', 'oxfmt', ['--check', '.'])
await gate('dead code', 'knip', [])
await vitest('unit', [])
await simulate(full ? 600 : 60)
// Needs the package registry, for another Node.
if (full) await gate('the same traces on Node 24', process.execPath, ['test/sim/golden.ts', '--node24'])
if (full) process.env['HOLDFAST_FULL'] = '1'
await vitest('e2e', ['--config', 'vitest.e2e.config.ts'])
// Ratios within one short run: a change that makes a request cost twice as much does not pass.
await gate('the regression gate of speed', process.execPath, ['bench/load/main.ts', '--gate'])
// Only what every machine can do: no root, no packages. `npm run chaos` does the rest.
await gate('a short chaos run', process.execPath, ['test/chaos/main.ts', '--plain', '--minutes', full ? '10' : '1.2'])
rmSync(scratch, { recursive: true, force: true })
console.log(`\n${summary.join('\n')}\n`)
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
process.exitCode = total.failed === 0 ? 0 : 1
