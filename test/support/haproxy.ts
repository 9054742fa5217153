import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** Is haproxy on this machine? Debian: `apt-get install haproxy`. */
export function haproxyInstalled(): boolean {
  return spawnSync('haproxy', ['-v']).status === 0
}

/** The example of `deploy/`, unchanged, in front of a cluster of three. The caller stops it by `stop`. */
export async function startHaproxy(
  cluster: { readonly nodes: readonly { readonly apiAddress: string }[] },
  port: number,
): Promise<{ address: string; stop(): Promise<void> }> {
  const [a, b, c] = cluster.nodes.map((node) => new URL(node.apiAddress).host)
  const child: ChildProcess = spawn('haproxy', ['-db', '-f', 'deploy/haproxy/haproxy.cfg'], {
    stdio: ['ignore', 'ignore', 'ignore'],
    env: { ...process.env, HOLDFAST_BIND: `127.0.0.1:${port}`, HOLDFAST_NODE1: a, HOLDFAST_NODE2: b, HOLDFAST_NODE3: c },
  })
  await untilListening('haproxy', child, port)
  return {
    address: `http://127.0.0.1:${port}`,
    stop: async () => {
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    },
  }
}

export async function untilListening(name: string, child: ChildProcess, port: number): Promise<void> {
  const deadline = performance.now() + 5_000
  while (!(await accepts(port))) {
    if (child.exitCode !== null || performance.now() > deadline)
      throw new Error(`expected ${name} to listen on ${port}, got exit code ${child.exitCode}`)
    await delay(50)
  }
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
