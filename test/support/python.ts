/** Python programs of the Python package index, each in a virtual environment of its own under node_modules/.cache. */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** The Python of an environment with these packages, made when it is missing: some 25 s, once a clone. `name` carries their version. */
export async function pythonWith(name: string, packages: readonly string[]): Promise<string> {
  const cache = fileURLToPath(new URL(`../../node_modules/.cache/${name}`, import.meta.url))
  const program = join(cache, 'bin', 'python')
  if (existsSync(program)) return program
  const made = `${cache}.${process.pid}`
  mkdirSync(join(made, '..'), { recursive: true })
  try {
    await run('python3', ['-m', 'venv', made])
    await run(join(made, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages])
    renameSync(made, cache)
  } finally {
    rmSync(made, { recursive: true, force: true })
  }
  return program
}
