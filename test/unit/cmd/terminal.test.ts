/** What is typed at a terminal: seen by nobody, taken whole. `script` (Debian's bsdutils) gives the command a terminal. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { temporaryHome } from '#test/support/cli.ts'

const home = temporaryHome()
afterAll(() => rmSync(home, { recursive: true }))

interface Typed {
  readonly code: number
  /** What the terminal showed behind the prompt. */
  readonly shown: string
}

/** Runs `holdfast` at a terminal, and types once it is asked. */
async function at(words: string, prompt: string, keys: string): Promise<Typed> {
  const command = `${process.execPath} ${resolve('cmd/holdfast.mjs')} ${words}`
  const child = spawn('script', ['-qec', command, '/dev/null'], { env: { PATH: process.env['PATH'], HOME: home, NO_COLOR: '1' } })
  let shown = ''
  let asked = false
  child.stdout.on('data', (part: Buffer) => {
    shown += part.toString()
    if (asked || !shown.includes(prompt)) return
    asked = true
    child.stdin.write(keys)
  })
  const [code] = (await once(child, 'exit')) as [number]
  return { code, shown: shown.slice(shown.indexOf(prompt) + prompt.length).replaceAll('\r', '') }
}

const prompt = 'password (will be hidden; Ctrl-D ends it): '
const write = 'write -output-curl-string auth/userpass/users/ann password=-'

test('a value is asked for, not shown, and ends without the end of its last line', async () => {
  const { code, shown } = await at(write, prompt, 'hunter2\r\u0004')
  expect([code, shown]).toEqual([0, expect.stringMatching(/^\n[^\n]*"password":"hunter2"[^]*$/)])
})

test('a value may have several lines, which do not go to the shell', async () => {
  const { code, shown } = await at(write, prompt, 'one\rtwx\u007fo\r\u0004')
  expect([code, shown]).toEqual([0, expect.stringContaining(String.raw`"password":"one\ntwo"`)])
})

test('an end of line that is pasted as two letters is one', async () => {
  const { shown } = await at(write, prompt, 'one\r\ntwo\u0004')
  expect(shown).toContain(String.raw`"password":"one\ntwo"`)
})

test('Ctrl-C ends it, and nothing is sent', async () => {
  expect(await at(write, prompt, 'hunt\u0003')).toEqual({ code: 2, shown: '\nerror: nothing was entered\n' })
})
