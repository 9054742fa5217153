/** A node's data folder as one value: what a release wrote can be kept in the repository, whatever the files are called. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { startReplica, type Peers, type StartedReplica } from '#replica/index.ts'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'

export const fixtureCluster = 'fixture'
const self = { id: 'a', clusterAddress: 'a:8201', apiAddress: 'https://a:8200', fingerprint: 'ab12', voter: true }
const nobody: Peers = { send: () => {}, sendSnapshot: () => Promise.resolve(), setPeers: () => {}, lastContactMs: () => null }
const servesWithinMs = 10_000
/** LevelDB's own diary has paths of the machine in it, and its lock nothing. */
const unkept = /^(LOG|LOG\.old|LOCK)$/

/** Every file below `directory`, by its path in it. */
export function packFolder(directory: string): Record<string, string> {
  const names = readdirSync(directory, { recursive: true, withFileTypes: true })
  const files = names.filter((each) => each.isFile() && !unkept.test(each.name)).map((each) => join(each.parentPath, each.name))
  return Object.fromEntries(files.toSorted().map((path) => [path.slice(directory.length + 1), readFileSync(path).toString('base64')]))
}

export function unpackFolder(files: Readonly<Record<string, string>>, directory: string): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true })
    writeFileSync(join(directory, name), Buffer.from(text, 'base64'))
  }
}

/** Starts the only node of the fixtures' cluster on `directory`, with the production code; resolves when it leads and serves. */
export async function serveFixture(directory: string): Promise<StartedReplica> {
  const log = await openLogStore({ directory, clusterId: fixtureCluster })
  const state = await openStateStore({ directory, clusterId: fixtureCluster, compression: false })
  const replica = await startReplica({
    nodeId: self.id,
    clusterId: fixtureCluster,
    incarnation: 1,
    log,
    state,
    peers: nobody,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    bootstrap: self,
    settings: { tickMs: 5 },
  })
  replica.setAuthenticator({ mac: () => new Uint8Array(32).fill(9) })
  const deadline = performance.now() + servesWithinMs
  while (!replica.status().ready) {
    if (performance.now() > deadline) throw new Error(`expected the node to serve, got ${JSON.stringify(replica.status())}`)
    await delay(5)
  }
  return replica
}

export async function write(replica: StartedReplica, key: number, value: string): Promise<void> {
  const ops = [{ key: Buffer.from([0x10, key]), value: Buffer.from(value) }]
  const { term, applied } = replica.status()
  await replica.propose({
    term,
    viewIndex: applied,
    reads: [],
    ranges: [],
    sections: [{ section: Buffer.from('s'), ops }],
    timeMs: 1_700_000_000_000,
  })
}
