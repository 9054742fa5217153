/**
 * Lays out a policy file: two spaces a level of nesting, one space around `=` at the start of a line, no blank lines in a row.
 * Comments and strings stay as they are. Only white space changes, so that the meaning can't.
 */
interface Scan {
  /** How many brackets the line opens more than it closes, before and after its first other letter. */
  readonly leadingCloses: number
  readonly balance: number
  readonly inComment: boolean
  readonly heredoc: string | null
}

/** Reads one line's brackets outside strings and comments. `inComment`: the line begins inside a block comment. */
function scan(line: string, inComment: boolean): Scan {
  let balance = 0
  let leadingCloses = 0
  let onlyCloses = true
  let comment = inComment
  for (let at = 0; at < line.length; at++) {
    const letter = line[at] ?? ''
    const pair = line.slice(at, at + 2)
    if (comment) {
      if (pair === '*/') {
        comment = false
        at += 1
      }
      continue
    }
    if (letter === '#' || pair === '//') break
    if (pair === '/*') {
      comment = true
      at += 1
      continue
    }
    if (letter === '"') {
      at = endOfString(line, at)
      onlyCloses = false
      continue
    }
    const heredoc = /^<<-?(\w+)\s*$/.exec(line.slice(at))
    if (heredoc) return { leadingCloses, balance, inComment: false, heredoc: heredoc[1] ?? null }
    if ('{[('.includes(letter)) balance += 1
    if ('}])'.includes(letter)) {
      balance -= 1
      if (onlyCloses) leadingCloses += 1
    } else if (!/[\s,]/.test(letter)) onlyCloses = false
  }
  return { leadingCloses, balance, inComment: comment, heredoc: null }
}

function endOfString(line: string, start: number): number {
  let at = start + 1
  while (at < line.length && line[at] !== '"') at += line[at] === '\\' ? 2 : 1
  return at
}

export function formatHcl(text: string): string {
  const lines: string[] = []
  let depth = 0
  let inComment = false
  let heredoc: string | null = null
  for (const raw of text.replaceAll('\r\n', '\n').split('\n')) {
    if (heredoc !== null) {
      lines.push(raw)
      if (raw.trim() === heredoc) heredoc = null
      continue
    }
    const line = raw.trim()
    if (line === '') {
      if (lines.length > 0 && lines.at(-1) !== '') lines.push('')
      continue
    }
    const found = scan(line, inComment)
    const indent = inComment ? raw.trimEnd() : '  '.repeat(Math.max(0, depth - found.leadingCloses)) + spaced(line)
    lines.push(indent)
    depth = Math.max(0, depth + found.balance)
    inComment = found.inComment
    heredoc = found.heredoc
  }
  while (lines.at(-1) === '') lines.pop()
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}

const spaced = (line: string): string => line.replace(/^("[^"\\]*"|[\w.-]+)\s*=\s*(?!=)/, '$1 = ')
