/** What this machine permits, found out by trying; what is missing and can be had is installed first (Debian, as root). */
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run, succeeds } from './command.ts'

/** Each is null where it can be used, or the reason why not. */
export interface Machine {
  readonly namespaces: string | null
  readonly nft: string | null
  readonly mounts: string | null
  readonly powerCut: string | null
  readonly strace: string | null
  readonly faketime: string | null
  readonly fakeTimeLibrary: string | null
}

const packages = [
  ['nft', 'nftables'],
  ['nbdkit', 'nbdkit'],
  ['nbdfuse', 'libnbd-bin'],
  ['fusermount3', 'fuse3'],
  ['mkfs.ext4', 'e2fsprogs'],
  ['strace', 'strace'],
  ['faketime', 'faketime'],
] as const
const installMsMax = 180_000

const isRoot = (): boolean => process.getuid?.() === 0

/** Installs what is missing. A failure is no error: the kinds of fault that need it are then listed with their reason. */
export function installMissing(say: (line: string) => void): void {
  const missing = packages.filter(([program]) => !installed(program)).map(([, name]) => name)
  if (missing.length === 0 || !isRoot() || !installed('apt-get')) return
  say(`installing ${missing.join(' ')}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (...args: string[]): boolean => spawnSync('apt-get', args, { stdio: 'ignore', env, timeout: installMsMax }).status === 0
  if (!apt('update', '-qq') || !apt('install', '-y', '-qq', '--no-install-recommends', ...missing)) say('apt-get failed; going on without')
}

/** `plain`: as if it were a machine without root and without packages. */
export function examineMachine({ plain = false } = {}): Machine {
  if (plain) {
    const reason = 'not used: --plain'
    return {
      namespaces: reason,
      nft: reason,
      mounts: reason,
      powerCut: reason,
      strace: reason,
      faketime: reason,
      fakeTimeLibrary: null,
    }
  }
  const namespaces = needs(['ip', 'nsenter']) ?? tryNamespace()
  const mounts = needs(['mount', 'umount']) ?? tryMount()
  const library = globSync('/usr/lib/*/faketime/libfaketimeMT.so.1')[0] ?? null
  return {
    namespaces,
    nft: namespaces ?? needs(['nft']) ?? tryNft(),
    mounts,
    powerCut:
      mounts ?? needs(['nbdkit', 'nbdfuse', 'fusermount3', 'mkfs.ext4', 'losetup']) ?? (existsSync('/dev/fuse') ? null : 'no /dev/fuse'),
    strace: needs(['strace']) ?? tryStrace(),
    faketime: library === null ? 'libfaketime is not installed' : null,
    fakeTimeLibrary: library,
  }
}

function installed(program: string): boolean {
  return succeeds('/bin/sh', '-c', `PATH="$PATH:/usr/sbin:/sbin"; command -v ${program}`)
}

function needs(programs: readonly string[]): string | null {
  const missing = programs.filter((program) => !installed(program))
  return missing.length === 0 ? null : `not installed: ${missing.join(', ')}`
}

function attempt(what: string, act: () => void): string | null {
  if (!isRoot()) return `${what} needs root`
  try {
    act()
    return null
  } catch (error) {
    return `${what}: ${(error as Error).message}`
  }
}

const trialName = (): string => `hft${process.pid}`

function tryNamespace(): string | null {
  return attempt('a network namespace', () => {
    run('ip', 'netns', 'add', trialName())
    run('ip', 'netns', 'del', trialName())
  })
}

function tryNft(): string | null {
  return attempt('nft in a namespace', () => {
    run('ip', 'netns', 'add', trialName())
    try {
      run('ip', 'netns', 'exec', trialName(), 'nft', 'add', 'table', 'ip', 'trial')
    } finally {
      run('ip', 'netns', 'del', trialName())
    }
  })
}

function tryMount(): string | null {
  return attempt('a mount', () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-mount-'))
    try {
      run('mount', '-t', 'tmpfs', '-o', 'size=1m', 'holdfast', folder)
      run('umount', folder)
    } finally {
      rmdirSync(folder)
    }
  })
}

function tryStrace(): string | null {
  return succeeds('strace', '-o', '/dev/null', '-e', 'inject=fsync:error=EIO:when=1', 'true') ? null : 'strace may not trace here'
}
