import { describe, expect, test } from 'vitest'
import { decodeRootToken } from '#engines/sys/root-token.ts'
import { hex, pgpHolder, shareCluster, staticSeal } from '#test/support/share-cluster.ts'

const neither = { otp: '', pgpKey: '' }
const bad = (message: string | RegExp): object => ({
  code: 'ERR_BAD_REQUEST',
  message: typeof message === 'string' ? message : (expect.stringMatching(message) as string),
})

test('under a pad that is made here, told once: XOR, then base64 without padding', async () => {
  const { rootGeneration, keys, tokens } = await shareCluster(1)
  expect(await rootGeneration.status()).toMatchObject({ started: false, nonce: '', required: 2, otp: '' })
  const begun = await rootGeneration.init(neither)
  expect(begun).toMatchObject({ started: true, progress: 0, otp: expect.stringMatching(/^[0-9A-Za-z]{26}$/) as string })
  expect((await rootGeneration.status()).otp).toBe('')
  expect(await rootGeneration.update(begun.nonce, keys[0]!)).toMatchObject({ progress: 1, encodedToken: '' })
  const ended = await rootGeneration.update(begun.nonce, keys[2]!)
  expect(ended).toMatchObject({ progress: 2, required: 2, nonce: begun.nonce })
  // 26 bytes are 35 characters of base64, and one of padding that the peers leave away.
  expect(ended.encodedToken).toMatch(/^[A-Za-z0-9+/]{35}$/)
  expect([decodeRootToken(ended.encodedToken, begun.otp)]).toEqual(tokens)
  expect(tokens).toHaveLength(1)
  expect((await rootGeneration.status()).started).toBe(false)
})

test('under the pad of whoever begins, which must be as long as a token', async () => {
  const { rootGeneration, keys, tokens } = await shareCluster(1)
  await expect(rootGeneration.init({ otp: 'short', pgpKey: '' })).rejects.toMatchObject(
    bad(/^OTP string is wrong length: expected 26 bytes, got 5$/),
  )
  const otp = 'abcdefghijklmnopqrstuvwxyz'
  const begun = await rootGeneration.init({ otp, pgpKey: '' })
  expect(begun.otp).toBe('')
  await expect(rootGeneration.init(neither)).rejects.toMatchObject(bad('root generation already in progress'))
  await rootGeneration.update(begun.nonce, keys[0]!)
  const { encodedToken } = await rootGeneration.update(begun.nonce, keys[1]!)
  expect(decodeRootToken(encodedToken, otp)).toBe(tokens[0])
})

test('for a PGP key: only its holder reads it', async () => {
  const holder = await pgpHolder('root')
  const { rootGeneration, keys, tokens } = await shareCluster(1)
  await expect(rootGeneration.init({ otp: 'x'.repeat(26), pgpKey: holder.base64 })).rejects.toMatchObject(bad(/got both/))
  const { nonce, pgpFingerprint, otp } = await rootGeneration.init({ otp: '', pgpKey: holder.base64 })
  expect([pgpFingerprint, otp]).toEqual([holder.fingerprint, ''])
  await rootGeneration.update(nonce, keys[0]!)
  const { encodedToken } = await rootGeneration.update(nonce, keys[1]!)
  expect([await holder.open(Buffer.from(encodedToken, 'base64'))]).toEqual(tokens)
})

test('a wrong share, a wrong nonce and a repeated share change nothing; cancelling forgets', async () => {
  const { rootGeneration, keys, tokens } = await shareCluster(1)
  await expect(rootGeneration.update('n', keys[0]!)).rejects.toMatchObject(bad('no root generation in progress'))
  const { nonce } = await rootGeneration.init(neither)
  await expect(rootGeneration.update('', keys[0]!)).rejects.toMatchObject(bad(/'nonce' must be specified/))
  await expect(rootGeneration.update('another', keys[0]!)).rejects.toMatchObject(bad('incorrect nonce supplied'))
  await expect(rootGeneration.update(nonce, 'ab'.repeat(33))).rejects.toMatchObject({ code: 'ERR_BAD_SHARE' })
  await rootGeneration.update(nonce, keys[0]!)
  await expect(rootGeneration.update(nonce, keys[0]!)).rejects.toMatchObject(bad(/already been provided/))
  await expect(rootGeneration.cancel('another')).rejects.toMatchObject(bad('incorrect nonce supplied'))
  await rootGeneration.cancel(nonce)
  await expect(rootGeneration.update(nonce, keys[1]!)).rejects.toMatchObject(bad('no root generation in progress'))
  expect(tokens).toEqual([])
})

describe('what ends it', () => {
  test('another leader', async () => {
    const { at, fake, keys, settle } = await shareCluster(2)
    const { nonce } = await at(0).rootGeneration.init(neither)
    await at(0).rootGeneration.update(nonce, keys[0]!)
    fake.elect('node-2')
    await settle()
    await expect(at(1).rootGeneration.update(nonce, keys[1]!)).rejects.toMatchObject({
      ...bad('no root generation in progress'),
      hint: expect.stringContaining('ends with its leadership') as string,
    })
    await expect(at(0).rootGeneration.status()).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
  })

  test('a rekey in between: the shares of before speak for nobody', async () => {
    const { rootGeneration, rekey, keys, tokens } = await shareCluster(1)
    const { nonce } = await rootGeneration.init(neither)
    await rootGeneration.update(nonce, keys[0]!)
    const other = await rekey.init('root', { shares: 1, threshold: 1, pgpKeys: [], backup: false, requireVerification: false })
    for (const key of keys.slice(0, 2)) await rekey.update('root', other.nonce, key)
    await expect(rootGeneration.update(nonce, keys[1]!)).rejects.toMatchObject(bad(/got a change of them/))
    expect([tokens.length, (await rootGeneration.status()).started]).toEqual([0, false])
  })
})

test('with an auto seal the recovery keys decide', async () => {
  const { rootGeneration, keys, tokens } = await shareCluster(1, { autoSeal: staticSeal() })
  const { nonce, otp } = await rootGeneration.init(neither)
  await rootGeneration.update(nonce, keys[1]!)
  const { encodedToken } = await rootGeneration.update(nonce, Buffer.from(keys[2]!, 'hex').toString('base64'))
  expect(decodeRootToken(encodedToken, otp)).toBe(tokens[0])
  const none = await shareCluster(1, { autoSeal: staticSeal(), init: { recoveryShares: 0, recoveryThreshold: 0 } })
  await expect(none.rootGeneration.init(neither)).rejects.toMatchObject(bad(/made without/))
})

test('a token under another pad, or none at all, does not decode', () => {
  expect(() => decodeRootToken('AAAA', 'four')).toThrow(/otp expected the 3 bytes of the encoded token, got 4/)
  for (const encoded of ['', 'not base64!', 'A'.repeat(600)]) expect(() => decodeRootToken(encoded, 'x')).toThrow(/expected base64/)
  expect(hex(Buffer.from(decodeRootToken('AAA=', 'xy')))).toBe(hex(Buffer.from('xy')))
})
