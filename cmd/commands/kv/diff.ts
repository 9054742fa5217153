/** kv diff: between versions of a secret, between two paths, and between two clusters. Values stay hidden unless asked for. */
import type { Client } from '#client/client.ts'
import { addressList } from '#client/environment.ts'
import { paintOf, type Color } from '../../cli/colors.ts'
import { given } from '../../cli/common.ts'
import { kvPath, mountFlag, nothingAt, requireVersion2, type KvPath } from '../../cli/kv-paths.ts'
import { changesOf, readSecret, secretsBelow, skippedNote, type Change, type Fields, type Skipped } from '../../cli/kv-tree.ts'
import { fromEnvironment } from '../../cli/settings.ts'
import { printable, valueText } from '../../cli/table.ts'
import { exitCodes, RefusedError, UsageError, type Command, type CommandContext } from '../../cli/types.ts'

interface Side {
  readonly client: Client
  readonly at: KvPath
  /** 0: the newest. */
  readonly version: number
}

interface Difference extends Change {
  /** Below the compared path; '' for the secret itself. */
  readonly path: string
}

function versionsAsked(context: CommandContext): readonly number[] {
  const text = context.flags.string('versions')
  if (text === undefined) return []
  const versions = text.split(',').map(Number)
  if (versions.length === 2 && versions.every((version) => Number.isSafeInteger(version) && version > 0)) return versions
  throw new UsageError('-versions expected two of them, such as -versions=2,3')
}

/** The client of the other side: the same one, unless another cluster or namespace is named. */
async function otherClient(context: CommandContext): Promise<Client> {
  const { flags, io } = context
  const client = await context.client()
  const address = flags.string('other-address') ?? fromEnvironment(io, 'OTHER_ADDR')
  const namespace = flags.string('other-namespace')
  const named = flags.string('other-token-file')
  const token = named === undefined ? fromEnvironment(io, 'OTHER_TOKEN') : io.readFile(named).trim()
  if (address === undefined) return client.with(given({ token, namespace }))
  // Another cluster never gets this one's token: only what was named for it.
  if (token === undefined) {
    throw new UsageError('another cluster expected a token of its own', 'HOLDFAST_OTHER_TOKEN, or -other-token-file=FILE')
  }
  const { Client: Made } = await import('#client/client.ts')
  const ca = flags.string('other-ca-cert')
  const { tls = {}, timeoutMs, retriesMax } = client.options
  return new Made(
    {
      addresses: addressList(address),
      token,
      tls: ca === undefined ? tls : { ...tls, ca: io.readFile(ca) },
      // As this one: a long number that is the same in both would differ by what a double can hold.
      exactNumbers: true,
      ...given({ namespace, timeoutMs, retriesMax }),
    },
    client.tools,
  )
}

async function sidesOf(context: CommandContext): Promise<readonly [Side, Side]> {
  const [first = '', second] = context.args
  const client = await context.client()
  const at = await kvPath(client, context.flags, first)
  const versions = versionsAsked(context)
  const elsewhere =
    ['other-address', 'other-namespace'].some((name) => context.flags.has(name)) || fromEnvironment(context.io, 'OTHER_ADDR')
  if (versions.length > 0 && (second !== undefined || elsewhere)) throw new UsageError('-versions expected one path on one cluster')
  if (second !== undefined || elsewhere) {
    const other = await otherClient(context)
    return [
      { client, at, version: 0 },
      { client: other, at: await kvPath(other, context.flags, second ?? first), version: 0 },
    ]
  }
  requireVersion2(at)
  const [from, to] = versions.length > 0 ? versions : await lastTwo(client, at)
  return [
    { client, at, version: from ?? 0 },
    { client, at, version: to ?? 0 },
  ]
}

/** The newest version and the one before it. */
async function lastTwo(client: Client, at: KvPath): Promise<readonly number[]> {
  const { version } = await readSecret(client, at)
  if (version === 0) throw nothingAt(at, `nothing found at ${at.mount}/${at.key}`)
  if (version === 1) throw new RefusedError('there is one version only, so nothing to compare', 'or name a second path')
  return [version - 1, version]
}

/** The secret itself, as '', and all below it: a name may be both. */
async function tree({ client, at }: Side, skipped: Skipped): Promise<ReadonlyMap<string, Fields>> {
  const found = new Map<string, Fields>()
  const prefix = at.key === '' ? 0 : at.key.length + 1
  const own = at.key === '' ? null : (await readSecret(client, at)).fields
  if (own !== null) found.set('', own)
  for await (const [key, { fields }] of secretsBelow(client, at, skipped)) if (fields !== null) found.set(key.slice(prefix), fields)
  return found
}

async function differences(context: CommandContext, [before, after]: readonly [Side, Side]): Promise<readonly Difference[]> {
  if (!context.flags.bool('recursive')) {
    const [a, b] = await Promise.all([before, after].map(({ client, at, version }) => readSecret(client, at, version)))
    if ((a?.fields ?? null) === null && (b?.fields ?? null) === null) {
      throw new RefusedError('expected a secret on one side at least, found none', 'for a folder: -recursive')
    }
    return changesOf(a?.fields ?? null, b?.fields ?? null).map((change) => ({ ...change, path: '' }))
  }
  const skipped: Skipped = { folders: 0, secrets: 0 }
  const [a, b] = await Promise.all([tree(before, skipped), tree(after, skipped)])
  const note = skippedNote(skipped)
  if (note !== null) context.output.note(note)
  const paths = [...new Set([...a.keys(), ...b.keys()])].toSorted()
  // Nothing on both sides is no agreement: a path was mistyped.
  if (paths.length === 0) throw new RefusedError('expected a secret below one of the paths at least, found none')
  return paths.flatMap((path) => changesOf(a.get(path) ?? null, b.get(path) ?? null).map((change) => ({ ...change, path })))
}

const signs: Readonly<Record<Change['kind'], readonly [sign: string, color: Color]>> = {
  added: ['+', 'green'],
  removed: ['-', 'red'],
  changed: ['~', 'yellow'],
}

const sideName = ({ client, at, version }: Side, several: boolean): string =>
  `${several ? `${client.addresses[0] ?? ''} ` : ''}${at.mount}/${at.key}${version === 0 ? '' : ` version ${version}`}`

function printLines(context: CommandContext, sides: readonly [Side, Side], found: readonly Difference[], shown: boolean): void {
  const paint = paintOf(context.io)
  const several = sides[0].client.addresses[0] !== sides[1].client.addresses[0]
  context.output.text(`${paint('red', `--- ${sideName(sides[0], several)}`)}\n${paint('green', `+++ ${sideName(sides[1], several)}`)}\n`)
  if (found.length === 0) context.output.text('no difference\n')
  for (const { kind, key, path, before, after } of found) {
    const [sign, color] = signs[kind]
    const values = [...(kind === 'added' ? [] : [before]), ...(kind === 'removed' ? [] : [after])].map((value) =>
      printable(valueText(value)),
    )
    const name = printable(path === '' ? key : `${path}  ${key}`)
    context.output.text(`${paint(color, `${sign} ${name}`)}${shown ? `: ${values.join(' -> ')}` : ''}\n`)
  }
}

async function diff(context: CommandContext): Promise<number> {
  const sides = await sidesOf(context)
  try {
    const found = await differences(context, sides)
    const shown = context.flags.bool('show-values')
    if (context.output.format === 'table') printLines(context, sides, found, shown)
    else {
      const rows = found.map(({ path, key, kind, before, after }) => given({ path, key, kind, ...(shown ? { before, after } : {}) }))
      await context.output.rows([], rows)
    }
    return context.flags.bool('exit-code') && found.length > 0 ? exitCodes.refused : exitCodes.ok
  } finally {
    if (sides[1].client !== sides[0].client) await sides[1].client.close()
  }
}

export const kvDiffCommand: Command = {
  path: ['kv', 'diff'],
  sendsSeveral: true,
  synopsis: 'Compare versions of a secret, two secrets or folders, or two clusters',
  args: 'PATH [PATH]',
  argsMin: 1,
  argsMax: 2,
  description:
    'One path: its newest version with the one before. Keys are shown, values only with -show-values. Another cluster gets only the token that is named for it ' +
    '(HOLDFAST_OTHER_TOKEN or -other-token-file).',
  examples: [
    'holdfast kv diff secret/app',
    'holdfast kv diff -versions=1,4 -show-values secret/app',
    'holdfast kv diff -recursive secret/staging secret/production',
    'holdfast kv diff -recursive -other-address=https://dr:8200 -other-token-file=dr.token -exit-code secret/app',
  ],
  flags: {
    ...mountFlag,
    versions: { type: 'string', placeholder: 'N,M', description: 'Which two versions.' },
    recursive: { type: 'bool', description: 'Compare all secrets below the paths.' },
    'show-values': { type: 'bool', description: 'Show what changed, not only where.' },
    'exit-code': { type: 'bool', description: 'End with 2 when there is a difference.' },
    'other-address': {
      type: 'string',
      placeholder: 'URL[,URL...]',
      description: 'The second path is on this cluster (HOLDFAST_OTHER_ADDR).',
    },
    'other-token-file': { type: 'string', placeholder: 'FILE', description: 'Its token (HOLDFAST_OTHER_TOKEN).' },
    'other-namespace': { type: 'string', placeholder: 'PATH', description: 'The second path is in this namespace.' },
    'other-ca-cert': { type: 'string', placeholder: 'FILE', description: 'Authority of the other cluster, where it is another.' },
  },
  run: diff,
}
