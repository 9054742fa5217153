/** Rotated audit files in a bucket with object lock, as moto plays S3: locked for as long as was said, deleted here only once they are there, found whole again. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { archiveOf } from '#audit/sinks/archive.ts'
import type { FileSettings } from '#audit/sinks/settings.ts'
import { readEvidence } from '#audit/verify/evidence.ts'
import { verifyFiles } from '#audit/verify/verify.ts'
import { systemClock, type Clock } from '#base/clock.ts'
import { AuditLab } from '#test/support/audit-lab.ts'
import { freePorts } from '#test/support/cluster.ts'
import { Moto } from '#test/support/moto.ts'
import { until } from '#test/support/server-process.ts'

const dayMs = 24 * 3_600_000
const fetched = mkdtempSync(join(tmpdir(), 'holdfast-archive-'))
let moto: Moto
beforeAll(async () => {
  moto = await Moto.start((await freePorts(20)) + 10)
  await moto.script(`client('s3').create_bucket(Bucket='audit', CreateBucketConfiguration={'LocationConstraint': 'eu-central-1'}, ObjectLockEnabledForBucket=True)
print('null')`)
  // The machine's, as in production: no credentials stand in the configuration.
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test', AWS_EC2_METADATA_DISABLED: 'true' })
}, 300_000)
afterAll(async () => {
  await moto?.stop()
  rmSync(fetched, { recursive: true, force: true })
})

const settings = (more: Partial<FileSettings> = {}): FileSettings => ({
  prefix: null,
  log_raw: false,
  hmac_accessor: true,
  elide_list_responses: false,
  file_path: '',
  fsync: false,
  rotate_bytes: 0,
  rotate_duration: null,
  compress: true,
  keep: null,
  archive_s3_bucket: 'audit',
  archive_s3_region: 'eu-central-1',
  archive_s3_prefix: '/holdfast/',
  archive_s3_endpoint: moto.address,
  archive_s3_path_style: true,
  archive_lock: 30 * dayMs,
  archive_lock_mode: 'compliance',
  ...more,
})

interface Stored {
  readonly key: string
  readonly versions: number
  readonly mode: string
  readonly untilMs: number
}
const stored = (): Promise<Stored[]> =>
  moto.script(`s3 = client('s3')
found = {}
for v in s3.list_object_versions(Bucket='audit').get('Versions', []):
    found.setdefault(v['Key'], []).append(v['VersionId'])
rows = []
for key, versions in sorted(found.items()):
    lock = s3.head_object(Bucket='audit', Key=key)
    rows.append({'key': key, 'versions': len(versions), 'mode': lock['ObjectLockMode'], 'untilMs': lock['ObjectLockRetainUntilDate'].timestamp() * 1000})
print(json.dumps(rows))`)

test('a rotated file goes to the bucket, locked; here it is deleted when its time is over; from the bucket it is whole', async () => {
  let aheadMs = 0
  const clock: Clock = { ...systemClock, nowMs: () => Date.now() + aheadMs, monotonicMs: () => performance.now() + aheadMs }
  const archive = archiveOf(settings(), 'n1', clock)!
  const lab = new AuditLab('n1', { rotateBytes: 3_000, shelf: { compress: true, keepMs: dayMs, archive } }, clock)
  try {
    await lab.start()
    let lines = 12
    await lab.write(lines, 1)
    await lab.anchor()
    const rotated = lab.files().filter((file) => file !== lab.path).length
    expect(rotated).toBeGreaterThan(1)
    const writeLater = async (): Promise<void> => {
      aheadMs += 61_000 // Looked after once a minute.
      lines += 1
      await lab.write(1)
    }
    await until(
      'the files in the bucket',
      async () => {
        await writeLater()
        return (await stored()).length >= rotated ? true : null
      },
      60_000,
    )
    const first = await stored()
    for (const { key, mode, untilMs } of first) {
      expect(key).toMatch(/^holdfast\/n1\/audit\.log\.\d{8}T\d{6}\.\d{3}Z\.gz$/)
      expect(mode).toBe('COMPLIANCE')
      expect(Math.abs(untilMs - (Date.now() + 30 * dayMs))).toBeLessThan(600_000)
    }
    // Nobody deletes a version before its time.
    const refused = await moto.script<string>(`s3 = client('s3')
v = s3.list_object_versions(Bucket='audit')['Versions'][0]
try:
    s3.delete_object(Bucket='audit', Key=v['Key'], VersionId=v['VersionId'])
    print(json.dumps('deleted'))
except Exception as error:
    print(json.dumps(error.response['Error']['Code']))`)
    expect(refused).toBe('AccessDenied')
    await lab.stop()
    // A restart asks again for all that is there: no other version is made of it.
    await lab.start()
    aheadMs = 2 * dayMs
    await until(
      'the old files to be deleted here',
      async () => {
        await writeLater()
        return lab.files().length <= 3 ? true : null
      },
      60_000,
    )
    await lab.anchor()
    await lab.stop()
    const all = await stored()
    expect(all.map(({ versions }) => versions)).toEqual(all.map(() => 1))
    const texts = await moto.script<Record<string, string>>(`import base64
s3 = client('s3')
print(json.dumps({o['Key']: base64.b64encode(s3.get_object(Bucket='audit', Key=o['Key'])['Body'].read()).decode() for o in s3.list_objects_v2(Bucket='audit')['Contents']}))`)
    const paths = Object.entries(texts).map(([key, text]) => {
      const path = join(fetched, basename(key))
      writeFileSync(path, Buffer.from(text, 'base64'))
      return path
    })
    const here = lab
      .files()
      .filter((file) => !paths.some((path) => basename(path).startsWith(basename(file).replace(/\.gz$/, '')) && file !== lab.path))
    const verdict = await verifyFiles([...paths, ...here], { evidence: readEvidence(await lab.proof(), null) })
    expect([verdict.verdict, verdict.findings, verdict.unknown, verdict.lines]).toEqual(['whole', [], [], lines])
  } finally {
    lab.remove()
  }
}, 240_000)

test('a bucket that is not there keeps every file here, and says so', async () => {
  let aheadMs = 0
  const failures: unknown[] = []
  const clock: Clock = { ...systemClock, nowMs: () => Date.now() + aheadMs, monotonicMs: () => performance.now() + aheadMs }
  const archive = archiveOf(settings({ archive_s3_bucket: 'none' }), 'n1', clock)!
  const lab = new AuditLab('n1', { rotateBytes: 1, shelf: { keepMs: 1_000, archive, onError: (error) => failures.push(error) } }, clock)
  try {
    await lab.start()
    await lab.write(3, 1)
    aheadMs = dayMs
    await lab.write(1)
    await until('the archive to fail', async () => (failures.length > 0 ? true : null), 60_000)
    await lab.stop()
    expect(lab.files()).toHaveLength(4)
    expect((failures[0] as Error).name).toBe('NoSuchBucket')
  } finally {
    lab.remove()
  }
}, 120_000)
