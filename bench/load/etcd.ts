/**
 * etcd beside Holdfast: what a bare replicated store does with the same disk, through its JSON gateway (keys and values in base64). Debian's packages
 * etcd-server and etcd-client are 3.4. It neither encrypts, nor checks a token, nor keeps an audit: writes are what compares.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Api } from '#cmd/dev/api.ts'
import { freePorts } from '#test/support/cluster.ts'
import { endChild } from './children.ts'
import { drive, type Work } from './drive.ts'
import { perFolder, secretAt, valueOf, type GroundOptions } from './ground.ts'
import { requestText } from './http1.ts'
import type { LocalOptions } from './local.ts'
import type { Side } from './side.ts'

const startMsMax = 20_000
const loadMsMax = 3_600_000
const headers = 'Host: bench\r\nContent-Type: application/json\r\n'
export const etcdWorks: readonly string[] = ['kv-read', 'kv-write', 'kv-mixed', 'kv-list']
const base64 = (text: string): string => Buffer.from(text).toString('base64')

/** @throws Error where it is not installed, or does not start. */
export async function startEtcd({ nodes, tls, via, dataDir, say }: LocalOptions): Promise<Side> {
  if (tls) throw new Error('--compare etcd expected no --tls, got it')
  const asked = spawnSync('etcd', ['--version'])
  if (asked.status !== 0) throw new Error('--compare etcd expected the program etcd, got none\nhint: apt-get install etcd-server')
  const version = /etcd Version: (\S+)/.exec(asked.stdout.toString())?.[1] ?? 'unknown'
  const dir = mkdtempSync(join(dataDir, 'etcd-bench-'))
  const port = await freePorts(nodes * 10)
  const members = Array.from({ length: nodes }, (_, i) => ({ id: `etcd${i + 1}`, client: port + 10 * i, peer: port + 10 * i + 1 }))
  const initial = members.map(({ id, peer }) => `${id}=http://127.0.0.1:${peer}`).join(',')
  const children: ChildProcess[] = []
  const api = new Api(null)
  const stop = async (): Promise<void> => {
    await api.close()
    await Promise.all(children.map(endChild))
    rmSync(dir, { recursive: true, force: true })
  }
  try {
    say(`etcd ${version}: starting ${nodes} node(s)`)
    for (const { id, client, peer } of members) {
      const log = openSync(join(dir, `${id}.log`), 'a', 0o600)
      const [own, its] = [`http://127.0.0.1:${client}`, `http://127.0.0.1:${peer}`]
      const args = ['--name', id, '--data-dir', join(dir, id), '--listen-client-urls', own, '--advertise-client-urls', own]
      args.push(
        '--listen-peer-urls',
        its,
        '--initial-advertise-peer-urls',
        its,
        '--initial-cluster',
        initial,
        '--initial-cluster-state',
        'new',
      )
      children.push(spawn('etcd', args, { stdio: ['ignore', log, log] }))
      closeSync(log)
    }
    const addresses = members.map(({ client }) => `http://127.0.0.1:${client}`)
    const leading = await leaderOf(addresses)
    const leader = addresses[leading]!
    const follower = addresses.find((address) => address !== leader)
    return {
      label: `etcd ${version}`,
      dialect: 'etcd',
      addresses: via === 'balancer' ? addresses : [via === 'follower' ? (follower ?? leader) : leader],
      control: leader,
      token: null,
      caPath: null,
      version,
      processes: members.map(({ id }, i) => ({ name: i === leading ? `${id} (leader)` : id, pid: children[i]?.pid ?? 0 })),
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

async function post(address: string, path: string, body: object): Promise<Record<string, unknown>> {
  const answer = await fetch(`${address}/v3/${path}`, { method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(5_000) })
  if (!answer.ok) throw new Error(`etcd ${path}: expected 200, got ${answer.status}`)
  return (await answer.json()) as Record<string, unknown>
}

/** Which of the members leads, once all answer. */
async function leaderOf(addresses: readonly string[]): Promise<number> {
  for (const deadline = performance.now() + startMsMax; performance.now() < deadline; await delay(100)) {
    try {
      const states = await Promise.all(addresses.map((address) => post(address, 'maintenance/status', {})))
      const at = states.findIndex(({ header, leader }) => leader !== undefined && (header as { member_id: string }).member_id === leader)
      if (at >= 0) return at
    } catch {
      continue // Not all of them answer yet.
    }
  }
  throw new Error(`waited ${startMsMax / 1_000} s for etcd to have a leader`)
}

const key = (i: number): string => base64(`bench/${secretAt(i)}`)

/** The works that etcd has, over `secrets` keys that are written first. @throws Error for another work. */
export async function etcdGround(side: Side, options: GroundOptions): Promise<(name: string) => Work> {
  const { secrets, sizeBytes } = options
  const value = base64(valueOf(sizeBytes))
  const put = (i: number): string => requestText('POST', '/v3/kv/put', headers, `{"key":"${key(i)}","value":"${value}"}`)
  const range = (i: number): string => requestText('POST', '/v3/kv/range', headers, `{"key":"${key(i)}"}`)
  const folder = (f: number): string => {
    const [from, to] = [base64(`bench/f${f}/`), base64(`bench/f${f}0`)]
    return requestText('POST', '/v3/kv/range', headers, `{"key":"${from}","range_end":"${to}","keys_only":true}`)
  }
  if (options.works.some((work) => work !== 'kv-write')) {
    let next = 0
    const work: Work = { name: `writing ${secrets} keys`, next: () => put(next++ % secrets) }
    const onProgress = (count: number): void => options.say(`${side.label}: ${count} of ${secrets} keys written`)
    const settings = {
      connections: Math.min(64, secrets),
      warmUpMs: 0,
      runMs: loadMsMax,
      rate: null,
      processes: [],
      dataDir: null,
      countMax: secrets,
    }
    await drive({ addresses: [side.control], ca: null, work, ...settings, onProgress })
  }
  let turn = 0
  const folders = Math.ceil(secrets / perFolder)
  const kinds: Readonly<Record<string, () => string>> = {
    'kv-read': () => range(randomInt(secrets)),
    'kv-write': () => put(randomInt(secrets)),
    'kv-mixed': () => (++turn % 10 === 0 ? put : range)(randomInt(secrets)),
    'kv-list': () => folder(randomInt(folders)),
  }
  return (name) => {
    const next = kinds[name]
    if (next === undefined) throw new Error(`etcd has ${etcdWorks.join(', ')}, and no ${name}`)
    return { name, next }
  }
}
