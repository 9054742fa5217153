import { execFileSync, spawnSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { runCommand, temporaryHome } from '#test/support/cli.ts'

/** What bash offers after `typed`, its last word being the one under the cursor. */
async function bashOffers(typed: readonly string[]): Promise<readonly string[]> {
  const { out } = await runCommand('completion bash')
  const words = ['holdfast', ...typed].map((word) => `'${word}'`).join(' ')
  const script = `${out}\nCOMP_WORDS=(${words}); COMP_CWORD=${typed.length}; _holdfast; printf '%s\\n' "\${COMPREPLY[@]}"`
  return execFileSync('bash', ['-c', script], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line !== '')
}

test('bash offers commands, then their children, then their flags', async () => {
  expect(await bashOffers(['sta'])).toEqual(['status'])
  expect(await bashOffers(['kv', 'met'])).toEqual(['metadata'])
  expect(await bashOffers(['kv', 'metadata', ''])).toEqual(expect.arrayContaining(['get', 'put', 'patch', 'delete']))
  expect(await bashOffers(['operator', 'raft', 'join'])).toEqual(['join', 'join-token', 'join-tokens'])
  expect(await bashOffers(['kv', '-mount=x', 'get', '-fi'])).toEqual(['-field'])
  for (const list of [['list'], ['kv', 'list']]) expect(await bashOffers([...list, '-det'])).toEqual(['-detailed'])
})

const shells = ['bash', 'zsh', 'fish'].filter((shell) => spawnSync(shell, ['-c', 'true']).status === 0)
test.each(shells)('%s accepts its script', async (shell) => {
  const { code, out } = await runCommand(['completion', shell])
  expect(code).toBe(0)
  // A file: fish reads no script from a pipe.
  const script = join(temporaryHome(), `completion.${shell}`)
  writeFileSync(script, out)
  expect(spawnSync(shell, ['-n', script], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' })
  rmSync(dirname(script), { recursive: true })
})

test('every command is in every script', async () => {
  const { commands } = await import('#cmd/commands/index.ts')
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { out } = await runCommand(['completion', shell])
    for (const command of commands) expect(out, shell).toContain(`${command.path.join(' ')}`)
  }
})

test('another shell is refused with a suggestion', async () => {
  expect(await runCommand('completion fihs')).toMatchObject({ code: 1, err: expect.stringContaining('did you mean fish?') as string })
})
