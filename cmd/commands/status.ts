/** `holdfast status`: seal and leadership of one node. */
import { accepted } from '#client/answer.ts'
import type { Secret } from '#client/types.ts'
import type { Row } from '../cli/output.ts'
import { type Command, type CommandContext, exitCodes } from '../cli/types.ts'

function sealRows(seal: Secret): Row[] {
  const auto = seal['recovery_seal'] === true
  // An auto seal opens by itself; shares are given to it only after somebody sealed it, or for a migration.
  const waiting = !auto || Number(seal['progress']) > 0 || seal['migration'] === true
  const unsealing = seal['sealed'] === true && seal['initialized'] === true && waiting
  const optional = (label: string, value: unknown): Row[] => (value === undefined || value === '' || value === null ? [] : [[label, value]])
  return [
    ['Seal Type', seal['type']],
    ['Initialized', seal['initialized']],
    ['Sealed', seal['sealed']],
    [auto ? 'Total Recovery Shares' : 'Total Shares', seal['n']],
    ['Threshold', seal['t']],
    ...(unsealing ? ([['Unseal Progress', `${String(seal['progress'])}/${String(seal['t'])}`]] as Row[]) : []),
    ...(unsealing ? optional('Unseal Nonce', seal['nonce']) : []),
    ...(seal['migration'] === true ? ([['Seal Migration in Progress', true]] as Row[]) : []),
    ...(Array.isArray(seal['warnings']) ? seal['warnings'].map((warning): Row => ['Warning', String(warning)]) : []),
    ['Version', seal['version']],
    ...optional('Build Date', seal['build_date']),
    ['Storage Type', seal['storage_type']],
    ...optional('Cluster Name', seal['cluster_name']),
    ...optional('Cluster ID', seal['cluster_id']),
  ]
}

function leaderRows(leader: Secret): Row[] {
  const isSelf = leader['is_self'] === true
  return [
    ['HA Enabled', leader['ha_enabled']],
    ['HA Cluster', leader['leader_cluster_address'] || 'n/a'],
    ['HA Mode', isSelf ? 'active' : 'standby'],
    ...(isSelf
      ? ([['Active Since', leader['active_time']]] as Row[])
      : ([['Active Node Address', leader['leader_address'] || '<none>']] as Row[])),
    ...(['raft_committed_index', 'raft_applied_index'] as const).flatMap((key): Row[] =>
      leader[key] === undefined ? [] : [[key === 'raft_committed_index' ? 'Raft Committed Index' : 'Raft Applied Index', leader[key]]],
    ),
  ]
}

/** Prints seal (and, when open, leadership). @returns the exit code: sealed is 2. */
export async function printSealStatus(context: CommandContext, seal: Secret): Promise<number> {
  const sealed = seal['sealed'] !== false
  const client = await context.client()
  const leader = sealed ? null : (await client.raw({ method: 'GET', path: 'sys/leader', retry: false })).json
  await context.output.rows([...sealRows(seal), ...(leader === null ? [] : leaderRows(leader))], { ...seal, ...leader })
  return sealed ? exitCodes.refused : exitCodes.ok
}

export const statusCommand: Command = {
  path: ['status'],
  synopsis: 'Show whether a node is sealed, and who leads',
  args: '',
  argsMin: 0,
  argsMax: 0,
  description: 'Ends with 0 when the node is unsealed, 2 when it is sealed or does not answer.',
  examples: ['holdfast status', 'holdfast status -format=json -address=https://node2:8200'],
  run: async (context) => {
    const client = await context.client()
    const seal = accepted(await client.raw({ method: 'GET', path: 'sys/seal-status' }), { method: 'GET', url: 'sys/seal-status' })
    return await printSealStatus(context, seal ?? {})
  },
}
