/** How this node's audit devices do, in Prometheus' text format. Labels are bounded: names of devices, of which there are at most 16. */
import type { ManagedAuditBroker } from '#audit/broker.ts'
import type { AnchorStatus } from './audit-anchors.ts'

export function auditMetrics(audit: ManagedAuditBroker, anchors: AnchorStatus): string {
  const devices = Object.entries(audit.status()).map(
    ([name, status]) => [`{device="${name.replaceAll(/[\\"\n]/g, '_')}"}`, status] as const,
  )
  const lines: string[] = []
  const gauge = (name: string, help: string, values: readonly (readonly [labels: string, value: number])[]): void => {
    if (values.length === 0) return
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, ...values.map(([labels, value]) => `${name}${labels} ${value}`))
  }
  const each = (value: (status: (typeof devices)[number][1]) => number) =>
    devices.map(([labels, status]) => [labels, value(status)] as const)
  gauge(
    'holdfast_audit_device_healthy',
    'Whether the last write to the device succeeded, and none hangs.',
    each(({ healthy }) => (healthy ? 1 : 0)),
  )
  gauge(
    'holdfast_audit_device_records',
    'Records that the device has taken since the start.',
    each(({ records }) => records),
  )
  gauge(
    'holdfast_audit_device_failures',
    'Records that it did not take.',
    each(({ failures }) => failures),
  )
  gauge(
    'holdfast_audit_device_waiting',
    'Records that wait for it.',
    each(({ waiting }) => waiting),
  )
  gauge(
    'holdfast_audit_device_write_seconds',
    'How long its last write took.',
    each(({ lastWriteMs }) => lastWriteMs / 1_000),
  )
  gauge('holdfast_audit_anchored_seconds', "When this node's lanes were last anchored, seconds since 1970; 0: not yet.", [
    ['', anchors.lastMs / 1_000],
  ])
  gauge('holdfast_audit_anchor_failures', 'Rounds of anchoring that have failed since the start.', [['', anchors.failures]])
  return `${lines.join('\n')}\n`
}
