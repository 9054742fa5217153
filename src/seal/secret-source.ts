/** Secrets of a seal's configuration: a file, an environment variable, or the text itself. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { HoldfastError } from '#base/errors.ts'

export type Environment = Readonly<Record<string, string | undefined>>

const secretBytesMax = 64 * 1024

/** The bytes that `source` names: `file:///PATH` (read now), `env://NAME`, or the text itself. The caller owns them. @throws ERR_CONFIG naming `key`. */
export function readSecretBytes(key: string, source: string, env: Environment): Uint8Array {
  if (source.startsWith('file://')) return readFile(key, source)
  if (!source.startsWith('env://')) return new Uint8Array(Buffer.from(source))
  const name = source.slice('env://'.length)
  const value = env[name]
  if (value === undefined || value === '') throw wrong(key, 'a variable that is set', `${name}, which is not`)
  return new Uint8Array(Buffer.from(value))
}

/** The same as text, without the line end that editors add. */
export function readSecretText(key: string, source: string, env: Environment): string {
  return Buffer.from(readSecretBytes(key, source, env))
    .toString('utf8')
    .trim()
}

function readFile(key: string, source: string): Uint8Array {
  let path = source.slice('file://'.length)
  try {
    if (path.startsWith('/')) path = fileURLToPath(source)
    const bytes = readFileSync(path)
    if (bytes.length <= secretBytesMax) return new Uint8Array(bytes)
  } catch (error) {
    throw wrong(key, 'a readable file', `${(error as NodeJS.ErrnoException).code ?? 'an error'} for ${path}`)
  }
  throw wrong(key, `a file of at most ${secretBytesMax} bytes`, 'more')
}

/** A key of `length` bytes, as they are or as hex or base64. The caller owns it. @throws ERR_CONFIG. */
export function readKeyBytes(key: string, source: string, length: number, env: Environment): Uint8Array {
  const bytes = readSecretBytes(key, source, env)
  if (bytes.length === length) return bytes
  const text = Buffer.from(bytes).toString('latin1').trim()
  bytes.fill(0)
  const encoding = /^[0-9a-fA-F]+$/.test(text) && text.length === 2 * length ? 'hex' : 'base64'
  const pooled = Buffer.from(text, encoding)
  const decoded = new Uint8Array(pooled)
  pooled.fill(0)
  if (decoded.length === length) return decoded
  decoded.fill(0)
  throw wrong(key, `${length} bytes, as they are, in hex or in base64`, 'something else', 'make one with: openssl rand -out seal.key 32')
}

function wrong(key: string, expected: string, got: string, hint?: string): HoldfastError {
  return new HoldfastError('ERR_CONFIG', `${key} expected ${expected}, got ${got}`, hint === undefined ? {} : { hint })
}
