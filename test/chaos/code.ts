/** The code under test, copied once: whoever edits the tree meanwhile must not change what a restarted node runs. */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const parts = ['cmd', 'src', 'raft', 'package.json']

export interface Code {
  readonly launcher: string
  readonly commit: string
  /** Files of the code that differ from the commit. */
  readonly uncommitted: number
}

/** `from`: the tree as it lies there, or a commit by any of its names. */
export function freezeCode(dir: string, from: 'tree' | { readonly commit: string }): Code {
  mkdirSync(dir, { recursive: true })
  if (from === 'tree') for (const part of parts) cpSync(join(root, part), join(dir, part), { recursive: true })
  else {
    const archive = execFileSync('git', ['archive', from.commit, ...parts], { cwd: root, maxBuffer: 256 * 1_048_576 })
    execFileSync('tar', ['-x', '-C', dir], { input: archive })
  }
  symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'))
  const changed =
    from !== 'tree'
      ? []
      : git('status', '--porcelain', '--', ...parts)
          .split('\n')
          .filter(Boolean)
  return {
    launcher: join(dir, 'cmd', 'holdfast.mjs'),
    commit: git('rev-parse', from === 'tree' ? 'HEAD' : from.commit),
    uncommitted: changed.length,
  }
}

/** A tree without git (a tarball) has no commit to name. */
function git(...args: string[]): string {
  try {
    return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return ''
  }
}
