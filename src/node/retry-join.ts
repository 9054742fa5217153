import { readFileSync } from 'node:fs'
import { HoldfastError } from '#base/errors.ts'
import type { RetryJoinConfig } from '#config/types.ts'
import type { JoinOptions } from '#engines/sys/types.ts'

/** One `retry_join` block of the configuration as a join; files are read now. @throws ERR_CONFIG for one that can't be read. */
export function joinOptionsOf(block: RetryJoinConfig, nonVoter: boolean): JoinOptions {
  const either = (name: 'leader_ca_cert' | 'leader_client_cert' | 'leader_client_key' | 'join_token'): string | null => {
    const file = block[`${name}_file`]
    return block[name] ?? (file === null ? null : read(`${name}_file`, file))
  }
  return {
    leaderApiAddress: block.leader_api_addr,
    leaderCaCertificatePem: either('leader_ca_cert'),
    leaderClientCertificatePem: either('leader_client_cert'),
    leaderClientKeyPem: either('leader_client_key'),
    leaderTlsServerName: block.leader_tls_servername,
    autoJoin: null,
    token: either('join_token'),
    retry: true,
    nonVoter,
  }
}

function read(key: string, file: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'an error'
    throw new HoldfastError('ERR_CONFIG', `storage.raft.retry_join.${key} expected a readable file, got ${code} for ${file}`, {
      cause: error,
    })
  }
}
