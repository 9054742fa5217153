/**
 * How an API key looks: `hfk_` ID `_` SECRET CHECK, letters and digits only.
 *
 * The prefix and the check make a key findable where it should not be (in a repository, a log): a scanner that knows both has no false alarms. The
 * check (CRC-32) also tells a key that was cut off or mistyped before anything is looked up; it guards nothing.
 */
import { crc32 } from 'node:zlib'
import type { RandomSource } from '#base/random.ts'

const prefix = 'hfk_'
const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const idChars = 12
/** 43 of 62: 256 bits. */
const secretChars = 43
const checkChars = 6
const pattern = new RegExp(`^${prefix}([0-9A-Za-z]{${idChars}})_([0-9A-Za-z]{${secretChars}})([0-9A-Za-z]{${checkChars}})$`)

export interface ApiKeyParts {
  readonly id: string
  readonly secret: string
}

/** Bytes of 248 and above would make the first letters likelier than the others: they are thrown away. */
function letters(random: RandomSource, count: number): string {
  let text = ''
  while (text.length < count) for (const byte of random.bytes(count)) if (byte < 248 && text.length < count) text += digits[byte % 62]!
  return text
}

export const newId = (random: RandomSource): string => letters(random, idChars)
export const newSecret = (random: RandomSource): string => letters(random, secretChars)

function checkOf(text: string): string {
  let value = crc32(text)
  let check = ''
  for (let at = 0; at < checkChars; at += 1) {
    check = digits[value % 62]! + check
    value = Math.floor(value / 62)
  }
  return check
}

export const printKey = ({ id, secret }: ApiKeyParts): string => {
  const body = `${prefix}${id}_${secret}`
  return body + checkOf(body)
}

/** null: it is none, or was changed on its way. */
export function parseKey(text: string): ApiKeyParts | null {
  const [, id, secret, check] = pattern.exec(text) ?? []
  if (id === undefined || secret === undefined) return null
  return checkOf(`${prefix}${id}_${secret}`) === check ? { id, secret } : null
}
