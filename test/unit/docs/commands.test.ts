/** Every `holdfast` command that a page shows is one that there is, with flags and arguments that it takes; they are counted. */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { findCommand, parseArgs } from '#cmd/cli/args.ts'
import { allFlags } from '#cmd/cli/help.ts'
import { commands } from '#cmd/commands/index.ts'
import { shellLines, type PageLine } from '#test/support/pages/lines.ts'
import { compared, planOf, plans } from '#test/support/pages/plans.ts'

const pages = ['README.md', ...globSync('docs/*.md')].toSorted()
const linesOf = (page: string): readonly PageLine[] => shellLines(readFileSync(page, 'utf8'))
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

/** Who runs a line, or why nobody does. */
function runnerOf(page: string, { line, language }: PageLine): { readonly by: string } | { readonly not: string } {
  const comparing = compared[page]
  if (language === 'console' && comparing !== undefined) return { by: comparing }
  const { elsewhere, not } = planOf(page, line)
  return not === undefined ? { by: elsewhere ?? 'test/e2e/pages.test.ts' } : { not }
}

test('each line for a shell is run by a test, but for those that say why not', () => {
  const lines = pages.flatMap((page) => linesOf(page).map((each) => ({ page, runner: runnerOf(page, each), calls: callsIn(each.line).length })))
  const ran = lines.filter(({ runner }) => 'by' in runner)
  const calls = (some: typeof lines): number => some.reduce((sum, each) => sum + each.calls, 0)
  const reasons = Map.groupBy(
    lines.filter(({ runner }) => 'not' in runner),
    ({ page, runner }) => `${page}: ${'not' in runner ? runner.not : ''}`,
  )
  console.log(`docs: ${lines.length} lines with ${calls(lines)} calls of holdfast; run by a test: ${ran.length} lines, ${calls(ran)} calls`)
  for (const [reason, some] of reasons) console.log(`not run: ${some.length} lines of ${reason}`)
  expect(calls(ran)).toBeGreaterThan(220)
  expect(lines.length - ran.length).toBeLessThan(35)
})

test('each plan of a line is of a line that there is, and names a test that there is', () => {
  const left = Object.entries(plans).flatMap(([page, { lines = {} }]) => {
    const shown = new Set(linesOf(page).map(({ line }) => planOf(page, line)))
    return Object.entries(lines).filter(([, plan]) => !shown.has(plan)).map(([begin]) => `${page}: ${begin}`)
  })
  expect(left).toEqual([])
  const elsewhere = [...Object.values(plans).flatMap(({ lines }) => Object.values(lines ?? {}).flatMap((plan) => plan.elsewhere ?? [])), ...Object.values(compared)]
  expect(elsewhere.filter((path) => !existsSync(path))).toEqual([])
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
