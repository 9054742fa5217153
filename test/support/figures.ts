import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { figureRecord } from '#cmd/dev/figure-record.ts'

/**
 * Prints what a run measured, and, when HOLDFAST_FIGURES names a folder, keeps it there as JSON with the commit that it was measured on.
 * A figure without its commit and command is a rumour.
 */
export function recordFigures(name: string, command: string, figures: object): void {
  console.log(`figures ${name}: ${JSON.stringify(figures)}`)
  const folder = process.env['HOLDFAST_FIGURES']
  if (folder === undefined || folder === '') return
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(figureRecord(name, command, figures), null, 2)}\n`)
}

/** Prints what a run measured, and keeps it in `file` where one is named, with commit, command and machine. */
export function keepFigures(file: string | undefined, name: string, command: string, figures: object): void {
  console.log(JSON.stringify(figures, null, 2))
  if (file !== undefined) writeFileSync(file, `${JSON.stringify(figureRecord(name, command, figures), null, 2)}\n`)
}
