/** Clusters of real server processes for the end-to-end tests: temporary folders, free ports, stopped whatever happens. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LocalCluster, type LocalNode } from '#cmd/dev/local-cluster.ts'

export interface TestCluster {
  readonly cluster: LocalCluster
  readonly dir: string
  /** Stops every node and removes the folder. */
  dispose(): Promise<void>
}

/** The first port of a run of `count` that are free on loopback just now. */
export async function freePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    // Below the ports that the kernel gives to outgoing connections: one of those would take a server's port while it is down.
    const base = 10_240 + ((process.pid * 131 + attempt * 977) % 22_000)
    if (await allFree(base, count)) return base
  }
  throw new Error(`expected ${count} free ports in a row, found none`)
}

async function allFree(base: number, count: number): Promise<boolean> {
  for (let port = base; port < base + count; port++) {
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer()
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    if (!free) return false
  }
  return true
}

export async function startCluster(options: { nodes?: number; tls?: boolean; extraConfig?: string } = {}): Promise<TestCluster> {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-e2e-'))
  const nodes = options.nodes ?? 3
  const apiPort = await freePorts(nodes * 10)
  const cluster = await LocalCluster.prepare({
    nodes,
    apiPort,
    dataDir: dir,
    tls: options.tls ?? false,
    ...(options.extraConfig === undefined ? {} : { extraConfig: options.extraConfig }),
  })
  const dispose = async (): Promise<void> => {
    await cluster.stop()
    if (process.env['HOLDFAST_KEEP'] === undefined) rmSync(dir, { recursive: true, force: true })
    else console.log(`kept ${dir}`)
  }
  try {
    await cluster.start()
  } catch (error) {
    await dispose()
    throw error
  }
  return { cluster, dir, dispose }
}

/** A leader that some node names, waited for. */
export async function waitForLeader(cluster: LocalCluster, timeoutMs = 10_000): Promise<LocalNode> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const leader = await cluster.leader()
    if (leader !== null) return leader
    if (performance.now() > deadline) throw new Error(`expected a leader within ${timeoutMs} ms, got none`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Mounts a kv engine of version 2 at `path`. */
export async function mountKv(cluster: LocalCluster, path: string, version: 1 | 2 = 2): Promise<void> {
  const [node] = cluster.nodes
  const answer = await cluster.api.call(node?.apiAddress ?? '', 'POST', `sys/mounts/${path}`, {
    token: cluster.rootToken,
    body: { type: 'kv', options: { version: String(version) } },
  })
  if (answer.status >= 300) throw new Error(`mount ${path}: expected 204, got ${answer.status}: ${JSON.stringify(answer.body)}`)
}
