/** The command lines that a page shows to a shell: with '$ ' before them or as they are, each whole (continued lines, here-documents). */
import { blocksOf } from '../doc-pages.ts'

const shells = new Set(['sh', 'bash', 'console', ''])
/** A block without a language may show anything: a tree of files, an error, a head. */
const command = /^(?:npx |holdfast |npm |curl )/

export interface PageLine {
  readonly line: string
  readonly language: string
}

/** Lines that end with a backslash are one; so is a command with its here-document. */
function wholeLines(body: string, isCommand: (row: string) => boolean): string[] {
  const rows = body.replaceAll(/\\\n\s*/g, '').split('\n')
  const found: string[] = []
  for (let at = 0; at < rows.length; at += 1) {
    const row = (rows[at] ?? '').trim()
    if (!isCommand(row)) continue
    const line = row.replace(/^\$ /, '')
    const mark = /<<(\w+)$/.exec(line)?.[1]
    const end = mark === undefined ? -1 : rows.findIndex((each, index) => index > at && each.trim() === mark)
    found.push(end === -1 ? line : [line, ...rows.slice(at + 1, end + 1).map((each) => each.trim())].join('\n'))
    if (end !== -1) at = end
  }
  return found
}

/** The lines of a page's blocks for a shell, in their order. */
export function shellLines(page: string): readonly PageLine[] {
  return blocksOf(page)
    .filter(({ language }) => shells.has(language))
    .flatMap(({ language, body }) => {
      const prompted = /^\s*\$ /m.test(body)
      const isCommand = (row: string): boolean => {
        if (prompted) return row.startsWith('$ ')
        return language === '' ? command.test(row) : row !== '' && !row.startsWith('#')
      }
      return wholeLines(body, isCommand).map((line) => ({ line, language }))
    })
}
