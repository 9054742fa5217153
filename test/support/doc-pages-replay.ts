/** The commands of a page: run in order in one shell, as a reader would, and what they print compared with what the page shows. */
import { readFileSync } from 'node:fs'
import { blocksOf, type Block } from './doc-pages.ts'

/** What differs from run to run, as the page writes it. */
export function shown(output: string, address: string): string {
  return (
    output
      .replaceAll(address, 'http://127.0.0.1:8200')
      // As wide as the column of times, which loses a place where the milliseconds end with 0.
      .replaceAll(/^=+ Metadata =+$/gm, '================ Metadata =================')
      .replace(/\bs\.[A-Za-z0-9]{24}\b/g, `s.${'X'.repeat(24)}`)
      .replace(/(?<=token_accessor +)[A-Za-z0-9]{24}/g, 'X'.repeat(24))
      .replace(
        /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g,
        (_, part: string | undefined) => `YYYY-MM-DDThh:mm:ss${part === undefined ? '' : '.sss'}Z`,
      )
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
