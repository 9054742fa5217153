import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'

/**
 * Prints what a run measured, and, when HOLDFAST_FIGURES names a folder, keeps it there as JSON with the commit that it was measured on.
 * A figure without its commit and command is a rumour.
 */
export function recordFigures(name: string, command: string, figures: object): void {
  console.log(`figures ${name}: ${JSON.stringify(figures)}`)
  const folder = process.env['HOLDFAST_FIGURES']
  if (folder === undefined || folder === '') return
  mkdirSync(folder, { recursive: true })
  const git = (...args: string[]): string => execFileSync('git', args, { encoding: 'utf8' }).trim()
  const record = {
    name,
    command,
    commit: git('rev-parse', 'HEAD'),
    uncommitted_files: git('status', '--porcelain', '--', 'src', 'raft', 'cmd').split('\n').filter(Boolean).length,
    date: new Date().toISOString(),
    machine: { cores: cpus().length, memory_gib: Math.round(totalmem() / 2 ** 30), node: process.version },
    figures,
  }
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(record, null, 2)}\n`)
}
