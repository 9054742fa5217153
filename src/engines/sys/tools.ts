/** Random bytes and hashes as a service. */
import { createHash } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { answer, field, inPath, optional, path, reads, text } from './table.ts'

const randomBytesDefault = 32
const randomBytesMax = 128 * 1024

const algorithms: Readonly<Record<string, string>> = {
  'sha2-224': 'sha224',
  'sha2-256': 'sha256',
  'sha2-384': 'sha384',
  'sha2-512': 'sha512',
  'sha3-224': 'sha3-224',
  'sha3-256': 'sha3-256',
  'sha3-384': 'sha3-384',
  'sha3-512': 'sha3-512',
}

export function toolPaths(): PathDef[] {
  const randomOperation = { update: reads('Random bytes', random) }
  const format = field('string', 'How the answer is written.', { enum: ['base64', 'hex'] })
  const randomFields = {
    bytes: field('int', 'How many.'),
    urlbytes: inPath('How many, or a source.', '16'),
    source: inPath("'platform' or 'all'.", 'platform'),
    format,
  }
  const hashFields = {
    algorithm: field('string', 'Such as sha2-256.'),
    urlalgorithm: inPath('Such as sha2-256.', 'sha2-512'),
    input: field('string', 'Base64.', { required: true, sensitive: true, example: 'aGVsbG8=' }),
    format,
  }
  const hashOperation = { update: reads('Hash', hash) }
  return [
    path('tools/random', 'Random bytes.', { fields: randomFields }, randomOperation),
    path('tools/random/:urlbytes', 'Random bytes.', { fields: randomFields }, randomOperation),
    path('tools/random/:source/:urlbytes', 'Random bytes.', { fields: randomFields }, randomOperation),
    path('tools/hash', 'Hash of the input.', { fields: hashFields }, hashOperation),
    path('tools/hash/:urlalgorithm', 'Hash of the input.', { fields: hashFields }, hashOperation),
  ]
}

function encoded(context: HandlerContext, bytes: Uint8Array, otherwise: 'base64' | 'hex'): string {
  return Buffer.from(bytes).toString((text(context, 'format') || otherwise) as 'base64' | 'hex')
}

const sources = new Set(['platform', 'seal', 'all'])

async function random(context: HandlerContext): Promise<LogicalResponse> {
  const inUrl = text(context, 'urlbytes')
  const asked = inUrl !== '' && !sources.has(inUrl) ? Number(inUrl) : (optional<number>(context, 'bytes') ?? randomBytesDefault)
  if (!Number.isInteger(asked) || asked < 1 || asked > randomBytesMax) {
    throw new HoldfastError('ERR_BAD_REQUEST', `bytes expected 1 to ${randomBytesMax}, got something else`)
  }
  const source = text(context, 'source')
  if (source !== '' && !sources.has(source)) throw new HoldfastError('ERR_BAD_REQUEST', 'source expected platform, seal or all')
  return answer({ random_bytes: encoded(context, context.random.bytes(asked), 'base64') })
}

async function hash(context: HandlerContext): Promise<LogicalResponse> {
  const name = text(context, 'urlalgorithm') || text(context, 'algorithm') || 'sha2-256'
  const algorithm = Object.hasOwn(algorithms, name) ? algorithms[name]! : null
  if (algorithm === null) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'unsupported algorithm', { hint: `expected one of ${Object.keys(algorithms).join(', ')}` })
  }
  const input = text(context, 'input')
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(input) || input.length % 4 !== 0) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'input expected base64, got something else')
  }
  const sum = createHash(algorithm).update(Buffer.from(input, 'base64')).digest()
  return answer({ sum: encoded(context, sum, 'hex') })
}
