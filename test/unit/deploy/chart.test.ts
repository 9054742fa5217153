/** The Helm chart, as it renders with its own values: deploy/helm/rendered.yaml, which test/e2e/full/deploy.test.ts holds to what helm makes of the chart. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { loadConfig } from '#config/load.ts'

/* oxlint-disable typescript/no-explicit-any -- manifests, looked into */
const documents = parseAllDocuments(readFileSync('deploy/helm/rendered.yaml', 'utf8')).map((document) => document.toJS() as any)
const of = (kind: string, name = 'holdfast'): any => documents.find((one) => one.kind === kind && one.metadata.name === name)
const pod = of('StatefulSet').spec.template.spec
const [container] = pod.containers

/** The environment of pod `index`, as Kubernetes puts it together. */
function environmentOf(index: number): Record<string, string> {
  const env: Record<string, string> = {}
  for (const { name, value, valueFrom } of container.env) {
    env[name] = valueFrom === undefined ? value.replaceAll('$(POD_NAME)', env['POD_NAME']) : `holdfast-${index}`
  }
  return env
}

test('it has what a cluster needs, and no more', () => {
  expect(documents.map(({ kind, metadata }) => `${kind} ${metadata.name}`).toSorted()).toEqual([
    'ConfigMap holdfast',
    'PodDisruptionBudget holdfast',
    'Service holdfast',
    'Service holdfast-internal',
    'ServiceAccount holdfast',
    'StatefulSet holdfast',
  ])
})

test('each pod has a configuration that a server takes, under its own stable name', () => {
  const text = of('ConfigMap').data['holdfast.hcl'] as string
  for (const index of [0, 1, 2]) {
    const config = loadConfig({ text: { name: 'holdfast.hcl', text }, env: environmentOf(index) })
    const name = `holdfast-${index}.holdfast-internal.holdfast.svc`
    expect([config.raft.node_id, config.api_addr, config.cluster_addr]).toEqual([
      `holdfast-${index}`,
      `https://${name}:8200`,
      `https://${name}:8201`,
    ])
    expect(config.raft.retry_join.map(({ leader_api_addr: address }) => address)).toContain(`https://${name}:8200`)
    expect(config.raft.retry_join).toHaveLength(of('StatefulSet').spec.replicas)
  }
})

test('members find each other before any is ready, and come up together', () => {
  expect(of('Service', 'holdfast-internal').spec).toMatchObject({ clusterIP: 'None', publishNotReadyAddresses: true })
  expect(of('StatefulSet').spec).toMatchObject({ serviceName: 'holdfast-internal', podManagementPolicy: 'Parallel' })
  expect(of('Service').spec.publishNotReadyAddresses).toBe(undefined)
})

test('readiness asks whether it serves, as leader or not; liveness never asks about health', () => {
  expect(container.readinessProbe.httpGet).toEqual({ path: '/v1/sys/health?standbyok=true', port: 'api', scheme: 'HTTPS' })
  for (const probe of [container.livenessProbe, container.startupProbe]) {
    expect(probe.tcpSocket).toEqual({ port: 'api' })
    expect(probe.httpGet).toBe(undefined)
  }
})

test('one at a time may be taken away, and no two stand on one machine', () => {
  expect(of('PodDisruptionBudget').spec.maxUnavailable).toBe(1)
  const [rule] = pod.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution
  expect(rule.topologyKey).toBe('kubernetes.io/hostname')
  const { labels } = of('StatefulSet').spec.template.metadata
  for (const selector of [rule.labelSelector, of('PodDisruptionBudget').spec.selector, of('StatefulSet').spec.selector])
    expect(labels).toMatchObject(selector.matchLabels)
  for (const name of ['holdfast', 'holdfast-internal']) expect(labels).toMatchObject(of('Service', name).spec.selector)
})

test('it runs as nobody in particular, on a root that nobody writes, without what it does not need', () => {
  expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 10_001, seccompProfile: { type: 'RuntimeDefault' } })
  expect(container.securityContext).toEqual({
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  })
  expect([pod.automountServiceAccountToken, of('ServiceAccount').automountServiceAccountToken]).toEqual([false, false])
  // Every place that the configuration writes to, or reads from, is mounted.
  const mounted = container.volumeMounts.map(({ mountPath }: any) => mountPath as string)
  const text = of('ConfigMap').data['holdfast.hcl'] as string
  const paths = [...text.matchAll(/(?:path|_file)\s*= "(\/[^"]+)"/g)].map(([, path = '']) => path)
  expect(paths.length).toBeGreaterThan(3)
  for (const path of paths)
    expect(
      mounted.some((folder: string) => path.startsWith(`${folder}/`)),
      path,
    ).toBe(true)
})

test('volumes stay when the release goes', () => {
  const { spec } = of('StatefulSet')
  expect(spec.persistentVolumeClaimRetentionPolicy).toEqual({ whenDeleted: 'Retain', whenScaled: 'Retain' })
  expect(spec.volumeClaimTemplates.map(({ metadata }: any) => metadata.name)).toEqual(['data', 'audit'])
})

test('a pod has time to drain: what runs before SIGTERM, and the server behind it', () => {
  const [, seconds] = container.lifecycle.preStop.exec.command
  expect(pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(Number(seconds) + 20)
})

test('every value is known to the schema, and the other way round', () => {
  const values = parse(readFileSync('deploy/helm/holdfast/values.yaml', 'utf8')) as Record<string, unknown>
  const schema = JSON.parse(readFileSync('deploy/helm/holdfast/values.schema.json', 'utf8')) as { properties: Record<string, unknown> }
  const known = Object.keys(schema.properties).filter((name) => name !== 'global')
  expect(known.toSorted()).toEqual(Object.keys(values).toSorted())
})
