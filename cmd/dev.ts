/**
 * `npm start`: a development cluster in one command. Stays in the foreground, needs no terminal, and stops all nodes on SIGINT or SIGTERM.
 */
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { LocalCluster } from './dev/local-cluster.ts'

const parentPollMs = 500

const usage = `usage: npm start -- [--nodes 1|3|5] [--api-port 8200] [--data DIR] [--cluster-json FILE] [--tls]

Starts a development cluster on 127.0.0.1: initialises it (5 unseal shares, threshold 3), joins and unseals all nodes, and prints what to try next.

  --nodes N            1, 3 or 5 servers                                        (default 3)
  --api-port P         API port of the first; the next are 10 apart, cluster ports beside them (default 8200)
  --data DIR           where data, logs, audit files and the development key file lie (default .holdfast)
  --cluster-json FILE  written when all nodes serve: addresses, pids, root token, shares
  --tls                serve the API over TLS, by a certificate authority made for this folder

example: npm start -- --nodes 5 --api-port 9200 --data ./five --tls`

interface Options {
  nodes: number
  apiPort: number
  dataDir: string
  clusterJson: string | null
  tls: boolean
}

function fail(message: string, code: number): never {
  console.error(message)
  process.exit(code)
}

function readOptions(): Options {
  let values
  try {
    values = parseArgs({
      options: {
        nodes: { type: 'string', default: '3' },
        'api-port': { type: 'string', default: '8200' },
        data: { type: 'string', default: '.holdfast' },
        'cluster-json': { type: 'string' },
        tls: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    fail(`error: ${(error as Error).message}\n\n${usage}`, 1)
  }
  if (values.help) {
    console.log(usage)
    process.exit(0)
  }
  const nodes = Number(values.nodes)
  const apiPort = Number(values['api-port'])
  if (![1, 3, 5].includes(nodes)) fail(`error: --nodes expected 1, 3 or 5, got ${values.nodes}`, 1)
  const highest = apiPort + 10 * (nodes - 1) + 1
  if (!Number.isInteger(apiPort) || apiPort < 1 || highest > 65_535) fail(`error: --api-port expected a port, got ${values['api-port']}`, 1)
  return { nodes, apiPort, dataDir: values.data, clusterJson: values['cluster-json'] ?? null, tls: values.tls }
}

/** The file appears whole or not at all: whoever waits for it may read it at once. */
function writeWhole(path: string, text: string): void {
  writeFileSync(`${path}.tmp`, text, { mode: 0o600 })
  renameSync(`${path}.tmp`, path)
}

function printWelcome(cluster: LocalCluster, seconds: string): void {
  const [first] = cluster.nodes
  const last = cluster.nodes.at(-1)
  // All of them: what is read after the first has been killed must find another by itself.
  const addresses = cluster.nodes.map((node) => node.apiAddress).join(',')
  const ca = cluster.caPath === null ? '' : `export HOLDFAST_CACERT=${cluster.caPath}\n  `
  console.log(`
Holdfast serves: ${cluster.nodes.length} node(s), ready in ${seconds} s. DEVELOPMENT ONLY: the key file below opens everything.

${cluster.nodes.map((node) => `  ${node.id}  ${node.apiAddress}  pid ${node.process?.pid}  log ${node.logPath}`).join('\n')}

  root token   ${cluster.rootToken}
${cluster.keys.unseal_keys_b64.map((key, i) => `  unseal key ${i + 1}  ${key}`).join('\n')}
  key file     ${cluster.keysPath}

Try next, in another terminal:

  ${ca}export HOLDFAST_ADDR=${addresses}
  export HOLDFAST_TOKEN=${cluster.rootToken}
  npx holdfast operator members
  npx holdfast secrets enable -path=secret -version=2 kv
  npx holdfast kv put secret/hello answer=42
  npx holdfast kv get -address=${last?.apiAddress} secret/hello
${cluster.nodes.length === 1 ? '' : `  kill -9 ${first?.process?.pid}   # and read again: the others go on\n`}
Ctrl-C stops all nodes; starting again finds the data.`)
}

/** Calls `then` once the process that started this one is gone. */
function whenParentEnds(then: () => void): void {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    then()
  }, parentPollMs)
  timer.unref()
}

async function main(): Promise<void> {
  const options = readOptions()
  const started = performance.now()
  let stopping = false
  let cluster: LocalCluster | null = null
  const stop = async (code: number): Promise<never> => {
    if (stopping) return new Promise(() => {})
    stopping = true
    await cluster?.stop()
    if (options.clusterJson !== null) rmSync(options.clusterJson, { force: true })
    process.exit(code)
  }
  process.on('SIGINT', () => void stop(0))
  process.on('SIGTERM', () => void stop(0))
  process.on('SIGHUP', () => void stop(0))
  // Killed hard, npm can pass nothing on: whoever kills `npm start` means the cluster too.
  if (process.env['npm_lifecycle_event'] === 'start') whenParentEnds(() => void stop(0))
  try {
    if (options.clusterJson !== null) rmSync(options.clusterJson, { force: true })
    cluster = await LocalCluster.prepare({ ...options, say: (line) => console.log(`holdfast: ${line}`) })
    const running = cluster
    console.log(`holdfast: starting ${options.nodes} node(s); data in ${running.options.dataDir}`)
    let serving = false
    running.onExit((node, code, signal) => {
      if (stopping) return
      console.error(
        `holdfast: ${node.id} ended (${signal ?? `exit code ${code}`}); ${serving ? 'the others go on' : 'stopping'}. Its log: ${node.logPath}`,
      )
    })
    await running.start()
    serving = true
    if (options.clusterJson !== null) writeWhole(options.clusterJson, `${JSON.stringify(running.describe(), null, 2)}\n`)
    printWelcome(running, ((performance.now() - started) / 1_000).toFixed(1))
  } catch (error) {
    if (stopping) return
    console.error(`error: ${(error as Error).message}`)
    await stop(1)
  }
}

await main()
