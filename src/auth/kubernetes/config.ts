/** Which cluster's service accounts are believed, and how it is asked. */
import { X509Certificate, createPublicKey } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import type { HandlerContext, LogicalResponse, MountStorage, PathDef } from '#core/types.ts'
import { readConfig } from '../accounts.ts'
import { field, optional, path, reads, text, writes } from '../fields.ts'
import { checkWebUrl } from '../outside.ts'

const formatVersion = 1
const what = "the configuration of a mount's Kubernetes logins"

export interface KubernetesConfig {
  readonly version: number
  readonly host: string
  readonly caPem: string
  /** '': the file of the pod that this node runs in, unless switched off; else the login's own token. */
  readonly reviewerJwt: string
  readonly pemKeys: readonly string[]
  readonly issuer: string
  readonly disableIssValidation: boolean
  readonly disableLocalCaJwt: boolean
  readonly annotationsAsMetadata: boolean
}

/** @throws ERR_BAD_REQUEST before the mount is configured. */
export async function configOf(storage: MountStorage): Promise<KubernetesConfig> {
  const config = await readConfig<KubernetesConfig>(storage, what, formatVersion)
  if (config === null)
    throw new HoldfastError('ERR_BAD_REQUEST', 'could not load backend configuration', { hint: 'write auth/PATH/config first' })
  return config
}

const configFields = {
  kubernetes_host: field('string', "Address of the cluster's API server."),
  kubernetes_ca_cert: field(
    'string',
    "PEM of the authority of its TLS certificate; the pod's own file where it is empty (in the root namespace).",
  ),
  token_reviewer_jwt: field(
    'string',
    "A service account's token that may ask for reviews; the pod's own where it is empty (in the root namespace), else the login's.",
    {
      sensitive: true,
    },
  ),
  pem_keys: field('list', 'Public keys or certificates in PEM that sign the tokens: checked besides, before the server is asked.'),
  issuer: field('string', "What a token's iss must be, with disable_iss_validation=false.", { deprecated: true }),
  disable_iss_validation: field('bool', 'The API server knows its issuer: checking it again here is of no use.', { default: true }),
  disable_local_ca_jwt: field('bool', 'Never use the files of the pod that this node runs in.', { default: false }),
  use_annotations_as_alias_metadata: field('bool', 'Kept and shown: the token review tells none.', { default: false }),
}

export const configPath = (): PathDef =>
  path(
    'config',
    'The Kubernetes cluster whose service accounts log in.',
    { fields: configFields },
    { read: reads('Read, without the reviewer token', describe), update: writes('Set, all of it', save) },
    'Writing replaces the whole configuration.',
  )

async function save(context: HandlerContext): Promise<null> {
  const flag = (name: string): boolean => optional<boolean>(context, name) ?? false
  const config: KubernetesConfig = {
    version: formatVersion,
    host: text(context, 'kubernetes_host').replace(/\/+$/, ''),
    caPem: text(context, 'kubernetes_ca_cert'),
    reviewerJwt: text(context, 'token_reviewer_jwt'),
    pemKeys: optional<string[]>(context, 'pem_keys')?.filter((pem) => pem !== '') ?? [],
    issuer: text(context, 'issuer'),
    disableIssValidation: flag('disable_iss_validation'),
    disableLocalCaJwt: flag('disable_local_ca_jwt'),
    annotationsAsMetadata: flag('use_annotations_as_alias_metadata'),
  }
  if (config.host === '') throw new HoldfastError('ERR_BAD_REQUEST', 'no host provided')
  checkWebUrl('kubernetes_host', config.host)
  config.pemKeys.forEach((pem, at) => checkKey(pem, at))
  if (config.caPem !== '') checkAuthority(config.caPem)
  context.storage.putJson('config', config)
  return null
}

function checkKey(pem: string, at: number): void {
  try {
    if (/PRIVATE KEY/.test(pem)) throw new Error('private')
    createPublicKey(pem)
  } catch {
    throw new HoldfastError('ERR_BAD_REQUEST', `pem_keys expected public keys or certificates in PEM, got something else at ${at}`)
  }
}

function checkAuthority(pem: string): void {
  try {
    void new X509Certificate(pem)
  } catch {
    throw new HoldfastError('ERR_BAD_REQUEST', 'kubernetes_ca_cert expected a certificate in PEM, got something else')
  }
}

async function describe(context: HandlerContext): Promise<LogicalResponse | null> {
  const config = await readConfig<KubernetesConfig>(context.storage, what, formatVersion)
  if (config === null) return null
  return {
    data: {
      disable_iss_validation: config.disableIssValidation,
      disable_local_ca_jwt: config.disableLocalCaJwt,
      issuer: config.issuer,
      kubernetes_ca_cert: config.caPem,
      kubernetes_host: config.host,
      pem_keys: config.pemKeys,
      token_reviewer_jwt_set: config.reviewerJwt !== '',
      use_annotations_as_alias_metadata: config.annotationsAsMetadata,
    },
  }
}
