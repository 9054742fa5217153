/**
 * Records docs/tour.md: a real session against a fresh three-node cluster in a temporary folder, on ports that are free just now.
 * Written down are the commands and what they printed; what differs from run to run (tokens, keys, ids, pids, ports, times of day)
 * is replaced by placeholders. test/e2e/tour.test.ts records again and compares.
 *
 *   node scripts/record-tour.ts [FILE]       (default docs/tour.md)
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Placeholders } from './tour/placeholders.ts'
import { Terminal } from './tour/terminal.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const waitMsMax = 60_000
/** Where the default cluster listens; the recorded one is written down as if it were that. */
const shownPort = 8_200
const offsets = [0, 1, 10, 11, 20, 21]

interface Scene {
  readonly doc: string[]
  readonly terminal: Terminal
  readonly launcher: Launcher
  readonly shown: Placeholders
  /** API address of node 1, 2 or 3. */
  readonly address: (node: 1 | 2 | 3) => string
}

/** `npm start` in a terminal of its own. */
class Launcher {
  readonly #child: ChildProcess
  output = ''

  constructor(cwd: string, env: Record<string, string>, port: number) {
    this.#child = spawn(process.execPath, [join(root, 'cmd', 'dev.ts'), '--api-port', String(port)], {
      cwd,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream?.on('data', (part: Buffer) => (this.output += part.toString()))
  }

  async until(pattern: RegExp): Promise<RegExpExecArray> {
    return waitFor(`npm start to print ${pattern.source}`, () => {
      const found = pattern.exec(this.output)
      if (found === null && this.#child.exitCode !== null) throw new Error(`npm start ended:\n${this.output}`)
      return Promise.resolve(found)
    })
  }

  /** As Ctrl-C does. @returns seconds until it had ended. */
  async interrupt(): Promise<number> {
    if (this.#child.exitCode !== null) return 0
    const started = performance.now()
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGINT')
    await ended
    if (this.#child.exitCode !== 0) throw new Error(`npm start expected to end with 0, got ${this.#child.exitCode}`)
    return (performance.now() - started) / 1_000
  }

  /** For the end of this process only: the nodes' lifelines close with their launcher. */
  abandon(): void {
    this.#child.kill('SIGKILL')
  }
}

async function waitFor<T>(what: string, attempt: () => Promise<T | null>): Promise<T> {
  const deadline = performance.now() + waitMsMax
  while (performance.now() < deadline) {
    const value = await attempt()
    if (value !== null) return value
    await delay(20)
  }
  throw new Error(`waited ${waitMsMax / 1_000} s for ${what}`)
}

/** A field of an unauthenticated route; null while nobody answers. */
async function ask(address: string, path: string, field: string): Promise<unknown> {
  try {
    const answer = await fetch(`${address}/v1/${path}`)
    return ((await answer.json()) as Record<string, unknown>)[field] ?? null
  } catch {
    return null // Not listening yet: asked again.
  }
}

/** Four digits, as the ports that are shown have: else the tables would have other widths. */
async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = 3_000 + ((process.pid * 131 + attempt * 97) % 5_000)
    if ((await Promise.all(offsets.map((offset) => isFree(port + offset)))).every(Boolean)) return port
  }
  throw new Error('expected six free ports, found none')
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}

const say = ({ doc }: Scene, text: string): void => void doc.push(text, '')
const block = ({ doc, shown }: Scene, lines: readonly string[]): void =>
  void doc.push('```console', ...lines.flatMap((line) => shown.apply(line).trimEnd().split('\n')), '```', '')

/** Runs commands and writes down each with what it printed; a pair says which exit code is right. */
async function run(scene: Scene, ...commands: readonly (string | readonly [command: string, code: number])[]): Promise<void> {
  const lines: string[] = []
  for (const entry of commands) {
    const [command, code] = typeof entry === 'string' ? [entry, 0] : entry
    const output = await scene.terminal.run(command, code)
    lines.push(`$ ${command}`, ...(output === '' ? [] : [output]))
  }
  block(scene, lines)
}

async function start(scene: Scene): Promise<void> {
  const { launcher, shown, terminal, address } = scene
  say(scene, '## Start three nodes')
  await launcher.until(/Ctrl-C stops all nodes.*\n/)
  const keys = JSON.parse(await terminal.run('cat .holdfast/development-keys.json')) as { root_token: string; unseal_keys_b64: string[] }
  shown.add(keys.root_token, `s.${'X'.repeat(keys.root_token.length - 2)}`)
  for (const [i, key] of keys.unseal_keys_b64.entries()) shown.add(key, `UnsealKey${i + 1}${'X'.repeat(key.length - 10)}`)
  for (const [, node, pid] of launcher.output.matchAll(/node(\d) .* pid (\d+) /g)) shown.add(String(pid), `410${node}`, 'pid |kill -9 ')
  block(scene, ['$ npm start', launcher.output])
  say(scene, 'It stays in the foreground. Everything below is typed in a second terminal, in the same folder.')
  await run(
    scene,
    `export HOLDFAST_ADDR=${([1, 2, 3] as const).map(address).join(',')}`,
    `export HOLDFAST_TOKEN=${keys.root_token}`,
    'npx holdfast operator members',
  )
  say(scene, 'Several addresses are tried in turn, so that a command finds another node when one is down.')
}

async function writeAndRead(scene: Scene): Promise<void> {
  const { address } = scene
  say(scene, '## Write through node 1, read through node 3')
  await run(
    scene,
    'npx holdfast secrets enable -path=secret -version=2 kv',
    `npx holdfast kv put -address=${address(1)} secret/hello answer=42`,
  )
  await run(scene, `npx holdfast kv get -address=${address(3)} secret/hello`)
  say(
    scene,
    'Node 3 answered by itself: it asked the leader how far the log is committed, waited until it had that much, and read its own store.',
  )
}

async function loseTheLeader(scene: Scene): Promise<void> {
  const { launcher } = scene
  say(scene, '## Lose the leader, and go on')
  const [, pid] = await launcher.until(/node1 .* pid (\d+) /)
  if ((await ask(scene.address(1), 'sys/leader', 'is_self')) !== true) throw new Error('expected node1, which founded the cluster, to lead')
  const mark = launcher.output.length
  const started = performance.now()
  await run(scene, `kill -9 ${pid}`, 'npx holdfast kv put secret/hello answer=43')
  const seconds = ((performance.now() - started) / 1_000).toFixed(1)
  say(
    scene,
    `The write was acknowledged ${seconds} s after the kill, the election and the start of the command included. The first terminal says:`,
  )
  await launcher.until(/node1 ended.*\n/)
  block(scene, [launcher.output.slice(mark)])
  await run(scene, 'npx holdfast kv get -field=answer secret/hello; echo', 'npx holdfast operator members')
}

async function restartSealed(scene: Scene): Promise<void> {
  const { address } = scene
  say(scene, '## Stop all nodes and start them again: sealed')
  const seconds = (await scene.launcher.interrupt()).toFixed(1)
  say(
    scene,
    `Ctrl-C in the first terminal stops the nodes that are left (here in ${seconds} s). \`npm start\` would unseal them again, with the key
file that it keeps for development. To see what a cluster in earnest does, start the same nodes by hand (by the file that npx would run:
npx keeps signals to itself):`,
  )
  await run(scene, 'for n in 1 2 3; do cmd/holdfast.mjs server --config .holdfast/node$n.hcl >> .holdfast/node$n.log 2>&1 & done')
  for (const node of [1, 2, 3] as const)
    await waitFor(`node${node} to answer`, async () =>
      (await ask(address(node), 'sys/seal-status', 'initialized')) === true ? true : null,
    )
  await run(scene, [`npx holdfast status -address=${address(3)}`, 2], [`npx holdfast kv get -address=${address(3)} secret/hello`, 2])
  say(scene, 'All three are sealed: what lies on their disks is ciphertext, and nobody has the key.')
}

async function unsealOne(scene: Scene): Promise<void> {
  const { terminal, address } = scene
  say(scene, '## Unseal one node: it leads and serves')
  say(
    scene,
    `Any three of the five keys, here for node 1, which was dead while the last write was made. (In earnest leave the key out: the command
then asks for it, and neither the shell's history nor the list of processes shows it.)`,
  )
  const keys = JSON.parse(await terminal.run('cat .holdfast/development-keys.json')) as { unseal_keys_b64: string[] }
  const started = performance.now()
  await run(
    scene,
    ...keys.unseal_keys_b64
      .slice(0, 3)
      .map((key) => `npx holdfast operator unseal -address=${address(1)} ${key} | grep -E 'Sealed|Progress'`),
    `npx holdfast kv get -address=${address(1)} secret/hello`,
  )
  const seconds = ((performance.now() - started) / 1_000).toFixed(1)
  await waitFor('node1 to lead', async () => ((await ask(address(1), 'sys/leader', 'is_self')) === true ? true : null))
  say(
    scene,
    `From the first key to the value: ${seconds} s. The sealed nodes vote and keep copies without being able to read them, so that
what is written now is on a majority when it is acknowledged:`,
  )
  await run(scene, `npx holdfast kv put -address=${address(1)} secret/hello answer=44 | grep version`, 'npx holdfast operator members')
  say(scene, 'The same three keys, given to node 2 and node 3, let these serve as well. Stop everything:')
  await run(scene, 'kill $(jobs -p); wait')
}

const opening = `# A tour, as it was recorded

<!-- Made by scripts/record-tour.ts; test/e2e/tour.test.ts records it again and compares. Do not edit by hand. -->

Three nodes on one machine: a secret is written through one and read through another, the leader is killed, all are restarted, and one
unsealed node is enough to go on. Everything here was run; tokens, keys, ids, pids and times of day are placeholders, and the cluster of
the recording is shown on the default ports, without npm's own lines. When something else comes out, see [getting started](getting-started.md#when-it-does-not-work).
`

async function record(path: string): Promise<void> {
  const cwd = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-tour-')))
  const port = await freePort()
  const env = { PATH: `${join(root, 'node_modules', '.bin')}:${process.env['PATH']}`, HOME: cwd }
  const launcher = new Launcher(cwd, env, port)
  const abandon = (): void => launcher.abandon()
  process.once('exit', abandon)
  const holdfast = `node ${join(root, 'cmd', 'holdfast.mjs')}`
  // A server left in the background gets a lifeline, so that it cannot outlive the recording.
  mkdirSync(join(cwd, 'cmd'))
  writeFileSync(join(cwd, 'cmd', 'holdfast.mjs'), `#!/bin/sh\nHOLDFAST_LIFELINE=stdin exec ${holdfast} "$@" <&3\n`, { mode: 0o700 })
  const terminal = new Terminal({ cwd, env, prelude: `npx() { shift; ${holdfast} "$@" < /dev/null; }` })
  const shown = new Placeholders()
  for (const offset of offsets) shown.add(`127.0.0.1:${port + offset}`, `127.0.0.1:${shownPort + offset}`)
  const address = (node: 1 | 2 | 3): string => `http://127.0.0.1:${port + 10 * (node - 1)}`
  const scene: Scene = { doc: [opening], terminal, launcher, shown, address }
  try {
    for (const act of [start, writeAndRead, loseTheLeader, restartSealed, unsealOne]) await act(scene)
    const text = scene.doc.join('\n').replaceAll(cwd, '~/holdfast').trimEnd()
    writeFileSync(path, `${text}\n`)
  } finally {
    await terminal.close()
    await launcher.interrupt()
    process.off('exit', abandon)
    rmSync(cwd, { recursive: true, force: true })
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
const path = resolve(process.argv[2] ?? join(root, 'docs', 'tour.md'))
await record(path)
console.log(`recorded ${path}: ${readFileSync(path, 'utf8').split('\n').length} lines`)
