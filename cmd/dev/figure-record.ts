/** What a figure is kept with. A figure without its commit and command is a rumour. */
import { spawnSync } from 'node:child_process'
import { cpus, totalmem } from 'node:os'

/** Figures with what makes them one: command, commit, machine. In an installation that is no repository there is no commit: null. */
export function figureRecord(name: string, command: string, figures: object): object {
  const git = (...args: string[]): string | null => {
    const { status, stdout } = spawnSync('git', args, { encoding: 'utf8' })
    return status === 0 ? stdout.trim() : null
  }
  return {
    name,
    command,
    commit: git('rev-parse', 'HEAD'),
    uncommitted_files: git('status', '--porcelain', '--', 'src', 'raft', 'cmd')?.split('\n').filter(Boolean).length ?? null,
    date: new Date().toISOString(),
    machine: { cores: cpus().length, memory_gib: Math.round(totalmem() / 2 ** 30), node: process.version },
    figures,
  }
}
