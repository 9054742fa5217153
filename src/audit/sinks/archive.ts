/** Rotated files in a bucket of S3, or of what speaks its language, locked there until their time is over. The AWS package is loaded with the first file. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import type { S3Client } from '@aws-sdk/client-s3'
import type { Clock } from '#base/clock.ts'
import type { FileSettings } from './settings.ts'

const connectMsMax = 5_000
const answerMsMax = 120_000
const attemptsMax = 3

/** null where no bucket is set. Credentials are the machine's: environment, profile, web identity, container or instance role. */
export function archiveOf(settings: FileSettings, node: string, clock: Clock): ((file: string) => Promise<void>) | null {
  const { archive_s3_bucket: bucket, archive_lock: lockMs, archive_lock_mode: mode } = settings
  if (bucket === null) return null
  let client: S3Client | null = null
  const prefix = settings.archive_s3_prefix.replaceAll(/^\/+|\/+$/g, '')
  const keyOf = (file: string): string => [prefix, node, basename(file)].filter((part) => part !== '').join('/')
  return async (file) => {
    const { S3Client: Client, PutObjectCommand, HeadObjectCommand } = await import('@aws-sdk/client-s3')
    client ??= new Client({
      region: settings.archive_s3_region,
      forcePathStyle: settings.archive_s3_path_style,
      maxAttempts: attemptsMax,
      requestHandler: { connectionTimeout: connectMsMax, requestTimeout: answerMsMax, throwOnRequestTimeout: true },
      ...(settings.archive_s3_endpoint === null ? {} : { endpoint: settings.archive_s3_endpoint }),
    })
    const { size } = await stat(file)
    const place = { Bucket: bucket, Key: keyOf(file) }
    // Asked again after a restart: a locked object would only get another version.
    const there = await client.send(new HeadObjectCommand(place)).catch(() => null)
    if (there?.ContentLength === size) return
    await client.send(
      new PutObjectCommand({
        ...place,
        Body: createReadStream(file),
        ContentLength: size,
        ChecksumAlgorithm: 'SHA256',
        ...(lockMs === null
          ? {}
          : {
              ObjectLockMode: mode === 'compliance' ? 'COMPLIANCE' : 'GOVERNANCE',
              ObjectLockRetainUntilDate: new Date(clock.nowMs() + lockMs),
            }),
      }),
    )
  }
}
