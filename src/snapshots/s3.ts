/**
 * Snapshots in a bucket of S3, or of what speaks its language. Uploaded in parts as they are made, so that neither the whole nor its length need be known; a
 * run that ends early leaves no object, and takes its parts back.
 *
 * The AWS packages are loaded when such a schedule runs: they cost every other server memory and a part of its start.
 */
import { Readable } from 'node:stream'
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { isFileOf, type S3Target, type Schedule } from './schedule.ts'
import type { SnapshotTarget } from './types.ts'

const connectMsMax = 5_000
const answerMsMax = 60_000
const attemptsMax = 4
/** S3 takes 10,000 parts: 160 GB. Two are in memory. */
const partBytes = 16 * 1024 * 1024
const partsAtOnce = 2
const listPagesMax = 20

export async function s3Target(schedule: Schedule, target: S3Target): Promise<SnapshotTarget> {
  const { S3Client: Client } = await import('@aws-sdk/client-s3')
  const { credentials, endpoint } = target
  const config: S3ClientConfig = {
    region: target.region,
    forcePathStyle: target.forcePathStyle,
    maxAttempts: attemptsMax,
    requestHandler: { connectionTimeout: connectMsMax, requestTimeout: answerMsMax, throwOnRequestTimeout: true },
    ...(endpoint === null ? {} : { endpoint }),
    ...(credentials === null
      ? {}
      : {
          credentials: {
            accessKeyId: credentials.accessKeyId,
            secretAccessKey: credentials.secretAccessKey,
            ...(credentials.sessionToken === null ? {} : { sessionToken: credentials.sessionToken }),
          },
        }),
  }
  return new Bucket(new Client(config), schedule, target)
}

class Bucket implements SnapshotTarget {
  readonly #client: S3Client
  readonly #schedule: Schedule
  readonly #target: S3Target
  /** What keys begin with; '' or ends with a slash. */
  readonly #folder: string

  constructor(client: S3Client, schedule: Schedule, target: S3Target) {
    this.#client = client
    this.#schedule = schedule
    this.#target = target
    const prefix = schedule.pathPrefix.replaceAll(/^\/+|\/+$/g, '')
    this.#folder = prefix === '' ? '' : `${prefix}/`
  }

  async store(name: string, chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<{ url: string; bytes: number }> {
    const { Upload } = await import('@aws-sdk/lib-storage')
    const { bucket, kmsKey } = this.#target
    let bytes = 0
    let sourceFailure: unknown = null
    const counted = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
      try {
        for await (const chunk of chunks) {
          signal.throwIfAborted()
          bytes += chunk.length
          yield chunk
        }
      } catch (error) {
        sourceFailure = error
        throw error
      }
    }
    const body = Readable.from(counted(), { objectMode: false })
    const upload = new Upload({
      client: this.#client,
      params: {
        Bucket: bucket,
        Key: `${this.#folder}${name}`,
        Body: body,
        ContentType: 'application/octet-stream',
        ...(kmsKey === null ? {} : { ServerSideEncryption: 'aws:kms', ...(kmsKey === '' ? {} : { SSEKMSKeyId: kmsKey }) }),
      },
      partSize: partBytes,
      queueSize: partsAtOnce,
      leavePartsOnError: false,
    })
    const onAbort = (): void => void upload.abort().catch(() => {}) // `done` tells.
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      await this.#ask(() => upload.done())
    } catch (error) {
      // What the bucket says of a body that broke off, or was taken back, is not what is wrong.
      throw sourceFailure ?? (signal.aborted ? signal.reason : error)
    } finally {
      signal.removeEventListener('abort', onAbort)
      // What is behind it must be let go, however the upload ended.
      body.destroy()
    }
    return { url: `s3://${bucket}/${this.#folder}${name}`, bytes }
  }

  async list(signal: AbortSignal): Promise<readonly string[]> {
    const { ListObjectsV2Command: List } = await import('@aws-sdk/client-s3')
    const names: string[] = []
    let next: string | undefined
    for (let page = 0; page < listPagesMax; page++) {
      const command = new List({
        Bucket: this.#target.bucket,
        Prefix: `${this.#folder}${this.#schedule.filePrefix}-`,
        ...(next === undefined ? {} : { ContinuationToken: next }),
      })
      const answer = await this.#ask(() => this.#client.send(command, { abortSignal: signal }))
      for (const { Key: key } of answer.Contents ?? []) {
        const name = key?.slice(this.#folder.length) ?? ''
        if (isFileOf(this.#schedule, name)) names.push(name)
      }
      next = answer.NextContinuationToken
      if (next === undefined) break
    }
    return names
  }

  async remove(name: string, signal: AbortSignal): Promise<void> {
    const { DeleteObjectCommand: Delete } = await import('@aws-sdk/client-s3')
    const command = new Delete({ Bucket: this.#target.bucket, Key: `${this.#folder}${name}` })
    await this.#ask(() => this.#client.send(command, { abortSignal: signal }))
  }

  close(): void {
    this.#client.destroy()
  }

  async #ask<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw s3Failure(error, this.#target)
    }
  }
}

const hints: Readonly<Record<string, string>> = {
  NoSuchBucket: 'make the bucket, or mend aws_s3_bucket',
  AccessDenied: 'the credentials need s3:PutObject, s3:AbortMultipartUpload, s3:ListBucket and s3:DeleteObject there',
  InvalidAccessKeyId: 'mend aws_access_key_id',
  SignatureDoesNotMatch: 'mend aws_secret_access_key',
  CredentialsProviderError:
    'give credentials in the schedule, or to every node: environment, profile, web identity, container or instance role',
  PermanentRedirect: 'mend aws_s3_region',
}

/** Only names and codes of what the AWS client throws: its sentences may hold account numbers and names of principals. */
function s3Failure(error: unknown, { bucket, region }: S3Target): HoldfastError {
  if (isHoldfastError(error)) return error
  const {
    name = 'unknown',
    code,
    $metadata,
  } = (error ?? {}) as {
    name?: string
    code?: unknown
    $metadata?: { httpStatusCode?: number }
  }
  const status = $metadata?.httpStatusCode
  const word = typeof code === 'string' && /^E[A-Z]{2,}$/.test(code) ? code : /^[A-Za-z]{1,64}$/.test(name) ? name : 'an error'
  const got = status === undefined || status < 300 ? word : `${word} (status ${status})`
  return new HoldfastError('ERR_SNAPSHOT_TARGET', `bucket ${bucket} in ${region} expected to take the snapshot, got ${got}`, {
    ...(hints[name] === undefined ? {} : { hint: hints[name] }),
    cause: error,
  })
}
