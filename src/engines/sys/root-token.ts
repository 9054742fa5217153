import { HoldfastError } from '#base/errors.ts'

const encodedMax = 512

/** `encoded` (base64, with or without padding) XOR `otp`. @throws ERR_BAD_REQUEST. */
export function decodeRootToken(encoded: string, otp: string): string {
  const bytes = /^[A-Za-z0-9+/]+={0,2}$/.test(encoded) && encoded.length <= encodedMax ? Buffer.from(encoded, 'base64') : null
  const pad = Buffer.from(otp)
  if (bytes === null)
    throw new HoldfastError('ERR_BAD_REQUEST', 'encoded_token expected base64, got something else', { hint: 'paste it as it was printed' })
  if (bytes.length !== pad.length)
    throw new HoldfastError('ERR_BAD_REQUEST', `otp expected the ${bytes.length} bytes of the encoded token, got ${pad.length}`, {
      hint: 'is it the pad of this attempt?',
    })
  return Buffer.from(bytes.map((byte, at) => byte ^ pad[at]!)).toString()
}
