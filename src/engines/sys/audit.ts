/**
 * Audit devices: those of each node's configuration, and, where that allows it, those that this API enables on all nodes. A device that an API call could
 * point anywhere would write files as the server (CVE-2025-6000): files lie below one folder that the configuration names.
 */
import { auditedHeaders, setAuditedHeader } from '#audit/header-store.ts'
import { HoldfastError } from '#base/errors.ts'
import { randomUuid, type RandomSource } from '#base/random.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { HandlerContext, PathDef } from '#core/types.ts'
import { answer, effects, field, flag, inPath, optional, path, reads, text, writes } from './table.ts'
import type { AuditAsked, SystemServices } from './types.ts'

const nameOf = (context: HandlerContext): string => text(context, 'path').replaceAll(/^\/+|\/+$/g, '')

const askedOf = ({ request, token }: HandlerContext): AuditAsked => ({
  requestId: request.id,
  displayName: token?.displayName ?? '',
  accessor: token?.accessor ?? null,
  entityId: token?.entityId ?? null,
  address: request.clientAddress,
})

/** Options are texts, as the field has them; what a program sends as a number or a bool is taken too. */
function optionsOf(context: HandlerContext): Record<string, string> {
  const given = optional<Readonly<Record<string, unknown>>>(context, 'options') ?? {}
  return Object.fromEntries(
    Object.entries(given).map(([key, value]) => {
      if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return [key, String(value)]
      throw new HoldfastError('ERR_BAD_REQUEST', `options.${key} expected a text, got another`)
    }),
  )
}

export function auditPaths({ auditDevices, auditHash, auditProof, auditEnable, auditDisable, random }: SystemServices): PathDef[] {
  const pathField = { path: inPath('Its name.') }
  return [
    path(
      'audit',
      'Audit devices.',
      { injected: true, sudo: true, rootNamespaceOnly: true },
      {
        read: reads('List', async (context) => {
          const devices = (await auditDevices(scopeOf(context).view)).map(({ path: name, type, description, options }) => {
            const full = name.endsWith('/') ? name : `${name}/`
            return [full, { path: full, type, description, options, local: false }]
          })
          return answer(Object.fromEntries(devices) as Record<string, unknown>)
        }),
      },
    ),
    path(
      'audit/:path*',
      'One audit device.',
      {
        sudo: true,
        rootNamespaceOnly: true,
        fields: {
          ...pathField,
          type: field('string', 'file, stdout, socket, syslog or http; required.'),
          description: field('string', 'For people.'),
          options: field('map', "The device's own, as in the configuration, as texts.", { sensitive: true }),
          local: field('bool', 'Accepted: devices of the API are on every node.'),
        },
      },
      {
        update: effects('Enable', async (context) => {
          await auditEnable(nameOf(context), text(context, 'type'), text(context, 'description'), optionsOf(context))
          return null
        }),
        delete: effects('Disable', async (context) => {
          await auditDisable(nameOf(context), askedOf(context))
          return null
        }),
      },
      'Needs unsafe_allow_api_audit_creation in the configuration; files lie below audit_api_folder. The last record of a device that is disabled says who did it.',
    ),
    path(
      'audit-hash/:path*',
      'How a device hashes a value, to search its file for it.',
      { rootNamespaceOnly: true, fields: { ...pathField, input: field('string', 'The value.', { required: true, sensitive: true }) } },
      {
        update: reads('Hash', async (context) => {
          const hash = auditHash(nameOf(context), text(context, 'input'))
          if (hash === null) throw new HoldfastError('ERR_BAD_REQUEST', 'unknown audit backend')
          return answer({ hash })
        }),
      },
    ),
    path(
      'audit-proof',
      'What checking audit files needs.',
      { sudo: true, rootNamespaceOnly: true },
      {
        read: reads('Read', async (context) => {
          const proof = await auditProof(scopeOf(context).view)
          if (proof !== null) return answer({ ...proof })
          throw new HoldfastError('ERR_NOT_FOUND', 'nothing of the audit is anchored yet', {
            hint: 'a device must have taken records, and audit_anchor_interval have passed',
          })
        }),
      },
      'Signed anchors of every lane, and the MAC keys of epochs that anchors have closed. Nothing in it can forge a record.',
    ),
    ...headerPaths(random),
  ]
}

/** Which request headers the records hold. */
function headerPaths(random: RandomSource): PathDef[] {
  const nameIn = (context: HandlerContext): string => text(context, 'name').toLowerCase()
  return [
    path(
      'config/auditing/request-headers',
      'Request headers that records hold.',
      { injected: true, sudo: true, rootNamespaceOnly: true },
      {
        read: reads('List', async (context) => {
          const rules = await auditedHeaders(scopeOf(context).view)
          return answer({ headers: Object.fromEntries([...rules].map(([name, hmac]) => [name, { hmac }])) })
        }),
      },
    ),
    path(
      'config/auditing/request-headers/:name',
      'One of them.',
      {
        injected: true,
        sudo: true,
        rootNamespaceOnly: true,
        fields: { name: inPath('Of the header, in any case.'), hmac: field('bool', 'Record a hash of its value.') },
      },
      {
        read: reads('Read', async (context) => {
          const hmac = (await auditedHeaders(scopeOf(context).view)).get(nameIn(context))
          if (hmac === undefined) throw new HoldfastError('ERR_BAD_REQUEST', 'Could not find header in config')
          return answer({ [nameIn(context)]: { hmac } })
        }),
        update: writes('Record it', async (context) => {
          await setAuditedHeader(transactionOf(context), nameIn(context), flag(context, 'hmac'), randomUuid(random))
          return null
        }),
        delete: writes('Record it no more', async (context) => {
          await setAuditedHeader(transactionOf(context), nameIn(context), null, randomUuid(random))
          return null
        }),
      },
      'Authorization, cookies and tokens are recorded as hashes only.',
    ),
  ]
}
