/**
 * Records docs/first-secret.md: a new user's way from nothing to a rotated secret that an application reads, by the clock. Nothing is prepared: a fresh clone, an
 * empty npm cache, `npm start`, then what docs/getting-started.md says, typed by a program that does not think between two commands.
 *
 *   node scripts/record-first-secret.ts [FILE]       (default docs/first-secret.md; needs the package registry)
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Placeholders } from './tour/placeholders.ts'
import { Terminal } from './tour/terminal.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const target = resolve(process.argv[2] ?? join(root, 'docs', 'first-secret.md'))
const secondsMax = 300
const port = 3_000 + (process.pid % 5_000)
const shown = new Placeholders()
const lines: string[] = []
const startedMs = performance.now()

function clock(): string {
  const seconds = Math.round((performance.now() - startedMs) / 1_000)
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}

const clean = (text: string): string =>
  shown
    // What this machine's own npm configuration is warned of is nobody else's.
    .apply(text.replaceAll(/^npm warn Unknown .*\n/gm, ''))
    .replaceAll(/127\.0\.0\.1:\d+/g, (where) => {
      const offset = Number(where.slice(where.lastIndexOf(':') + 1)) - port
      return offset >= 0 && offset < 100 ? `127.0.0.1:${8_200 + offset}` : where
    })
    .trimEnd()

const say = (text: string): void => void lines.push('', text, '')
const block = (entries: readonly string[]): void => {
  if (lines.at(-1) === '```') lines.push('')
  lines.push('```', ...entries, '```')
}

async function until(what: string, ready: () => boolean): Promise<void> {
  while (!ready()) {
    if (performance.now() - startedMs > 2 * secondsMax * 1_000) throw new Error(`waited too long for ${what}`)
    await delay(50)
  }
}

function started(child: ChildProcess): { text: string } {
  const output = { text: '' }
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (part: Buffer) => (output.text += part.toString()))
  return output
}

const app = `console.log(\`\${process.env.USER}: a password of \${process.env.PASSWORD.length} letters\`)
setInterval(() => {}, 1_000)
`

/** @returns how long it took until the application ran with the new password; the servers are stopped after that. */
async function record(home: string): Promise<string> {
  const clone = join(home, 'holdfast')
  const path = (process.env['PATH'] ?? '').split(':').filter((folder) => !folder.includes('node_modules'))
  const env = {
    PATH: path.join(':'),
    HOME: process.env['HOME'] ?? home,
    npm_config_cache: join(home, 'cache'),
    npm_config_update_notifier: 'false',
    USER: 'me',
  }
  shown.add(clone, '~/holdfast')
  execFileSync('git', ['clone', '--quiet', root, clone])
  const begun = [`${clock()}  $ git clone ... holdfast && cd holdfast`, `${clock()}  $ npm start`]
  const server = spawn('npm', ['start', '--', '--api-port', String(port)], {
    cwd: clone,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const said = started(server)
  const terminal = new Terminal({ cwd: clone, env, prelude: 'true' })
  let running: ChildProcess | null = null
  try {
    await until('npm start', () => said.text.includes('Ctrl-C stops all nodes') || server.exitCode !== null)
    if (server.exitCode !== null) throw new Error(`npm start ended:\n${said.text}`)
    const [token = ''] = /s\.[A-Za-z0-9]{24}/.exec(said.text) ?? []
    shown.add(token, `s.${'X'.repeat(24)}`)
    const [addresses = ''] = /(?<=HOLDFAST_ADDR=)\S+/.exec(said.text) ?? []
    const serves = said.text.split('\n').find((line) => line.startsWith('Holdfast serves')) ?? ''
    block([...begun, '...', clean(serves).replace(/^/, `${clock()}  `)])
    say('A second terminal, with the two lines that the first one printed:')
    const run = async (...commands: readonly string[]): Promise<void> => {
      const entries: string[] = []
      for (const command of commands) {
        const at = clock()
        const output = clean(await terminal.run(command))
        entries.push(`${at}  $ ${clean(command)}`, ...(output === '' ? [] : output.split('\n').map((line) => `      ${line}`.trimEnd())))
      }
      block(entries)
    }
    await run(
      `export HOLDFAST_ADDR=${addresses}`,
      `export HOLDFAST_TOKEN=${token}`,
      'npx holdfast secrets enable -path=secret -version=2 kv',
      'npx holdfast kv put -field=version secret/app/db user=app password=hunter2; echo',
    )
    writeFileSync(join(clone, 'app.js'), app)
    say('An application that reads two variables, `app.js`, in a third terminal:')
    block(app.trimEnd().split('\n'))
    const at = clock()
    const command = 'npx holdfast run -watch -interval=1s -secret=secret/app/db -- node app.js'
    running = spawn('bash', ['-c', `exec ${command}`], {
      cwd: clone,
      env: { ...env, HOLDFAST_ADDR: addresses, HOLDFAST_TOKEN: token },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    const printed = started(running)
    await until('the application', () => printed.text.includes('letters'))
    block([
      `${at}  $ ${command}`,
      ...clean(printed.text)
        .split('\n')
        .map((line) => `${clock()}  ${line}`),
    ])
    say('The password is changed, in the second:')
    await run('npx holdfast kv patch -field=version secret/app/db password=correct-horse; echo')
    const before = printed.text
    await until('the new password', () => printed.text.includes('13 letters'))
    say('And the third terminal says by itself:')
    block(
      printed.text
        .slice(before.length)
        .trimEnd()
        .split('\n')
        .map((line) => `${clock()}  ${line}`),
    )
    return clock()
  } finally {
    for (const child of [running, server]) {
      if (child === null || child.exitCode !== null || child.pid === undefined) continue
      const ended = once(child, 'exit')
      process.kill(-child.pid, 'SIGTERM')
      await ended
    }
    await terminal.close()
  }
}

const home = mkdtempSync(join(tmpdir(), 'holdfast-first-'))
mkdirSync(join(home, 'cache'))
const total = await record(home).finally(() => rmSync(home, { recursive: true, force: true }))
const text = `# From nothing to a rotated secret

Recorded by \`node scripts/record-first-secret.ts\`, with minutes and seconds in front: a fresh clone, an empty cache of npm, two cores. From \`git clone\` to an application that runs with a
changed password it took **${total}**; somebody who reads on the way has the rest of five minutes for it. [Getting started](getting-started.md) explains each step; when something else comes out, see
[there](getting-started.md#when-it-does-not-work).

${lines
  .join('\n')
  .replaceAll(/\n{3,}/g, '\n\n')
  .trim()}
`
writeFileSync(target, text)
const seconds = total.split(':').reduce((sum, part) => sum * 60 + Number(part), 0)
console.log(`recorded in ${total}`)
if (seconds > secondsMax) throw new Error(`expected less than ${secondsMax} s, got ${seconds}`)
