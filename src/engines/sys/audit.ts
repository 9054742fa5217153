/** Audit devices. They come from the configuration: a device that an API call could create would write files as the server (CVE-2025-6000). */
import { HoldfastError } from '#base/errors.ts'
import { scopeOf } from '#core/scope.ts'
import type { PathDef } from '#core/types.ts'
import { answer, field, inPath, path, reads, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

export function auditPaths({ auditDevices, auditHash, auditProof }: SystemServices): PathDef[] {
  const pathField = { path: inPath('Its name.') }
  const refuse = (): never => {
    throw new HoldfastError('ERR_BAD_REQUEST', 'cannot enable or disable audit devices through the API', {
      hint: 'declare the device in the configuration (audit "file" "name" { ... }) and reload with SIGHUP',
    })
  }
  return [
    path(
      'audit',
      'Audit devices.',
      { injected: true, sudo: true, rootNamespaceOnly: true },
      {
        read: reads('List', async () => {
          const devices = auditDevices().map(({ path: name, type, description, options }) => {
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
      { sudo: true, rootNamespaceOnly: true, fields: pathField },
      {
        update: writes('Enable', async () => refuse()),
        delete: writes('Disable', async () => refuse()),
      },
    ),
    path(
      'audit-hash/:path*',
      'How a device hashes a value, to search its file for it.',
      { rootNamespaceOnly: true, fields: { ...pathField, input: field('string', 'The value.', { required: true, sensitive: true }) } },
      {
        update: reads('Hash', async (context) => {
          const hash = auditHash(text(context, 'path').replace(/\/$/, ''), text(context, 'input'))
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
  ]
}
