/** Go programs of this repository, built once a clone under node_modules/.cache. What they need comes by the versions in their go.sum. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

const go = (): string => (existsSync('/usr/local/go/bin/go') ? '/usr/local/go/bin/go' : 'go')

/** The program of `folder` (a path in this repository), built anew when a file of it changes: half a minute. @throws what Go says. */
export async function goProgram(folder: string): Promise<string> {
  const source = fileURLToPath(new URL(`../../${folder}`, import.meta.url))
  const hash = createHash('sha256')
  for (const name of readdirSync(source).toSorted()) hash.update(name).update(readFileSync(join(source, name)))
  const cached = fileURLToPath(
    new URL(`../../node_modules/.cache/go-${hash.digest('hex').slice(0, 16)}/${folder.split('/').at(-1)}`, import.meta.url),
  )
  if (existsSync(cached)) return cached
  mkdirSync(dirname(cached), { recursive: true })
  const made = `${cached}.${process.pid}`
  await run(go(), ['build', '-buildvcs=false', '-mod=readonly', '-o', made, '.'], { cwd: source })
  renameSync(made, cached)
  return cached
}

/** A program of somebody else's, by its package and version, from the Go module proxy: some minutes, once a clone. @throws what Go says. */
export async function goTool(path: string, version: string): Promise<string> {
  const name = path.split('/').at(-1) ?? ''
  const folder = fileURLToPath(new URL(`../../node_modules/.cache/go-tool-${name}-${version}`, import.meta.url))
  const cached = join(folder, name)
  if (existsSync(cached)) return cached
  const made = `${folder}.${process.pid}`
  mkdirSync(made, { recursive: true })
  await run(go(), ['install', '-buildvcs=false', `${path}@${version}`], { env: { ...process.env, GOBIN: made } })
  renameSync(made, folder)
  return cached
}
