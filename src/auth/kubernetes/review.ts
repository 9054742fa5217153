/** Asking the API server whose a token is (authentication.k8s.io/v1 TokenReview): it alone knows whether the account is still there. */
import { createPublicKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { compactVerify, decodeJwt, type JWTPayload } from 'jose'
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { rootNamespace } from '#namespaces/record.ts'
import { away, type Outside } from '../outside.ts'
import type { KubernetesConfig } from './config.ts'

const provider = 'the Kubernetes API server'
const signatures = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']
/** Where Kubernetes lays the token and the authority of a pod. */
const podFolder = '/var/run/secrets/kubernetes.io/serviceaccount'
const tokenCharsMax = 32_768

export interface ServiceAccount {
  readonly name: string
  readonly namespace: string
  readonly uid: string
}

/** Refused as any denial is: why stands in the log of this server, not in the answer to a stranger. */
export class Refused extends HoldfastError {
  readonly why: string
  constructor(why: string) {
    super('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
    this.why = why
  }
}
const refused = (why: string): Refused => new Refused(why)

/** What the token says of itself, to be checked before the server is asked. Nothing of it is believed. */
export function unverified(token: string): JWTPayload {
  try {
    if (token.length > tokenCharsMax) throw new Error('long')
    return decodeJwt(token)
  } catch {
    throw new HoldfastError('ERR_BAD_CREDENTIALS', 'jwt expected a service account token, got something else')
  }
}

/** Against the mount's own keys, where it has any. @throws ERR_PERMISSION_DENIED. */
export async function checkSignature(config: KubernetesConfig, token: string): Promise<void> {
  if (config.pemKeys.length === 0) return
  for (const pem of config.pemKeys) {
    try {
      await compactVerify(token, createPublicKey(pem), { algorithms: signatures })
      return
    } catch {
      // The next key may fit.
    }
  }
  throw refused('no key of pem_keys has signed the token')
}

/** @throws ERR_PERMISSION_DENIED for a token that the server does not vouch for; ERR_UPSTREAM when it can't be asked. */
export async function review(
  outside: Outside,
  config: KubernetesConfig,
  local: PodIdentity,
  token: string,
  audience: string,
): Promise<ServiceAccount> {
  const reviewer = config.reviewerJwt || local.token || token
  const question = {
    url: `${config.host}/apis/authentication.k8s.io/v1/tokenreviews`,
    method: 'POST' as const,
    headers: { authorization: `Bearer ${reviewer}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      spec: { token, ...(audience === '' ? {} : { audiences: [audience] }) },
    }),
    caPem: config.caPem || local.ca,
  }
  const { status, json } = await outside.web(provider, question)
  if (status === 401 || status === 403) {
    throw refused('the API server refused the review: is the reviewer token good, and bound to system:auth-delegator?')
  }
  if (status !== 200 && status !== 201) throw away(provider, `status ${status}`)
  return accountOf(json, audience)
}

/** What this node's own pod has; '' where it has none, or may not use it. */
export interface PodIdentity {
  readonly token: string
  readonly ca: string
}

/**
 * The pod's own token goes to whatever server the mount names. So only mounts of the root namespace have it: whoever looks after another namespace may
 * name a server of its own, and would be given what this node is to its cluster.
 */
export async function podIdentity(config: KubernetesConfig, namespaceId: string, folder = podFolder): Promise<PodIdentity> {
  if (config.disableLocalCaJwt || namespaceId !== rootNamespace.id) return { token: '', ca: '' }
  return { token: await podFile(folder, 'token'), ca: await podFile(folder, 'ca.crt') }
}

async function podFile(folder: string, name: string): Promise<string> {
  try {
    return (await readFile(`${folder}/${name}`, 'utf8')).trim()
  } catch {
    return ''
  }
}

interface Review {
  readonly status?: {
    readonly authenticated?: unknown
    readonly error?: unknown
    readonly audiences?: unknown
    readonly user?: { readonly username?: unknown; readonly uid?: unknown }
  }
}

function accountOf(json: unknown, audience: string): ServiceAccount {
  const status = ((json ?? {}) as Review).status
  if (typeof status !== 'object' || status === null) throw away(provider, 'something that is no token review')
  if (status.authenticated !== true || (typeof status.error === 'string' && status.error !== ''))
    throw refused('lookup failed: service account unauthorized; it may have been deleted, or its token has expired')
  // A server that knows nothing of audiences answers none: the token may have been for another one.
  if (audience !== '' && !(Array.isArray(status.audiences) && status.audiences.includes(audience)))
    throw refused('the API server did not confirm the audience of the role')
  const { username, uid } = status.user ?? {}
  const parts = typeof username === 'string' ? username.split(':') : []
  if (parts.length !== 4 || parts[0] !== 'system' || parts[1] !== 'serviceaccount' || typeof uid !== 'string' || uid === '')
    throw refused('the token is not that of a service account')
  return { namespace: parts[2]!, name: parts[3]!, uid }
}
