import { readFileSync } from 'node:fs'
import type { RetryJoinConfig } from '#config/types.ts'
import type { JoinOptions } from '#engines/sys/types.ts'

/** One `retry_join` block of the configuration as a join; files are read now. @throws Error of the file system, naming the file. */
export function joinOptionsOf(block: RetryJoinConfig, nonVoter: boolean): JoinOptions {
  const either = (text: string | null, file: string | null): string | null =>
    text ?? (file === null ? null : readFileSync(file, 'utf8').trim())
  return {
    leaderApiAddress: block.leader_api_addr,
    leaderCaCertificatePem: either(block.leader_ca_cert, block.leader_ca_cert_file),
    leaderClientCertificatePem: either(block.leader_client_cert, block.leader_client_cert_file),
    leaderClientKeyPem: either(block.leader_client_key, block.leader_client_key_file),
    leaderTlsServerName: block.leader_tls_servername,
    autoJoin: null,
    token: either(block.join_token, block.join_token_file),
    retry: true,
    nonVoter,
  }
}
