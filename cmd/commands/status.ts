/** `holdfast status`: seal and leadership of one node. */
import { accepted } from '#client/answer.ts'
import type { Client } from '#client/client.ts'
import type { Secret } from '#client/types.ts'
import { paintOf } from '../cli/colors.ts'
import type { Row } from '../cli/output.ts'
import { renderTable } from '../cli/table.ts'
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

interface NodeState {
  readonly state: 'leader' | 'follower' | 'sealed' | 'not initialised' | 'no answer'
  readonly applied: number | null
  readonly committed: number
}

/** Each is asked by itself, without a token: these routes need none. */
async function stateOf(client: Client, address: string): Promise<NodeState> {
  const { Client: Made } = await import('#client/client.ts')
  const { tls = {} } = client.options
  const one = new Made({ addresses: [address], tls, timeoutMs: nodeMsMax, retriesMax: 0 }, client.tools)
  try {
    const [seal, leader] = await Promise.all(
      ['sys/seal-status', 'sys/leader'].map(async (path) => (await one.raw({ method: 'GET', path, retry: false })).json),
    )
    const applied = typeof leader?.['raft_applied_index'] === 'number' ? leader['raft_applied_index'] : null
    const committed = Number(leader?.['raft_committed_index'] ?? 0)
    if (seal?.['initialized'] === false) return { state: 'not initialised', applied, committed }
    if (seal?.['sealed'] !== false) return { state: 'sealed', applied, committed }
    return { state: leader?.['is_self'] === true ? 'leader' : 'follower', applied, committed }
  } catch {
    return { state: 'no answer', applied: null, committed: 0 } // That is what the line says of it.
  } finally {
    await one.close()
  }
}

const colors = { leader: 'green', follower: 'green', sealed: 'red', 'not initialised': 'yellow', 'no answer': 'red' } as const

async function printNodes(context: CommandContext, client: Client): Promise<void> {
  const states = await Promise.all(client.addresses.map(async (address) => ({ address, ...(await stateOf(client, address)) })))
  const committed = Math.max(0, ...states.map((node) => node.committed))
  const rows = states.map(({ address, state, applied }) => [
    address,
    state,
    applied === null ? 'unknown' : String(Math.max(0, committed - applied)),
  ])
  const paint = paintOf(context.io)
  // Painted as whole lines, once they are laid out: a colour has no width.
  const lines = renderTable(['Address', 'State', 'Applied Lag'], rows).trimEnd().split('\n')
  const painted = lines.map((line, at) => (states[at - 2] === undefined ? line : paint(colors[states[at - 2]!.state], line)))
  context.output.text(`\n${painted.join('\n')}\n`)
}

const nodeMsMax = 2_000

export const statusCommand: Command = {
  path: ['status'],
  synopsis: 'Show whether a node is sealed, and who leads',
  args: '',
  argsMin: 0,
  argsMax: 0,
  description:
    'Ends with 0 when the node is unsealed, 2 when it is sealed or does not answer. With several addresses the first that answers is shown in full, and behind it a line ' +
    'for each: who leads, who is sealed, who is silent.',
  examples: ['holdfast status', 'holdfast status -format=json -address=https://node2:8200'],
  run: async (context) => {
    const client = await context.client()
    const seal = accepted(await client.raw({ method: 'GET', path: 'sys/seal-status' }), { method: 'GET', url: 'sys/seal-status' })
    const code = await printSealStatus(context, seal ?? {})
    if (client.addresses.length > 1 && context.output.format === 'table') await printNodes(context, client)
    return code
  },
}
