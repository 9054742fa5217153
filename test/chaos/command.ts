import { spawnSync } from 'node:child_process'

const commandMsMax = 20_000

/** Runs a command and returns what it printed. @throws with its last words when it fails. */
export function run(...argv: readonly string[]): string {
  const [program, ...args] = argv
  const { status, stdout, stderr, error } = spawnSync(program as string, args, { encoding: 'utf8', timeout: commandMsMax })
  if (error !== undefined) throw new Error(`${argv.join(' ')}: ${error.message}`)
  if (status !== 0) throw new Error(`${argv.join(' ')}: expected exit code 0, got ${status}: ${stderr.trim().slice(-300)}`)
  return stdout
}

export function succeeds(...argv: readonly string[]): boolean {
  const [program, ...args] = argv
  return spawnSync(program as string, args, { stdio: 'ignore', timeout: commandMsMax }).status === 0
}
