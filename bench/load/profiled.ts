/**
 * Becomes a Holdfast server under V8's profilers: node bench/load/profiled.ts DIR NODE cmd/holdfast.mjs server --config FILE.
 * Past the launcher, which takes NODE_OPTIONS away from a server on purpose; so only with secrets that are none.
 */
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'

const [dir, node, launcher, ...args] = process.argv.slice(2)
if (dir === undefined || node === undefined || launcher === undefined || process.execve === undefined) {
  throw new Error('expected DIR NODE LAUNCHER and what the launcher is given')
}
// As the launcher does.
const threads = String(Math.min(64, Math.max(16, 4 * availableParallelism())))
const profilers = ['--cpu-prof', '--cpu-prof-interval=500', `--cpu-prof-dir=${dir}`, '--heap-prof', `--heap-prof-dir=${dir}`]
process.execve(node, [node, ...profilers, join(dirname(launcher), 'main.ts'), ...args], {
  ...process.env,
  UV_THREADPOOL_SIZE: threads,
  MALLOC_ARENA_MAX: '2',
  HOLDFAST_UNSAFE_DEBUGGER: '1',
})
