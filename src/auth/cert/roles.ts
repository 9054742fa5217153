/** Trusted certificates: an authority, or one client's own; whom of its they let in, and what those get. */
import { HoldfastError } from '#base/errors.ts'
import type { TokenParams } from '#core/login-types.ts'
import type { HandlerContext, PathDef } from '#core/types.ts'
import { recordPaths, Records } from '../accounts.ts'
import { field, optional } from '../fields.ts'
import { globMatches } from '../glob.ts'
import { checkWebUrl } from '../outside.ts'
import { describeTokenParams, noTokenParams, readTokenParams, tokenFields, type OldNames } from '../token-params.ts'
import { parseBundle, type Certificate } from './x509.ts'

export interface CertRole {
  readonly version: number
  readonly certificate: string
  readonly displayName: string
  readonly allowed: Readonly<Record<keyof typeof allowedLists, readonly string[]>>
  readonly requiredExtensions: readonly string[]
  readonly metadataExtensions: readonly string[]
  readonly ocspEnabled: boolean
  readonly ocspCaPem: string
  readonly ocspServers: readonly string[]
  readonly ocspFailOpen: boolean
  readonly ocspMaxAgeSeconds: number
  readonly token: TokenParams
}

export const roleTable = new Records<CertRole>('a trusted certificate', 'certs', 1)

const allowedLists = {
  allowed_names: 'Common names, DNS and email names: one of them must match one of these; * stands for any text.',
  allowed_common_names: 'Common names.',
  allowed_dns_sans: 'DNS names of its subject alternative names.',
  allowed_email_sans: 'Email names of its subject alternative names.',
  allowed_uri_sans: 'URIs of its subject alternative names.',
  allowed_organizational_units: 'Organisational units of its subject.',
} as const

const roleFields = {
  certificate: field('string', 'The trusted certificate in PEM, with intermediate ones behind it where clients do not send them.'),
  display_name: field('string', 'How its tokens are called; its name unless said.'),
  ...Object.fromEntries(Object.entries(allowedLists).map(([name, description]) => [name, field('list', description)])),
  required_extensions: field('list', 'OID:VALUE or hex:OID:HEX that a certificate must have; * in VALUE stands for any text.'),
  allowed_metadata_extensions: field('list', 'OIDs of extensions that become metadata, with - for each dot.'),
  ocsp_enabled: field('bool', "Ask the authority's responder whether the certificate was revoked."),
  ocsp_ca_certificates: field('string', 'Authorities in PEM that may sign its answers besides.'),
  ocsp_servers_override: field('list', 'Responders to ask in place of those that the certificate names.'),
  ocsp_fail_open: field('bool', 'Let in when no responder answers. Whoever can cut the way to it uses a revoked certificate then.'),
  ocsp_this_update_max_age: field('duration', 'How old an answer may be; 0: as old as it says itself.'),
  ocsp_query_all_servers: field('bool', 'Not built in: the first answer counts.', { deprecated: true }),
  policies: field('list', 'Use token_policies.', { deprecated: true }),
  lease: field('duration', 'Use token_ttl.', { deprecated: true }),
  ttl: field('duration', 'Use token_ttl.', { deprecated: true }),
  max_ttl: field('duration', 'Use token_max_ttl.', { deprecated: true }),
  period: field('duration', 'Use token_period.', { deprecated: true }),
  bound_cidrs: field('list', 'Use token_bound_cidrs.', { deprecated: true }),
  ...tokenFields,
}
const old: OldNames = {
  token_policies: 'policies',
  token_ttl: 'ttl',
  token_max_ttl: 'max_ttl',
  token_period: 'period',
  token_bound_cidrs: 'bound_cidrs',
}

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)
const oid = /^[0-2](\.(0|[1-9]\d{0,18})){1,32}$/

function change(context: HandlerContext, present: CertRole | null): Omit<CertRole, 'version'> {
  const list = (name: string, before: readonly string[] | undefined): readonly string[] => optional<string[]>(context, name) ?? before ?? []
  const allowed = Object.fromEntries(
    Object.keys(allowedLists).map((name) => [name, list(name, present?.allowed[name as keyof typeof allowedLists])]),
  ) as CertRole['allowed']
  const role: Omit<CertRole, 'version'> = {
    certificate: optional<string>(context, 'certificate') ?? present?.certificate ?? '',
    displayName: optional<string>(context, 'display_name') ?? present?.displayName ?? '',
    allowed,
    requiredExtensions: list('required_extensions', present?.requiredExtensions),
    metadataExtensions: list('allowed_metadata_extensions', present?.metadataExtensions),
    ocspEnabled: optional<boolean>(context, 'ocsp_enabled') ?? present?.ocspEnabled ?? false,
    ocspCaPem: optional<string>(context, 'ocsp_ca_certificates') ?? present?.ocspCaPem ?? '',
    ocspServers: list('ocsp_servers_override', present?.ocspServers),
    ocspFailOpen: optional<boolean>(context, 'ocsp_fail_open') ?? present?.ocspFailOpen ?? false,
    ocspMaxAgeSeconds: optional<number>(context, 'ocsp_this_update_max_age') ?? present?.ocspMaxAgeSeconds ?? 0,
    token: readTokenParams(context, present?.token ?? noTokenParams, old),
  }
  const bundle = parseBundle('certificate', role.certificate)
  if (!bundle.some(({ isCa, mayBeClient }) => isCa || mayBeClient))
    throw bad('nonCA certificates should have TLS client authentication set as an extended key usage')
  if (role.ocspCaPem !== '') parseBundle('ocsp_ca_certificates', role.ocspCaPem)
  role.ocspServers.forEach((url) => checkWebUrl('ocsp_servers_override', url))
  for (const each of role.requiredExtensions)
    if (splitExtension(each) === null) throw bad('required_extensions expected OID:VALUE or hex:OID:HEX')
  if (!role.metadataExtensions.every((each) => oid.test(each))) throw bad('allowed_metadata_extensions expected OIDs')
  return role
}

function splitExtension(text: string): { readonly oid: string; readonly value: string; readonly hex: boolean } | null {
  const hex = text.startsWith('hex:')
  const rest = hex ? text.slice(4) : text
  const at = rest.indexOf(':')
  const found = rest.slice(0, at)
  return at > 0 && oid.test(found) ? { oid: found, value: rest.slice(at + 1), hex } : null
}

const describe = (role: CertRole): Record<string, unknown> => ({
  certificate: role.certificate,
  display_name: role.displayName,
  ...role.allowed,
  required_extensions: role.requiredExtensions,
  allowed_metadata_extensions: role.metadataExtensions,
  ocsp_enabled: role.ocspEnabled,
  ocsp_ca_certificates: role.ocspCaPem,
  ocsp_servers_override: role.ocspServers,
  ocsp_fail_open: role.ocspFailOpen,
  ocsp_this_update_max_age: role.ocspMaxAgeSeconds,
  ocsp_query_all_servers: false,
  ...describeTokenParams(role.token),
})

export const rolePaths = (): PathDef[] =>
  recordPaths({
    records: roleTable,
    route: 'certs',
    parameter: 'name',
    synopsis: 'A trusted certificate: whom it lets in, and what their tokens get.',
    fields: roleFields,
    change,
    describe,
  })

/** What of the certificate each list is held against. */
const namesFor: Readonly<Record<keyof typeof allowedLists, (leaf: Certificate) => readonly string[]>> = {
  allowed_names: ({ commonName, dns, emails }) => [commonName, ...dns, ...emails],
  allowed_common_names: ({ commonName }) => [commonName],
  allowed_dns_sans: ({ dns }) => dns,
  allowed_email_sans: ({ emails }) => emails,
  allowed_uri_sans: ({ uris }) => uris,
  allowed_organizational_units: ({ organizationalUnits }) => organizationalUnits,
}

/** Each list that names something must be met by one of the names; an empty name meets none. */
export function meetsConstraints(leaf: Certificate, role: CertRole): boolean {
  const lists = Object.entries(role.allowed) as [keyof typeof allowedLists, readonly string[]][]
  const named = lists.every(
    ([list, globs]) =>
      globs.length === 0 || namesFor[list](leaf).some((name) => name !== '' && globs.some((glob) => globMatches(glob, name))),
  )
  return named && role.requiredExtensions.every((each) => hasExtension(leaf, each))
}

function hasExtension(leaf: Certificate, text: string): boolean {
  const wanted = splitExtension(text)
  const found = wanted && leaf.extension(wanted.oid)
  if (wanted === null || found === null) return false
  return wanted.hex ? globMatches(wanted.value.toLowerCase(), found.hex) : found.text !== null && globMatches(wanted.value, found.text)
}
