/** docs/configuration.md, made from the tables: what it says and what is accepted can't drift apart. */
import type { KeyDef, KeyTable } from './key.ts'
import {
  auditKeys,
  auditOptionKeys,
  listenerKeys,
  raftKeys,
  retryJoinKeys,
  sealKeys,
  telemetryKeys,
  topKeys,
  userLockoutKeys,
} from './keys.ts'
import { variableOf } from './read-names.ts'

const types: Readonly<Record<KeyDef<unknown>['kind'], string>> = {
  string: 'string',
  choice: 'string',
  bool: 'bool',
  int: 'number',
  duration: 'duration',
  list: 'list',
  cidrs: 'CIDRs',
  url: 'URL',
  address: 'HOST:PORT',
  any: '',
}

const intro = `# Configuration

<!-- Made from src/config/keys.ts by src/config/document.ts; a test writes and checks it (\`vitest run test/unit/config -u\`). -->

This page is for who writes the file that a node starts with, or sets the same by the environment: what may stand there, and what it does.

\`holdfast server -config FILE\` reads HCL, or JSON when the text begins with \`{\`; \`-config\` may be given several times and may name a
folder, whose \`*.hcl\` and \`*.json\` are read in order of name. Later files win; listeners, seals and audit devices add up. The names are
Vault's and OpenBao's. A working example is [server.hcl](examples/server.hcl).

Every key can also be set by the environment variable in its row, which wins over files; of the command
line \`-log-level\` wins over both. Of repeated
blocks the variable means the first; \`HOLDFAST_LISTENER_TCP_1_ADDRESS\` means the second listener. An unknown key or a wrong value stops
the start: every mistake is named at once, with file, line, key, what was expected and what came, and the exit code is 1. Where
nothing is wrong the log says \`Holdfast is up\`. What to do about a mistake is [at the end](#when-it-does-not-come-out).

Durations are \`"90s"\`, \`"1h30m"\`, \`"7d"\` or seconds; lists are \`["a", "b"]\` or \`"a,b"\`.
`

const outro = `## When it does not come out

| what you see | what to do |
| --- | --- |
| \`expected a known key, got another\`, of a variable \`expected the name of a key, got another\` | it is misspelled, or no key of this block: the line ends with one that is like it, where there is one (\`did you mean\`) |
| \`expected nothing here, got a value\` | the key is one of those that are refused: the brackets say what to do in its place |
| \`has no effect:\` in the log | the node runs; take the key out, the line says why it does nothing |
| \`tls_cert_file: expected a file, got none\` | name certificate and key, or write \`tls_disable = true\` where plain HTTP does not leave the machine |
| \`expected a URL, got none, and a listener on every interface\` | write \`api_addr\` and \`cluster_addr\` as the other machines reach this one |
| \`storage.raft.path expected a folder that can be written\` | it must belong to the user that runs the server |
| \`listener expected to bind\` | \`EADDRINUSE\`: another process listens there, stop it or choose another port; else look at the address |
| \`SIGHUP: could not be read again; the old stays in use\` in the log | the line names what and why: mend the file, and send SIGHUP once more |
`

/** The whole page. */
export function renderConfigurationPage(): string {
  const parts = [
    intro,
    section('Top level', '', topKeys),
    section('`listener "tcp" { ... }`', 'listener.tcp', listenerKeys),
    section('`storage "raft" { ... }`', 'storage.raft', raftKeys),
    section('`retry_join { ... }` in `storage "raft"`', 'storage.raft.retry_join', retryJoinKeys),
    ...Object.entries(sealKeys).map(([kind, table]) => section(`\`seal "${kind}" { ... }\``, `seal.${kind}`, table)),
    section('`audit "file" "NAME" { ... }`', 'audit.file.NAME', auditKeys),
    ...Object.entries(auditOptionKeys).map(([type, table]) =>
      section(`\`options { ... }\` in \`audit "${type}" "NAME"\``, `audit.${type}.NAME.options`, table),
    ),
    section('`telemetry { ... }`', 'telemetry', telemetryKeys),
    section('`user_lockout "TYPE" { ... }`, TYPE being all, userpass, approle or ldap', 'user_lockout.TYPE', userLockoutKeys),
    outro,
  ]
  return parts.join('\n')
}

function section(title: string, path: string, table: KeyTable): string {
  const keys = Object.entries(table)
  const used = keys.filter(([, def]) => def.ignored === undefined && def.refused === undefined)
  const rows = used.map(([name, def]) => row(name, path, def))
  const lines = [`## ${title}`, '', '| key | type | default | meaning | variable |', '| --- | --- | --- | --- | --- |', ...rows, '']
  const rest = (kind: 'ignored' | 'refused', heading: string): void => {
    const some = keys.filter(([, def]) => def[kind] !== undefined)
    if (some.length > 0) lines.push(`${heading}: ${some.map(([name, def]) => `\`${name}\` (${def[kind]})`).join('; ')}.`, '')
  }
  rest('ignored', 'Accepted, with a warning, and without effect')
  rest('refused', 'Refused')
  return lines.join('\n')
}

function row(name: string, path: string, def: KeyDef<unknown>): string {
  const choices = def.choices?.map((word) => `\`"${word}"\``).join(' ')
  const type = `${types[def.kind]}${def.secret === true ? ', secret' : ''}${choices === undefined ? '' : `: ${choices}`}`
  const fallback = def.required === true ? 'required' : def.defaultText === null ? '' : `\`${def.defaultText}\``
  const variables = [variableOf(path === '' ? name : `${path}.${name}`), ...(def.aliases ?? [])].map((variable) => `\`${variable}\``)
  const dotted = name.includes('.') ? `\`${name.replace('.', ' { ')} }\`` : `\`${name}\``
  return `| ${dotted} | ${type} | ${fallback} | ${def.doc} | ${variables.join(', ')} |`
}
