/** The commands of a page: run in order in one shell, as a reader would, and what they print compared with what the page shows. */
import { readFileSync, writeFileSync } from 'node:fs'

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
  return [...text.matchAll(/^( *)```(\w*)(?: ([^\n]*))?\n(.*?)^\1```$/gms)].map((match) => ({
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

/** What differs from run to run, as the page writes it. */
export function shown(output: string, address: string): string {
  return output
    .replaceAll(address, 'http://127.0.0.1:8200')
    .replace(/\bs\.[A-Za-z0-9]{24}\b/g, `s.${'X'.repeat(24)}`)
    .replace(/(?<=token_accessor +)[A-Za-z0-9]{24}/g, 'X'.repeat(24))
    .replace(
      /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g,
      (_, part: string | undefined) => `YYYY-MM-DDThh:mm:ss${part === undefined ? '' : '.sss'}Z`,
    )
}

/** The page with what its commands printed; `run` gets each block and answers its new body. */
export async function replayed(
  path: string,
  run: (block: Block) => Promise<string>,
): Promise<{ readonly page: string; readonly again: string }> {
  const page = readFileSync(path, 'utf8')
  let again = ''
  let done = 0
  for (const block of blocksOf(page)) {
    again += page.slice(done, block.at) + (await run(block))
    done = block.at + block.body.length
  }
  return { page, again: again + page.slice(done) }
}

export const update = (path: string, text: string): void => writeFileSync(path, text)
