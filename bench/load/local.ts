/** A Holdfast cluster of this machine for one run, of this work tree or of another one (`--compare-checkout`), in a folder that is removed afterwards. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { LocalCluster as LocalClusterType, LocalNode } from '#cmd/dev/local-cluster.ts'
import { freePorts } from '#test/support/cluster.ts'
import { startHaproxy, haproxyInstalled } from '#test/support/haproxy.ts'
import type { Side } from './side.ts'

export interface LocalOptions {
  readonly nodes: number
  readonly tls: boolean
  readonly audit: boolean
  readonly via: 'leader' | 'follower' | 'balancer'
  /** Where the data lies: the disk is part of what is measured. */
  readonly dataDir: string
  /** Lines added to every node's configuration. */
  readonly extraConfig: string
  /** Where V8's profiler writes; null: it does not run. */
  readonly profileDir: string | null
  readonly say: (line: string) => void
}

const servingMsMax = 120_000

/** @throws Error: ports, folder, a balancer that is not installed. */
export async function startLocal(checkout: string, label: string, options: LocalOptions): Promise<Side> {
  const { nodes, tls, audit, via, say } = options
  if (via === 'follower' && nodes < 2) throw new Error('--via follower expected --nodes 3, got one node')
  if (via === 'balancer' && (nodes !== 3 || tls)) throw new Error('--via balancer expected --nodes 3 without --tls, got otherwise')
  if (via === 'balancer' && !haproxyInstalled()) throw new Error('--via balancer expected haproxy, got none\nhint: apt-get install haproxy')
  const dir = mkdtempSync(join(options.dataDir, 'holdfast-bench-'))
  const path = pathToFileURL(join(resolve(checkout), 'cmd', 'dev', 'local-cluster.ts')).href
  const { LocalCluster } = (await import(path)) as { LocalCluster: typeof LocalClusterType }
  const apiPort = await freePorts(nodes * 10 + 1)
  const { extraConfig, profileDir } = options
  const profiler = fileURLToPath(new URL('profiled.ts', import.meta.url))
  const profiled = profileDir === null ? {} : { under: [process.execPath, profiler, resolve(profileDir)] }
  const cluster = await LocalCluster.prepare({ nodes, apiPort, dataDir: dir, tls, audit, extraConfig, ...profiled })
  let balancer: Awaited<ReturnType<typeof startHaproxy>> | null = null
  const stop = async (): Promise<void> => {
    await balancer?.stop()
    await cluster.stop()
    rmSync(dir, { recursive: true, force: true })
  }
  try {
    say(`${label}: starting ${nodes} node(s)`)
    await cluster.start().catch((error: unknown) => {
      const logs = cluster.nodes.map(({ logPath }) => readFileSync(logPath, 'utf8').trim().split('\n').at(-1) ?? '')
      throw new Error(`${label}: ${(error as Error).message}\n${logs.filter(Boolean).join('\n')}`, { cause: error })
    })
    const leader = await cluster.leader()
    const follower = cluster.nodes.find((node) => node !== leader)
    if (leader === null) throw new Error(`${label}: expected a leader, got none`)
    if (via === 'balancer') balancer = await startHaproxy(cluster, apiPort + nodes * 10)
    const address = via === 'balancer' ? balancer!.address : via === 'follower' ? follower!.apiAddress : leader.apiAddress
    return {
      label,
      dialect: 'v1',
      addresses: [address],
      control: leader.apiAddress,
      token: cluster.rootToken,
      caPath: cluster.caPath,
      version: versionOf(checkout),
      processes: cluster.nodes.map((node) => ({ name: node === leader ? `${node.id} (leader)` : node.id, pid: node.process?.pid ?? 0 })),
      own: true,
      api: cluster.api,
      restart: () => startAgain(cluster, follower ?? leader),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** From the start of its process to its first good answer, unsealed by the development keys as soon as it asks for them. */
async function startAgain(cluster: LocalClusterType, node: LocalNode): Promise<number> {
  await cluster.stopNode(node)
  const started = performance.now()
  cluster.spawn(node)
  await cluster.waitForAnswer(node)
  await cluster.unseal(node)
  await cluster.waitUntilServing([node], servingMsMax)
  return (performance.now() - started) / 1_000
}

function versionOf(checkout: string): string {
  const git = (...args: string[]): string => execFileSync('git', args, { encoding: 'utf8', cwd: checkout }).trim()
  const changed = git('status', '--porcelain', '--', 'src', 'raft', 'cmd').split('\n').filter(Boolean).length
  return `${git('rev-parse', '--short', 'HEAD')}${changed === 0 ? '' : ` with ${changed} changed files`}`
}
