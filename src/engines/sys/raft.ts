/** Membership of the cluster, under the names that the field's tools know. */
import { HoldfastError } from '#base/errors.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import type { ReplicaStatus, VerifyReport } from '#replica/types.ts'
import { answer, effects, field, inPath, optional, path, reads, text } from './table.ts'
import type { ClusterService, SystemServices } from './types.ts'

const joinTokenTtlSecondsDefault = 24 * 3_600
const joinTokenTtlSecondsMax = 7 * 24 * 3_600

export function raftPaths({ cluster }: SystemServices): PathDef[] {
  return [...readPaths(cluster), ...joinPaths(cluster), ...memberPaths(cluster), ...statePaths(cluster)]
}

function statusOf(cluster: ClusterService): ReplicaStatus {
  const status = cluster.status()
  if (!status) throw new HoldfastError('ERR_NO_LEADER', 'this node has joined no cluster')
  return status
}

function readPaths(cluster: ClusterService): PathDef[] {
  const flags = { rootNamespaceOnly: true }
  return [
    path('storage/raft/configuration', 'The members of the cluster.', flags, {
      // On the leader: only it knows what formats the others understand.
      read: effects('Read', async () => {
        const status = statusOf(cluster)
        const servers = status.members.map((member) => ({
          node_id: member.id,
          address: member.clusterAddress,
          leader: member.id === status.leader,
          protocol_version: '3',
          voter: member.voter,
          format_levels: status.memberFormats[member.id] ?? null,
        }))
        const recovery = cluster.lastRecovery()
        return answer({ config: { index: status.commit, servers, format_level: status.level }, ...(recovery === null ? {} : { recovery }) })
      }),
    }),
  ]
}

const joinFields = {
  leader_api_addr: field('string', 'URL of a node of the cluster.', { default: '' }),
  leader_ca_cert: field('string', "PEM of the authority that signed the leader's API certificate."),
  leader_client_cert: field('string', 'PEM of a client certificate for the leader.'),
  leader_client_key: field('string', 'PEM of its key.', { sensitive: true }),
  leader_tls_servername: field('string', "Name in the leader's certificate."),
  auto_join: field('string', 'Where to look for the leader.'),
  auto_join_scheme: field('string', 'Accepted and ignored.'),
  auto_join_port: field('int', 'Accepted and ignored.'),
  token: field('string', 'A one-time token of storage/raft/join-token.', { sensitive: true }),
  retry: field('bool', 'Keep trying in the background.', { default: false }),
  non_voter: field('bool', 'Join as a learner that never votes.', { default: false }),
}

function joinPaths(cluster: ClusterService): PathDef[] {
  const open = { unauthenticated: true, rootNamespaceOnly: true } as const
  const nullable = (context: HandlerContext, name: string): string | null => text(context, name) || null
  const join = async (context: HandlerContext): Promise<LogicalResponse> =>
    answer({
      ...(await cluster.join({
        leaderApiAddress: text(context, 'leader_api_addr'),
        leaderCaCertificatePem: nullable(context, 'leader_ca_cert'),
        leaderClientCertificatePem: nullable(context, 'leader_client_cert'),
        leaderClientKeyPem: nullable(context, 'leader_client_key'),
        leaderTlsServerName: nullable(context, 'leader_tls_servername'),
        autoJoin: nullable(context, 'auto_join'),
        token: nullable(context, 'token'),
        retry: optional<boolean>(context, 'retry') === true,
        nonVoter: optional<boolean>(context, 'non_voter') === true,
      })),
    })
  const tokenFields = {
    ttl: field('duration', 'How long it is good.', { default: joinTokenTtlSecondsDefault }),
    non_voter: field('bool', 'The node that uses it joins as a learner.', { default: false }),
  }
  return [
    path(
      'storage/raft/join',
      'Make this node join a cluster.',
      { ...open, whileSealed: true, local: true, bare: true, fields: joinFields },
      {
        update: effects('Join', join),
      },
    ),
    path(
      'storage/raft/bootstrap/challenge',
      'Step one of joining by the seal.',
      { ...open, bare: true, freeForm: true },
      {
        update: effects('Challenge', async (context) => answer(await cluster.bootstrapChallenge(context.data))),
      },
    ),
    path(
      'storage/raft/bootstrap/answer',
      'Step two of joining, or joining by token.',
      { ...open, bare: true, freeForm: true },
      {
        update: effects('Answer', async (context) => answer(await cluster.bootstrapAnswer(context.data))),
      },
    ),
    path(
      'storage/raft/join-token',
      'Make a one-time token with which a node may join.',
      { rootNamespaceOnly: true, sudo: true, fields: tokenFields },
      {
        update: effects('Make a token', async (context) => {
          const ttlSeconds = optional<number>(context, 'ttl') ?? joinTokenTtlSecondsDefault
          if (ttlSeconds <= 0 || ttlSeconds > joinTokenTtlSecondsMax) {
            throw new HoldfastError('ERR_BAD_REQUEST', `ttl expected 1 to ${joinTokenTtlSecondsMax} seconds, got ${ttlSeconds}`)
          }
          const made = await cluster.createJoinToken({ ttlSeconds, nonVoter: optional<boolean>(context, 'non_voter') === true })
          return answer({ id: made.id, token: made.token, expiration: formatRfc3339(made.expiresMs), ttl: ttlSeconds })
        }),
        list: effects('List the open ones', async () => {
          const tokens = await cluster.listJoinTokens()
          const rows = tokens.map(({ id, expiresMs, nonVoter, used }) => [
            id,
            { expiration: formatRfc3339(expiresMs), non_voter: nonVoter, used },
          ])
          return answer({ keys: tokens.map(({ id }) => id), key_info: Object.fromEntries(rows) as Record<string, unknown> })
        }),
      },
    ),
    path(
      'storage/raft/join-token/:id',
      'One join token.',
      { rootNamespaceOnly: true, sudo: true, fields: { id: inPath('Its id, as the list has it.') } },
      {
        delete: effects('Revoke it', async (context) => {
          if (await cluster.revokeJoinToken(text(context, 'id'))) return null
          throw new HoldfastError('ERR_NOT_FOUND', 'expected the id of an open join token, got another', {
            hint: 'LIST sys/storage/raft/join-token names them',
          })
        }),
      },
    ),
  ]
}

function memberPaths(cluster: ClusterService): PathDef[] {
  const flags = {
    rootNamespaceOnly: true,
    fields: {
      server_id: field('string', 'The node.', { required: true, example: 'node3' }),
      dr_operation_token: field('string', 'Accepted and ignored.'),
    },
  }
  const change = (summary: string, run: (nodeId: string) => Promise<void>) =>
    effects(summary, async (context) => {
      const id = text(context, 'server_id')
      if (!statusOf(cluster).members.some((member) => member.id === id)) {
        throw new HoldfastError('ERR_MEMBERSHIP', `expected a member's server_id, got one that is no member`, {
          hint: 'sys/storage/raft/configuration lists the members',
        })
      }
      await run(id)
      return null
    })
  return [
    path('storage/raft/remove-peer', 'Remove a node from the cluster.', flags, {
      update: change('Remove', (id) => cluster.removePeer(id)),
    }),
    path('storage/raft/promote', 'Make a learner a voter.', flags, { update: change('Promote', (id) => cluster.setVoter(id, true)) }),
    path('storage/raft/demote', 'Make a voter a learner.', flags, { update: change('Demote', (id) => cluster.setVoter(id, false)) }),
  ]
}

function statePaths(cluster: ClusterService): PathDef[] {
  const flags = { rootNamespaceOnly: true, sudo: true }
  // On the leader: it knows all members, and tells who differs to fetch its state again.
  const verify = effects('Compare', async () => answer(verifyBody(statusOf(cluster), await cluster.verifyStates())))
  return [
    path('storage/raft/verify', 'Compare the states of all members by their digests.', flags, { read: verify, update: verify }),
    path(
      'storage/raft/scrub',
      "Read this node's whole state from its disk, in the background, and compare it with its digest.",
      { ...flags, local: true },
      {
        update: reads('Begin', async () => {
          cluster.scrub()
          return null
        }),
      },
    ),
  ]
}

/** Enough of a digest to tell two apart by eye. */
const digestShownChars = 16

function verifyBody({ leader }: ReplicaStatus, { nodes, scrub }: VerifyReport): Record<string, unknown> {
  const short = (digest: string | null): string | null => digest?.slice(0, digestShownChars) ?? null
  return {
    agree: nodes.every(({ agrees }) => agrees === true),
    nodes: nodes.map((each) => ({
      node_id: each.node,
      address: each.member?.clusterAddress ?? '',
      leader: each.node === leader,
      voter: each.member?.voter ?? false,
      state: stateOf(each),
      index: each.index,
      digest: short(each.digest),
      expected_digest: short(each.expected),
      agrees: each.agrees,
      applied_index: each.applied,
      cause: each.damage,
      repairs: each.repairs,
      last_scrub:
        each.scrub === null
          ? null
          : { time: formatRfc3339(each.scrub.endedMs), ok: each.scrub.ok, index: each.scrub.index, bytes: each.scrub.bytes },
    })),
    scrub: { running: scrub.running, bytes_read: scrub.bytesRead },
  }
}

function stateOf({ answered, damage, agrees }: VerifyReport['nodes'][number]): string {
  if (!answered) return 'unreachable'
  if (damage !== null) return 'repairing'
  return agrees === null ? 'unknown' : agrees ? 'agrees' : 'differs'
}
