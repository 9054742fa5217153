/** Tests that a page names: whether each stands where it is said to, and how it is written there. */
import { existsSync, readFileSync } from 'node:fs'

/** A test, as 'path::name'; a whole file, as 'path'. Paths are below test/. */
export type Shown = string

/** Null, or what is wrong with 'path::name' (or 'path'). */
export function problem(shown: Shown): string | null {
  const [path = '', name] = shown.split('::')
  if (!existsSync(`test/${path}`)) return `no file ${path}`
  const title = (name ?? '').replaceAll("'", "\\'")
  const text = readFileSync(`test/${path}`, 'utf8')
  if (name === undefined) return /\btest(\.each\(.*)?\(/.test(text) ? null : `no test in ${path}`
  return [`'${name}'`, `"${name}"`, `'${title}'`, `\`${name}\``].some((quoted) => text.includes(quoted)) ? null : `no test '${name}' in ${path}`
}

/** As a cell of a table. */
export function shownCell(shown: readonly Shown[]): string {
  const tests = shown.map((each) => {
    const [path = '', title] = each.split('::')
    return title === undefined ? `\`test/${path}\`` : `\`test/${path}\`: ${title.replaceAll('|', '\\|')}`
  })
  return tests.join('<br>')
}
