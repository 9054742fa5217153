/** Help, made from the table of commands. */
import { connectionFlags, outputFlags } from './settings.ts'
import type { Command, FlagSpec } from './types.ts'

/** What each family of commands is for. */
export const groups: Readonly<Record<string, string>> = {
  audit: 'Audit devices',
  auth: 'Login methods',
  kv: 'Secrets in key-value engines, of both versions',
  'kv metadata': 'Settings and versions of secrets',
  operator: 'Running a cluster: initialise, unseal, members, keys',
  'operator raft': 'Members of the cluster',
  'operator raft snapshot': 'Backups of the state: save, look into, check',
  'operator raft autopilot': 'Health of the members as the leader sees it',
  'operator raft snapshot schedule': 'Backups that the cluster makes by itself',
  'operator log-level': 'How much a node writes into its log',
  lease: 'What is lent for a time',
  namespace: 'Namespaces: each with mounts, policies and tokens of its own',
  'password-policy': 'What made passwords look like',
  plugin: 'What is built in',
  quota: 'Bounds of what may be asked and lent',
  'quota lease-count': 'How many leases there may be',
  'quota rate-limit': 'How much may be asked in a time',
  tools: 'Small services of the server',
  wrapping: 'Answers that travel wrapped',
  policy: 'Policies: who may do what',
  secrets: 'Secrets engines and where they are mounted',
  token: 'Tokens',
  'token role': 'Kinds of tokens, by name',
}

/** The order of a newcomer's way. */
const firstCommands = ['status', 'login', 'read', 'write', 'list', 'delete', 'patch', 'kv']

export function allFlags(command: Command): Readonly<Record<string, FlagSpec>> {
  return { ...(command.local ? {} : connectionFlags), ...outputFlags, ...command.flags }
}

/** Of all commands: to know which words of a line are a flag's value before its command is known. */
export const unionFlags = (commands: readonly Command[]): Readonly<Record<string, FlagSpec>> =>
  Object.assign({}, ...commands.map(allFlags)) as Record<string, FlagSpec>

function flagLines(flags: Readonly<Record<string, FlagSpec>>): string {
  const shown = Object.entries(flags).filter(([name]) => name !== 'h' && name !== 'ns')
  const left = shown.map(
    ([name, spec]) => `-${name}${spec.type === 'bool' ? '' : `=${spec.placeholder ?? spec.values?.join('|') ?? spec.type.toUpperCase()}`}`,
  )
  const width = Math.min(34, Math.max(...left.map((text) => text.length)))
  return shown.map(([, spec], at) => `  ${(left[at] ?? '').padEnd(width)}  ${spec.description}\n`).join('')
}

export function commandHelp(command: Command): string {
  const own = Object.keys(command.flags ?? {}).length === 0 ? '' : `\nOptions:\n${flagLines(command.flags ?? {})}`
  const common = `\nCommon options:\n${flagLines({ ...outputFlags, ...(command.local ? {} : connectionFlags) })}`
  return (
    `${command.synopsis}\n\nUsage: holdfast ${command.path.join(' ')} [options]${command.args === '' ? '' : ` ${command.args}`}\n` +
    (command.description === undefined ? '' : `\n${command.description}\n`) +
    `\nExamples:\n${command.examples.map((example) => `  ${example}\n`).join('')}` +
    own +
    common
  )
}

/** Names one level below `words`, each with what it is for. */
export function children(words: readonly string[], commands: readonly Command[]): readonly (readonly [name: string, synopsis: string])[] {
  const below = commands.filter((command) => words.every((word, at) => command.path[at] === word) && command.path.length > words.length)
  const names = [...new Set(below.map((command) => command.path[words.length] ?? ''))]
  return names.map((name) => {
    const path = [...words, name]
    const leaf = below.find((command) => command.path.length === path.length && command.path.at(-1) === name)
    return [name, groups[path.join(' ')] ?? leaf?.synopsis ?? ''] as const
  })
}

export function groupHelp(words: readonly string[], commands: readonly Command[]): string {
  const names = children(words, commands)
  const width = Math.max(...names.map(([name]) => name.length))
  const rank = (name: string): number =>
    words.length === 0 && firstCommands.includes(name) ? firstCommands.indexOf(name) : firstCommands.length
  const sorted = names.toSorted(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1))
  const prefix = ['holdfast', ...words].join(' ')
  const intro = words.length === 0 ? 'Holdfast keeps secrets in a cluster that survives its machines.' : (groups[words.join(' ')] ?? '')
  const list = sorted.map(([name, synopsis]) => `  ${name.padEnd(width)}  ${synopsis}\n`).join('')
  return `${intro}\n\nUsage: ${prefix} COMMAND [options] [arguments]\n\nCommands:\n${list}\nHelp for one: ${prefix} COMMAND -help\n`
}
