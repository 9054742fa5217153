import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { untilListening } from './haproxy.ts'

/** Is nginx on this machine? Debian: `apt-get install nginx-light`. */
export function nginxInstalled(): boolean {
  return spawnSync('nginx', ['-v']).status === 0
}

/** The example of `deploy/`, with the addresses of this cluster in place of the example's and nothing else changed. The caller stops it by `stop`. */
export async function startNginx(
  cluster: { readonly nodes: readonly { readonly apiAddress: string }[] },
  port: number,
): Promise<{ address: string; stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-nginx-'))
  let example = readFileSync('deploy/nginx/holdfast.conf', 'utf8')
  const replace = (from: string, to: string): void => {
    if (example.split(from).length !== 2) throw new Error(`expected '${from}' once in the example of nginx`)
    example = example.replace(from, to)
  }
  for (const [at, { apiAddress }] of cluster.nodes.entries()) replace(`127.0.0.1:82${at}0`, new URL(apiAddress).host)
  replace('127.0.0.1:8280', `127.0.0.1:${port}`)
  const kept = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  for (const name of kept) mkdirSync(join(folder, name))
  const paths = kept.map((name) => `  ${name}_temp_path ${join(folder, name)};`).join('\n')
  const file = join(folder, 'nginx.conf')
  writeFileSync(
    file,
    `daemon off;\nworker_processes 1;\nuser root;\npid ${join(folder, 'pid')};\nerror_log ${join(folder, 'error.log')};\nevents {}\nhttp {\n  access_log off;\n${paths}\n${example}\n}\n`,
  )
  const child = spawn('nginx', ['-p', folder, '-e', join(folder, 'error.log'), '-c', file], { stdio: ['ignore', 'ignore', 'ignore'] })
  await untilListening('nginx', child, port)
  return {
    address: `http://127.0.0.1:${port}`,
    stop: async () => {
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
