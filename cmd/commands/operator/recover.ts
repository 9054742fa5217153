/** operator raft recover: on the data folder of a stopped node, after a majority was lost for good. */
import { isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import { RefusedError, UsageError, type Command, type CommandContext } from '../../cli/types.ts'

const dangers = [
  'This can lose writes that were acknowledged: those that only nodes had which are not in the list.',
  'If the nodes that are left out run on, there are two clusters with the same keys: stop them for good first.',
  'Entries that were never acknowledged, and are in the log of the first node, count as written from now on.',
]

async function recover(context: CommandContext): Promise<void> {
  const { flags, output } = context
  const { loadIdentity } = await import('#transport/identity.ts')
  const node = await import('#node/recovery.ts')
  const { parseRecoveryPlan } = await import('#replica/recovery-plan.ts')
  const { releasedFormats } = await import('#base/formats.ts')
  const dataDir = await folder(context)
  const identity = await loadIdentity(dataDir)
  if (identity === null) throw new RefusedError(`expected the data folder of a member, got ${dataDir}, which has no identity`)
  const options = { dataDir, identity, formats: releasedFormats, log: loggerOf(context) }
  const [file] = context.args
  if (file === undefined) {
    const { nodeId, index, term, applied, members, lost, restoreAt } = await node.positionOf(options)
    const shown = members.map(({ id, clusterAddress, voter }) => ({ id, address: clusterAddress, non_voter: !voter }))
    return output.rows(
      [
        ['Node', nodeId],
        ['Newest entry', `index ${index} of term ${term}`],
        ['Applied', String(applied)],
        ['Log has lost', lost ?? 'nothing'],
        ...(restoreAt === null ? [] : [['Restore', `ordered at index ${restoreAt}, not carried out`] as const]),
        ['Members', shown.map(({ id }) => id).join(', ')],
      ],
      { node_id: nodeId, index, term, applied, log_had_lost: lost, restore_ordered_at: restoreAt, members: shown },
    )
  }
  const plan = parseRecoveryPlan(node.readPlan(file))
  if (!flags.bool('accept-loss'))
    throw new UsageError(`recover expected -accept-loss, got none. ${dangers.join(' ')}`, 'read docs/recovery.md first')
  for (const danger of dangers) output.note(danger)
  const recovered = await node.recover(options, plan)
  const now = Date.now()
  node.consumePlan(dataDir, recovered, now)
  const report = node.reportOf(recovered, now)
  const next =
    recovered.kind === 'leads'
      ? 'Start this node, unseal it, and read what matters; then start the others of the list, and let new nodes join by a token.'
      : `Start this node once ${recovered.from} serves: it is filled from there.`
  await output.rows([...Object.entries(report).map(([key, value]) => [key, value] as const), ['next', next]], { ...report })
}

/** -data, or what the configuration names. */
async function folder({ flags }: CommandContext): Promise<string> {
  const data = flags.string('data')
  const files = flags.list('config')
  if ((data === undefined) === (files.length === 0))
    throw new UsageError('recover expected -config=FILE or -data=FOLDER', 'it works on the folder of a stopped node, without a server')
  if (data !== undefined) return data
  const { loadConfig } = await import('#config/load.ts')
  return loadConfig({ files, env: process.env }).raft.path
}

function loggerOf({ output }: CommandContext): Logger {
  const say = (fields: object, message: string): void => output.note(`${message} ${JSON.stringify(fields)}`)
  const logger: Logger = { debug: () => {}, info: () => {}, warn: say, error: say, child: () => logger }
  return logger
}

export const recoverCommand: Command = {
  path: ['operator', 'raft', 'recover'],
  synopsis: 'Go on without a majority that is lost for good',
  args: '[PEERS_FILE]',
  argsMin: 0,
  argsMax: 1,
  local: true,
  description:
    "Works on the folder of a stopped node. Without a file it shows how far the node's log reaches. With one (the peers' peers.json) it makes the node a member of " +
    'the cluster that is listed there. The first voter of the list is the node whose log counts; every other one lays its stores aside and is filled ' +
    `from it. ${dangers.join(' ')}`,
  examples: [
    'holdfast operator raft recover -config=/etc/holdfast/holdfast.hcl',
    'holdfast operator raft recover -config=/etc/holdfast/holdfast.hcl -accept-loss peers.json',
  ],
  flags: {
    config: { type: 'list', placeholder: 'FILE', description: 'Configuration of the stopped node; its data folder is taken from it.' },
    data: { type: 'string', placeholder: 'FOLDER', description: 'The data folder itself.' },
    'accept-loss': { type: 'bool', description: 'Carry it out: what only the lost nodes had is given up.' },
  },
  run: (context) =>
    recover(context).catch((error: unknown) =>
      Promise.reject(isHoldfastError(error) ? new RefusedError(error.message, error.hint) : error),
    ),
}
