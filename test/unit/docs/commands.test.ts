/** Every `holdfast` command that a page shows is one that there is, with flags and arguments that it takes; they are counted. */
import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { findCommand, parseArgs } from '#cmd/cli/args.ts'
import { allFlags } from '#cmd/cli/help.ts'
import { commands } from '#cmd/commands/index.ts'
import { blocksOf, commandsOf } from '#test/support/doc-pages.ts'

const pages = ['README.md', ...globSync('docs/*.md')].toSorted()
/** Whose `console` blocks were made by running them; so were the tour's, and what the README shows of it. */
const run = ['docs/getting-started.md', 'docs/run.md', 'docs/kv.md', 'docs/cli.md']
const shells = new Set(['sh', 'bash', 'console', ''])

/** The words of a command line, as a shell splits them; what it would put in for a variable stays as it is. */
function words(line: string): string[] {
  const found: string[] = []
  let word = ''
  let quote: string | null = null
  let begun = false
  for (const letter of line) {
    if (quote !== null) {
      if (letter === quote) quote = null
      else word += letter
    } else if (letter === '"' || letter === "'") [quote, begun] = [letter, true]
    else if (/\s/.test(letter)) {
      if (begun) found.push(word)
      ;[word, begun] = ['', false]
    } else [word, begun] = [word + letter, true]
  }
  if (begun) found.push(word)
  return found
}

/** Each call of `holdfast` in a line: behind pipes, in substitutions, before comments and redirections. */
function callsIn(line: string): string[][] {
  const masked = line.replace(/(['"])(?:(?!\1).)*\1/g, (text) => text.replaceAll(/[|;&<>()#]/g, '\u0001'))
  const parts = masked
    .replace(/\s#\s.*$/, '')
    .split(/\|\||&&|[|;()]|\$\(/)
    .map((part) => part.replace(/\s+\d?[<>].*$/, '').replace(/\s&\s*$/, ''))
  return parts.flatMap((part) => {
    const [, rest] = /^\s*(?:\w+=\S*\s+)*(?:npx )?(?:holdfast|cmd\/holdfast\.mjs) (.*)$/.exec(part) ?? []
    return rest === undefined ? [] : [words(rest.replaceAll('\u0001', '_'))]
  })
}

/** The command lines of a page: in blocks of a shell, with '$ ' before them or as they are. */
function linesOf(page: string): { line: string; isRun: boolean }[] {
  return blocksOf(readFileSync(page, 'utf8'))
    .filter(({ language }) => shells.has(language))
    .flatMap(({ language, body }) => {
      const isRun = language === 'console' && run.includes(page)
      const prompted = commandsOf(body).map(({ line }) => line)
      const plain = prompted.length > 0 ? prompted : body.replaceAll(/\\\n\s*/g, ' ').split('\n')
      return plain.map((line) => ({ line: line.trim(), isRun }))
    })
}

/** Null, or what is wrong with the call. */
function problem(call: readonly string[]): string | null {
  if (call.length === 1 && /^-+help$/.test(call[0] ?? '')) return null
  const found = findCommand(call, commands, Object.assign({}, ...commands.map(allFlags)) as ReturnType<typeof allFlags>)
  if (!('command' in found)) return `no such command: ${call.join(' ')}`
  try {
    const { args } = parseArgs(found.rest, allFlags(found.command))
    const { argsMin, argsMax } = found.command
    // '...' stands for arguments that are left out.
    if (call.includes('...') || (args.length >= argsMin && args.length <= argsMax)) return null
    return `expected ${argsMin} to ${argsMax} arguments, got ${args.length}: ${call.join(' ')}`
  } catch (error) {
    return `${(error as Error).message}: ${call.join(' ')}`
  }
}

test.each(pages)('%s names commands, flags and arguments that there are', (page) => {
  const calls = linesOf(page).flatMap(({ line }) => callsIn(line))
  expect(calls.map(problem).filter((one) => one !== null)).toEqual([])
})

test('the commands whose output was made by a run, and those that are only read', () => {
  const lines = pages.flatMap((page) => linesOf(page).map((one) => ({ ...one, calls: callsIn(one.line).length })))
  const ran = lines.filter(({ isRun }) => isRun).reduce((sum, { calls }) => sum + calls, 0)
  const all = lines.reduce((sum, { calls }) => sum + calls, 0)
  const parsed = pages
    .map((page) => [page, linesOf(page).reduce((sum, { line, isRun }) => sum + (isRun ? 0 : callsIn(line).length), 0)] as const)
    .filter(([, count]) => count > 0)
  console.log(`docs: ${all} calls of holdfast, ${ran} of them with output from a run, ${all - ran} only parsed (those of the tour are recorded):`)
  console.log(parsed.map(([page, count]) => `${page} ${count}`).join(', '))
  expect(ran).toBeGreaterThan(35)
  expect(all - ran).toBeGreaterThan(50)
})

test('the examples in every help parse', () => {
  const wrong = commands.flatMap(({ examples }) => examples.flatMap(callsIn).map(problem)).filter((one) => one !== null)
  expect(wrong).toEqual([])
})

test('a command that is not there, a flag that it has not and an argument too many are found', () => {
  expect(callsIn(`echo a | VAULT_TOKEN=x npx holdfast kv putt secret/a "k=a | b" > out`)).toEqual([['kv', 'putt', 'secret/a', 'k=a _ b']])
  expect(problem(['kv', 'putt', 'x'])).toMatch(/no such command/)
  expect(problem(['kv', 'get', '-fieldd=x', 'a'])).toMatch(/unknown flag/)
  expect(problem(['kv', 'get', 'a', 'b'])).toMatch(/expected 1 to 1 arguments/)
})
