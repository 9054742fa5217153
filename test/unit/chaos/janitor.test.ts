import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { Janitor, startedAt } from '#test/chaos/janitor.ts'

const module = fileURLToPath(new URL('../../chaos/janitor.ts', import.meta.url))
const folder = (): string => mkdtempSync(join(tmpdir(), 'holdfast-janitor-'))

test('the newest chore comes first, and what was forgotten is left alone', async () => {
  const dir = folder()
  const inner = join(dir, 'inner')
  mkdirSync(inner)
  const janitor = new Janitor()
  janitor.owe({ remove: dir })
  janitor.owe({ command: ['/bin/sh', '-c', `test -d ${inner} && cp -r ${inner} ${dir}-copied`] })
  const forgotten = janitor.owe({ command: ['/bin/sh', '-c', `touch ${dir}-wrong`] })
  janitor.owe({ remove: `${dir}-copied` })
  janitor.forget(forgotten)
  await janitor.finish()
  expect([existsSync(dir), existsSync(`${dir}-copied`), existsSync(`${dir}-wrong`)]).toEqual([false, true, false])
  const last = new Janitor()
  last.owe({ remove: `${dir}-copied` })
  await last.finish()
  expect(existsSync(`${dir}-copied`)).toBe(false)
})

test('a run that is killed leaves neither its folder nor its processes', async () => {
  const dir = folder()
  const script = join(dir, 'run.ts')
  writeFileSync(
    script,
    `import { spawn } from 'node:child_process'
import { Janitor } from ${JSON.stringify(module)}
const janitor = new Janitor()
janitor.owe({ remove: ${JSON.stringify(dir)} })
const child = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' })
janitor.oweKill(child.pid ?? 0)
console.log(child.pid)
setInterval(() => {}, 1000)`,
  )
  const run = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] })
  const pid = Number(String((await once(run.stdout, 'data'))[0]))
  expect(startedAt(pid)).not.toBeNull()
  await delay(100)
  run.kill('SIGKILL')
  for (let i = 0; i < 100 && (existsSync(dir) || startedAt(pid) !== null); i++) await delay(50)
  expect([existsSync(dir), startedAt(pid)]).toEqual([false, null])
})
