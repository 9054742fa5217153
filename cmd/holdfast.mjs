#!/usr/bin/env node
// The launcher of `holdfast`. Plain JavaScript: it must run under whatever Node the machine has, and find the pinned one.
//
// A server it turns itself into (execve: the process keeps its id, so that a signal meant for the server reaches the server),
// with what must be decided before Node starts: no core dumps, no debugger by SIGUSR1, no environment in crash reports, a thread
// pool large enough that hashing passwords can't starve the log's fsync, and two arenas of glibc's for all of its threads: each
// thread with its own kept as much again of what the others had given back.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import module from 'node:module'
import { availableParallelism, homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const nodeMajorMin = 26
const threadsMin = 16
const threadsMax = 64
const root = dirname(dirname(fileURLToPath(import.meta.url)))
const main = join(root, 'cmd', 'main.ts')
const args = process.argv.slice(2)
const isServer = args.find((arg) => !arg.startsWith('-')) === 'server'
const isCurrent = Number(process.versions.node.split('.')[0]) >= nodeMajorMin

function refuse(message, hint) {
  process.stderr.write(`error: ${message}\nhint: ${hint}\n`)
  process.exit(1)
}

function findNode() {
  if (isCurrent) return process.execPath
  const pinned = [join(root, 'node_modules', 'node', 'bin', 'node'), join(root, 'node_modules', '.bin', 'node')].find(existsSync)
  return (
    pinned ??
    refuse(`expected Node ${nodeMajorMin} or later, got ${process.versions.node}`, `run "npm install" in ${root}: it brings the right one`)
  )
}

/** In a clone in which nothing has been installed yet, an import would fail with a stack trace instead. */
function expectInstalled() {
  try {
    module.createRequire(import.meta.url).resolve('undici')
  } catch {
    refuse(
      'expected the packages that holdfast needs, found none installed',
      `run "npm install" in ${root}, or "npm start", which does it too`,
    )
  }
}

function serverEnvironment() {
  const environment = { ...process.env }
  // NODE_OPTIONS could open a debugger or load code; NODE_DEBUG would print headers, and tokens with them.
  for (const name of ['NODE_OPTIONS', 'NODE_DEBUG', 'NODE_DEBUG_NATIVE', 'NODE_TLS_REJECT_UNAUTHORIZED', 'NODE_V8_COVERAGE'])
    delete environment[name]
  environment.UV_THREADPOOL_SIZE ??= String(Math.min(threadsMax, Math.max(threadsMin, 4 * availableParallelism())))
  environment.MALLOC_ARENA_MAX ??= '2'
  return environment
}

/** Becomes `program`. Where this Node can't (below 22.15), runs it as a child, passes signals on, and ends as it ends. */
function become(program, programArgs, environment) {
  if (typeof process.execve === 'function') process.execve(program, [program, ...programArgs], environment)
  const child = spawn(program, programArgs, { stdio: 'inherit', env: environment })
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2']) process.on(signal, () => child.kill(signal))
  // At a terminal Ctrl-C reaches the whole group: passed on, it would arrive twice.
  process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'))
  child.on('error', (error) => refuse(`could not start ${program}: ${error.message}`, 'run "npm install" again'))
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1)
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  })
}

expectInstalled()
if (isServer) {
  const debug = /^--inspect/
  const asked = [...process.execArgv, ...(process.env.NODE_OPTIONS ?? '').split(/\s+/)].filter((arg) => debug.test(arg))
  const allowed = process.env.HOLDFAST_UNSAFE_DEBUGGER === '1'
  if (asked.length > 0 && !allowed) {
    refuse(
      'a server expected no --inspect, got one',
      'a debugger reads every key in memory: start it without; for development, with secrets that are none, HOLDFAST_UNSAFE_DEBUGGER=1 allows it',
    )
  }
  const server = [findNode(), ...asked, '--disable-sigusr1', '--report-exclude-env', main, ...args]
  // Left alone where it shows as 0 already: a limit of one byte does, and keeps the kernel from handing a dump to a program, which 0 does not.
  const limited = 'if [ "$(ulimit -H -c)" != 0 ]; then ulimit -c 0; fi; exec "$@"'
  become('/bin/sh', ['-c', limited, 'holdfast', ...server], serverEnvironment())
} else if (isCurrent) {
  // Compiled code is kept, so that a command starts in a quarter of the time; in the user's own folder, since whoever could write
  // to a shared one could put code into our process.
  module.enableCompileCache?.(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'holdfast'))
  await import(pathToFileURL(main).href)
} else {
  become(findNode(), [main, ...args], process.env)
}
