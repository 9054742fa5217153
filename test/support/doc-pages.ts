/** The fenced blocks of a page, and the commands in them. */

export interface Command {
  readonly line: string
  /** As the page shows it. */
  readonly output: string
}

/** A fenced block: its language, the word behind it, its text. */
export interface Block {
  readonly language: string
  readonly note: string
  readonly body: string
  /** Where the body begins in the page. */
  readonly at: number
}

export function blocksOf(text: string): readonly Block[] {
  return [...text.matchAll(/^( *)```([\w-]*)(?: ([^\n]*))?\n(.*?)^\1```$/gms)].map((match) => ({
    language: match[2] ?? '',
    note: match[3] ?? '',
    body: match[4] ?? '',
    at: match.index + match[0].indexOf('\n') + 1,
  }))
}

/** '$ command' and the lines behind it. */
export function commandsOf(body: string): readonly Command[] {
  return body
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const end = part.indexOf('\n')
      return { line: part.slice(0, end), output: part.slice(end + 1) }
    })
}
