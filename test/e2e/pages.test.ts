/**
 * The commands of docs/: each line that a page gives to a shell runs here, in the order of the page, as a reader would type it, against a server.
 * What a reader puts in, and what was there before, says `test/support/pages/plans.ts`; so it does of the few that do not run, and why.
 */
import { appendFileSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { freePorts, startCluster, type TestCluster } from '#test/support/cluster.ts'
import { blocksOf } from '#test/support/doc-pages.ts'
import { OidcProvider } from '#test/support/oidc.ts'
import { OpenSsl } from '#test/support/openssl.ts'
import { shellLines } from '#test/support/pages/lines.ts'
import { compared, planOf, plans, type LinePlan } from '#test/support/pages/plans.ts'
import { Slapd } from '#test/support/slapd.ts'
import { TokenReviewServer } from '#test/support/token-review.ts'
import { Terminal } from '../../scripts/tour/terminal.ts'

/** Programs that stand for longer ones in the plans. */
const prelude = `
json() { node -p 'const at = process.argv[1].split(".").reduce((value, key) => value[key], JSON.parse(require("fs").readFileSync(0))); typeof at === "string" ? at : JSON.stringify(at)' "$1"; }
accessor() { holdfast read -format=json sys/auth | json "data.$1/.accessor"; }
id_of() { holdfast read -field=id "identity/$1"; }
public_key() { json public_key < "$1"; }
own_configuration() {
  cat > "$1.hcl" <<END
api_addr = "http://127.0.0.1:$((PORT + $2))"
cluster_addr = "https://127.0.0.1:$((PORT + $2 + 1))"
listener "tcp" {
  address = "127.0.0.1:$((PORT + $2))"
  tls_disable = true
}
storage "raft" {
  path = "$1"
  node_id = "$1"
}
END
}
own_server() {
  holdfast server --config "$1" > "$1.log" 2>&1 &
  SERVERS="$SERVERS $!"
  for try in $(seq 200); do grep -q 'Holdfast is up' "$1.log" && return 0; sleep 0.1; done
  cat "$1.log"; return 1
}`

let running: TestCluster
let dir = ''
let bin = ''
let world: Readonly<Record<string, string>> = {}
let ssl: OpenSsl
let oidc: OidcProvider
let slapd: Slapd
let kubernetes: TokenReviewServer
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-pages-'))
  bin = mkdtempSync(join(dir, 'bin-'))
  // A server gets a lifeline, so that it can't outlive this process.
  const holdfast = `${process.execPath} ${resolve('cmd/holdfast.mjs')}`
  writeFileSync(
    join(bin, 'holdfast'),
    `#!/bin/sh\n[ "$1" = server ] && HOLDFAST_LIFELINE=stdin exec ${holdfast} "$@" <&3\nexec ${holdfast} "$@"\n`,
    { mode: 0o700 },
  )
  writeFileSync(join(bin, 'npx'), '#!/bin/sh\nexec "$@"\n', { mode: 0o700 })
  ssl = new OpenSsl()
  const authority = ssl.make('authority', null, { ca: true })
  const server = ssl.make('server', authority, { extensions: ['subjectAltName=IP:127.0.0.1,DNS:localhost', 'extendedKeyUsage=serverAuth'] })
  ssl.make('web-1', authority, { extensions: ['extendedKeyUsage=clientAuth', 'subjectKeyIdentifier=hash'] })
  running = await startCluster({
    nodes: 1,
    tls: true,
    extraConfig: `snapshot_folder = "${join(dir, 'snapshots')}"\naudit_anchor_interval = "1s"`,
  })
  const port = await freePorts(40)
  slapd = new Slapd(dir, port, { caPem: authority.pem, pem: server.pem, key: server.key })
  ;[oidc, kubernetes] = await Promise.all([
    OidcProvider.start(),
    TokenReviewServer.start(Date.now, { key: server.key, cert: server.pem }),
    slapd.start(),
  ])
  const { cluster } = running
  const [node] = cluster.nodes
  const [first = '', second = '', third = ''] = cluster.keys.unseal_keys_b64
  world = {
    PATH: `${bin}:${process.env['PATH'] ?? ''}`,
    LANG: 'C.UTF-8',
    BIN: bin,
    HOLDFAST_ADDR: node?.apiAddress ?? '',
    HOLDFAST_CACERT: cluster.caPath ?? '',
    CURL_CA_BUNDLE: cluster.caPath ?? '',
    HOLDFAST_TOKEN: cluster.rootToken,
    AUDIT_LOG: node?.auditPath ?? '',
    NODE_PID: String(node?.process?.pid),
    PORT: String(port),
    KEY1: first,
    KEY2: second,
    KEY3: third,
    PKI: ssl.dir,
    OIDC: oidc.issuer,
    JWT: await oidc.sign({ repository: 'team/app' }),
    LDAPS: `ldaps://127.0.0.1:${slapd.tlsPort}`,
    KUBERNETES: kubernetes.web.url,
  }
})
afterAll(async () => {
  await Promise.all([slapd?.stop(), kubernetes?.stop(), oidc?.away()])
  await running?.dispose()
  ssl?.dispose()
  rmSync(dir, { recursive: true, force: true })
})

/** A reader's shell in a folder that has the page's other blocks as files: block-1.hcl, block-2.hcl, block-1.json. */
class Reader {
  readonly folder = mkdtempSync(join(dir, 'page-'))
  readonly #terminal: Terminal

  constructor(text: string) {
    const counts: Record<string, number> = {}
    for (const { language, body } of blocksOf(text)) {
      counts[language] = (counts[language] ?? 0) + 1
      const lines = body.split('\n')
      const indent = /^ */.exec(body)?.[0] ?? ''
      writeFileSync(join(this.folder, `block-${counts[language]}.${language}`), lines.map((line) => line.replace(indent, '')).join('\n'))
    }
    this.#terminal = new Terminal({ cwd: this.folder, env: { ...world, HOME: this.folder }, prelude })
  }

  /** In the shell that stays; `typed` is what it reads. @throws where it ends with another code. */
  async run(line: string, typed = '', code = 0): Promise<string> {
    return await this.#terminal.run(`{ ${line}\n} < <(printf %s "${typed}")`, code)
  }

  /** Started, and waited for until it has printed `words`. */
  async start(line: string, words: RegExp, name: string): Promise<void> {
    const log = join(this.folder, 'lasting.log')
    writeFileSync(log, '')
    await this.run(`${line.replace(/\s+#.*$/, '')} > lasting.log 2>&1 &\n${name}="$${name} $!"`)
    await vi.waitFor(() => expect(readFileSync(log, 'utf8')).toMatch(words), { timeout: 30_000, interval: 50 })
  }

  /** Ends what was started under this name. */
  async end(name: string): Promise<void> {
    // A wait for nobody would wait for all.
    await this.run(`if [ -n "$${name}" ]; then kill -TERM $${name} 2>/dev/null; wait $${name}; fi; ${name}=; true`)
  }

  async close(): Promise<void> {
    // A shell that is gone has nothing left to end; what went wrong before is what the test tells.
    for (const name of ['SERVERS', 'LASTING']) await this.end(name).catch(() => {})
    await this.#terminal.close()
  }
}

const filled = (line: string, { fill = {}, env }: LinePlan): string =>
  `${env === undefined ? '' : `${env} `}${Object.entries(fill).reduce((text, [word, by]) => text.replaceAll(word, by), line)}`

/** One line, as often as something is typed. */
async function runLine(reader: Reader, line: string, plan: LinePlan): Promise<void> {
  if (plan.first !== undefined) await reader.run(plan.first)
  const command = filled(line, plan)
  if (plan.stays) return await reader.start(command, /Holdfast is up/, 'SERVERS')
  if (plan.lasts) {
    await reader.start(command, plan.prints ?? /./, 'LASTING')
    return await reader.end('LASTING')
  }
  let output = ''
  for (const typed of plan.typed === undefined ? [''] : [plan.typed].flat()) output += await reader.run(command, typed, plan.code)
  if (plan.keep !== undefined) appendFileSync(join(reader.folder, plan.keep), output)
  expect(output, line).toMatch(plan.prints ?? /^/)
}

const pages = ['README.md', ...globSync('docs/*.md')].toSorted()
const linesOf = (page: string): readonly string[] =>
  shellLines(readFileSync(page, 'utf8'))
    .filter(({ language }) => language !== 'console' || compared[page] === undefined)
    .map(({ line }) => line)
const runs = (page: string): boolean => linesOf(page).some((line) => !('not' in planOf(page, line)) && !('elsewhere' in planOf(page, line)))

describe('commands of the pages', () => {
  test.each(pages.filter(runs))('%s', { timeout: 120_000 }, async (page) => {
    const reader = new Reader(readFileSync(page, 'utf8'))
    try {
      // Each page finds a cluster with one mount and one secret in it.
      await reader.run(
        'holdfast secrets disable secret; holdfast secrets enable -path=secret -version=2 kv && holdfast kv put secret/app user=app',
      )
      await reader.run(`${plans[page]?.before ?? 'true'}`)
      for (const line of linesOf(page)) {
        const plan = planOf(page, line)
        if (plan.not === undefined && plan.elsewhere === undefined) await runLine(reader, line, plan)
      }
      await reader.run(`${plans[page]?.after ?? 'true'}`)
    } finally {
      await reader.close()
    }
  })
})
