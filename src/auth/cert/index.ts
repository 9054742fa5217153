/** The method of TLS certificates: the certificate of the client's own connection says who it is. */
import { createHash } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import { aside } from '#core/aside.ts'
import type { LoginRenewal, TokenParams } from '#core/login-types.ts'
import type { EngineDef, HandlerContext, LogicalResponse, MountStorage, PathDef, Request } from '#core/types.ts'
import { sanitizePolicyNames } from '#policies/names.ts'
import { allowedFrom } from '#tokens/cidr.ts'
import { readConfig } from '../accounts.ts'
import { field, optional, path, reads, text, writes } from '../fields.ts'
import type { AuthServices } from '../index.ts'
import { Outside } from '../outside.ts'
import { findPath } from './chain.ts'
import { crlPaths, crlsMax, crlTable } from './crls.ts'
import { Revocation } from './revocation.ts'
import { meetsConstraints, rolePaths, roleTable, type CertRole } from './roles.ts'
import { parseBundle, parseCertificate, type Certificate } from './x509.ts'

/** Trusted certificates that a login without a name is held against. */
const rolesTriedMax = 1_000
const intermediatesMax = 8

interface CertConfig {
  readonly version: number
  /** Renewing does not ask for the certificate again. */
  readonly disableBinding: boolean
  readonly metadataOnAlias: boolean
}
const configVersion = 1
const configWhat = "the configuration of a mount's certificate logins"
const configOf = async (storage: MountStorage): Promise<CertConfig> =>
  (await readConfig<CertConfig>(storage, configWhat, configVersion)) ?? {
    version: configVersion,
    disableBinding: false,
    metadataOnAlias: false,
  }

export function createCert({ clock }: AuthServices): EngineDef {
  const outside = new Outside({ clock, what: 'logins by certificate' })
  const revocation = new Revocation(outside, clock)
  const given = (context: HandlerContext): string => text(context, 'name').toLowerCase()
  const paths: readonly PathDef[] = [
    path(
      'login',
      "Log in with the connection's TLS certificate.",
      { unauthenticated: true, fields: { name: field('string', 'The trusted certificate to be held against; each of them unless said.') } },
      {
        update: {
          ...writes('Log in', (context) => login(outside, revocation, context, given(context))),
          login: { aliasOf: () => null, roleOf: (context) => given(context) || null },
        },
      },
    ),
    path(
      'config',
      'How certificates are used here.',
      {
        fields: {
          disable_binding: field('bool', 'Renewing does not ask for the certificate again.'),
          enable_identity_alias_metadata: field('bool', "The certificate's names become metadata of the alias."),
        },
      },
      { read: reads('Read', describeConfig), update: writes('Change', saveConfig) },
    ),
    ...rolePaths(),
    ...crlPaths(revocation),
  ]
  return {
    type: 'cert',
    kind: 'auth',
    description: 'TLS client certificates',
    paths: () => paths,
    renewLogin: (renewal) => renewLogin(outside, revocation, renewal),
  }
}

async function saveConfig(context: HandlerContext): Promise<null> {
  const before = await configOf(context.storage)
  context.storage.putJson('config', {
    version: configVersion,
    disableBinding: optional<boolean>(context, 'disable_binding') ?? before.disableBinding,
    metadataOnAlias: optional<boolean>(context, 'enable_identity_alias_metadata') ?? before.metadataOnAlias,
  } satisfies CertConfig)
  return null
}

async function describeConfig(context: HandlerContext): Promise<LogicalResponse> {
  const { disableBinding, metadataOnAlias } = await configOf(context.storage)
  return { data: { disable_binding: disableBinding, enable_identity_alias_metadata: metadataOnAlias } }
}

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)
const unfit = (): HoldfastError => new HoldfastError('ERR_BAD_CREDENTIALS', 'failed to match all constraints for this login certificate')

function shown(request: Request): { readonly leaf: Certificate; readonly intermediates: Certificate[] } {
  if (request.clientCertificate === undefined) throw bad('client certificate must be supplied')
  try {
    const intermediates = (request.clientCertificateChain ?? []).slice(0, intermediatesMax).map((der) => parseCertificate(der))
    return { leaf: parseCertificate(request.clientCertificate), intermediates }
  } catch {
    throw bad('client certificate expected one that can be read, got something else')
  }
}

interface Matched {
  readonly name: string
  readonly role: CertRole
  readonly leaf: Certificate
}

async function candidates(storage: MountStorage, name: string): Promise<[string, CertRole][]> {
  const names = name === '' ? await roleTable.list(storage, rolesTriedMax) : [name]
  const found: [string, CertRole][] = []
  for (const each of names) {
    const role = await roleTable.read(storage, each)
    if (role !== null) found.push([each, role])
  }
  return found
}

/** The first trusted certificate that lets this one in. @throws ERR_BAD_CREDENTIALS, ERR_BAD_REQUEST, ERR_UPSTREAM. */
async function match(
  outside: Outside,
  revocation: Revocation,
  context: HandlerContext,
  storage: MountStorage,
  name: string,
): Promise<Matched> {
  const { leaf, intermediates } = shown(context.request)
  const { clientAddress } = context.request
  const roles = (await candidates(storage, name)).filter(
    ([, role]) => meetsConstraints(leaf, role) && allowedFrom(role.token.boundCidrs, clientAddress),
  )
  const lists = await Promise.all((await crlTable.list(storage, crlsMax)).map((each) => crlTable.read(storage, each)))
  const stored = lists.filter((each) => each !== null)
  const der = context.request.clientCertificate ?? new Uint8Array()
  const stamp = createHash('sha256')
    .update(JSON.stringify([roles, stored]))
    .update(der)
    .digest('hex')
  const { nowMs } = context
  const found = await aside(context, `check a certificate against ${stamp}`, () =>
    outside.turn(async () => {
      for (const [each, role] of roles) {
        const way = await findPath(leaf, intermediates, parseBundle('certificate', role.certificate), nowMs)
        if (way === null) continue
        return { name: each, role, way }
      }
      return null
    }),
  )
  if (found === null) throw unfit()
  await aside(context, `check its revocation against ${stamp}`, async () => {
    await revocation.checkLists(found.way, stored)
    if (found.role.ocspEnabled) await revocation.checkOcsp(found.way, ocspRules(found.role))
  })
  return { name: found.name, role: found.role, leaf }
}

const ocspRules = (role: CertRole) => ({
  servers: role.ocspServers,
  caPem: '',
  extraCas: role.ocspCaPem === '' ? [] : parseBundle('ocsp_ca_certificates', role.ocspCaPem),
  failOpen: role.ocspFailOpen,
  thisUpdateMaxAgeSeconds: role.ocspMaxAgeSeconds,
})

async function login(outside: Outside, revocation: Revocation, context: HandlerContext, given: string): Promise<LogicalResponse> {
  const { name, role, leaf } = await match(outside, revocation, context, context.storage, given)
  const { metadataOnAlias } = await configOf(context.storage)
  const metadata: Record<string, string> = {
    authority_key_id: leaf.authorityKeyId,
    cert_name: name,
    common_name: leaf.commonName,
    serial_number: leaf.serial,
    subject_key_id: leaf.subjectKeyId,
  }
  for (const oid of role.metadataExtensions) {
    const value = leaf.extension(oid)?.text ?? null
    if (value !== null) metadata[oid.replaceAll('.', '-')] = value
  }
  return {
    login: {
      // A certificate without a common name is nobody that identity could tell from others.
      alias: leaf.commonName === '' ? null : { name: leaf.commonName, ...(metadataOnAlias ? { metadata } : {}) },
      displayName: role.displayName || name,
      metadata,
      token: role.token,
      internal: { name, key: leaf.keyHash, common_name: leaf.commonName },
    },
  }
}

/**
 * Who renews shows the certificate again: one for the same key and the same name, which is still let in by the same trusted one. Another that the
 * same authority has issued is another's (CVE-2026-39388).
 */
async function renewLogin(
  outside: Outside,
  revocation: Revocation,
  { storage, token, internal, context }: LoginRenewal,
): Promise<TokenParams> {
  const name = internal['name'] ?? ''
  const role = await roleTable.read(storage, name)
  if (role === null) throw bad('the trusted certificate no longer exists, not renewing')
  const { disableBinding } = await configOf(storage)
  if (!disableBinding) {
    const { leaf } = await match(outside, revocation, context, storage, name)
    if (leaf.keyHash !== internal['key'] || leaf.commonName !== internal['common_name'])
      throw bad('client identity during renewal not matching client identity used during login')
  }
  const names = sanitizePolicyNames(role.token.policies, !role.token.noDefaultPolicy)
  if (names.join() !== token.policies.join()) throw bad('policies have changed, not renewing')
  return role.token
}
