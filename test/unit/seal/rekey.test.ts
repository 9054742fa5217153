/** Rekeys: what holds before, in the middle and after; and that nothing is lost when the leader is. */
import { describe, expect, test } from 'vitest'
import { bareNames } from '#barrier/bare.ts'
import { HoldfastError } from '#base/errors.ts'
import { parseSealConfig } from '#seal/config.ts'
import type { RekeyRequest, RekeyResult, RekeyService, RekeyTarget } from '#seal/rekey-types.ts'
import { hex, pgpHolder, shareCluster, staticSeal } from '#test/support/share-cluster.ts'

const asked: RekeyRequest = { shares: 5, threshold: 3, pgpKeys: [], backup: false, requireVerification: false }
const bad = (message: string | RegExp): object => ({
  code: 'ERR_BAD_REQUEST',
  message: typeof message === 'string' ? message : (expect.stringMatching(message) as string),
})

/** Begins, and gives `shares`: the result of the last one. */
async function rekeyed(rekey: RekeyService, shares: readonly string[], request: Partial<RekeyRequest> = {}, target: RekeyTarget = 'root') {
  const { nonce } = await rekey.init(target, { ...asked, ...request })
  let last: unknown
  for (const share of shares) last = await rekey.update(target, nonce, share)
  return last as RekeyResult
}

test('new shares for old: the old ones are refused by name, every open node goes on, the new ones open', async () => {
  const { at, made, keys, rekey, settle, value, open, barrier } = await shareCluster(3)
  const before = barrier.readBare(bareNames.rootKey)
  const status = await rekey.init('root', asked)
  expect(status).toMatchObject({ started: true, threshold: 3, shares: 5, progress: 0, required: 2, pgpFingerprints: null })
  expect(await rekey.update('root', status.nonce, keys[0]!)).toMatchObject({ progress: 1, nonce: status.nonce })
  const result = (await rekey.update('root', status.nonce, keys[2]!)) as RekeyResult
  expect([result.keys.length, result.verificationRequired, result.nonce, result.warnings]).toEqual([5, false, status.nonce, []])
  expect(await rekey.status('root')).toMatchObject({ started: false, nonce: '', required: 3 })
  await settle()
  expect(barrier.readBare(bareNames.rootKey)).not.toEqual(before)
  for (const node of made) {
    expect(node.barrier.sealed).toBe(false)
    expect(await value(node)).toBe('kept')
  }
  for (const node of made) node.seal.seal()
  await expect(at(1).seal.unseal({ key: keys[0]!, reset: false })).rejects.toMatchObject({
    code: 'ERR_BAD_SHARE',
    message: expect.stringMatching(/this share was replaced by a rekey at \d{4}-/) as string,
  })
  for (const node of made) expect(await open(node, result.keys.slice(1, 4).map(hex))).toBe(true)
  expect(await value(at(2))).toBe('kept')
  // Rotation and another rekey stand on the new root key.
  await barrier.rotate()
  const again = await rekeyed(rekey, result.keys.slice(0, 3).map(hex), { shares: 1, threshold: 1 })
  await settle()
  for (const node of made) expect([node.barrier.sealed, await value(node)]).toEqual([false, 'kept'])
  const { retired } = parseSealConfig(barrier.readBare(bareNames.sealConfig)!)
  expect(retired?.map(({ hashes }) => hashes.length)).toEqual([5, 3])
  at(1).seal.seal()
  await expect(at(1).seal.unseal({ key: hex(result.keys[0]), reset: false })).rejects.toThrow(/replaced by a rekey/)
  expect(await open(at(1), again.keys.map(hex))).toBe(true)
})

test('with verification the old shares hold until enough new ones were given back', async () => {
  const { at, keys, rekey, settle, open } = await shareCluster(2)
  const result = await rekeyed(rekey, keys.slice(0, 2), { requireVerification: true, shares: 3, threshold: 2 })
  expect(result).toMatchObject({ verificationRequired: true })
  expect(result.verificationNonce).not.toBe('')
  expect(await rekey.status('root')).toMatchObject({
    started: true,
    verificationRequired: true,
    verificationNonce: result.verificationNonce,
  })
  at(1).seal.seal()
  expect(await open(at(1))).toBe(true)
  await expect(rekey.update('root', result.nonce, keys[0]!)).rejects.toMatchObject(bad(/handed out already/))
  await expect(rekey.verify('root', result.nonce, hex(result.keys[0]))).rejects.toMatchObject(bad('incorrect nonce supplied'))
  await expect(rekey.verify('root', result.verificationNonce, keys[0]!)).rejects.toMatchObject({ code: 'ERR_BAD_SHARE' })
  expect(await rekey.verify('root', result.verificationNonce, hex(result.keys[0]))).toMatchObject({
    status: { progress: 1, threshold: 2, shares: 3 },
  })
  const restarted = await rekey.restartVerification('root', null)
  expect(restarted).toMatchObject({ progress: 0, started: true })
  expect(restarted.nonce).not.toBe(result.verificationNonce)
  expect(await rekey.verificationStatus('root')).toEqual(restarted)
  await rekey.verify('root', restarted.nonce, hex(result.keys[1]))
  expect(await rekey.verify('root', restarted.nonce, hex(result.keys[2]))).toEqual({ nonce: restarted.nonce, status: null })
  expect((await rekey.status('root')).started).toBe(false)
  await settle()
  at(1).seal.seal()
  await expect(open(at(1))).rejects.toThrow(/replaced by a rekey/)
  expect(await open(at(1), result.keys.slice(0, 2).map(hex))).toBe(true)
})

test('cancelled, also in the middle of verification, the old shares hold and the new ones are strangers', async () => {
  const { seal, barrier, keys, rekey, open } = await shareCluster(1)
  const { nonce } = await rekey.init('root', asked)
  await expect(rekey.cancel('root', 'another')).rejects.toMatchObject(bad('incorrect nonce supplied'))
  await rekey.cancel('root', nonce)
  await rekey.cancel('root', null)
  await expect(rekey.update('root', nonce, keys[0]!)).rejects.toMatchObject(bad('no rekey in progress'))
  const result = await rekeyed(rekey, keys.slice(0, 2), { requireVerification: true })
  await rekey.cancel('root', null)
  await expect(rekey.verify('root', result.verificationNonce, hex(result.keys[0]))).rejects.toMatchObject(bad('no rekey in progress'))
  await expect(rekey.verificationStatus('root')).rejects.toMatchObject(bad('no rekey in progress'))
  seal.seal()
  await expect(seal.unseal({ key: hex(result.keys[0]), reset: false })).rejects.toThrow(/not one of this cluster's/)
  expect([await open({ seal, barrier } as never), barrier.sealed]).toEqual([true, false])
})

test('what can’t be is refused before anything begins, and a wrong share does not spoil the right ones', async () => {
  const { keys, rekey } = await shareCluster(1)
  for (const [request, message] of [
    [{ shares: 3, threshold: 4 }, /threshold cannot be larger than shares/],
    [{ shares: 256, threshold: 3 }, /shares must be less than 256/],
    [{ shares: 3, threshold: 1 }, /threshold must be greater than one/],
    [{ backup: true }, 'cannot request a backup of the new keys without providing PGP keys for encryption'],
    [{ pgpKeys: ['x'] }, 'incorrect number of PGP keys for rekey'],
    [{ shares: 2, threshold: 2, pgpKeys: ['x!', 'y'] }, /^pgp_keys\[0\] expected a PGP public key in base64 or armored, got neither/],
  ] as const)
    await expect(rekey.init('root', { ...asked, ...request })).rejects.toMatchObject(bad(message))
  await expect(rekey.init('recovery', asked)).rejects.toMatchObject(bad('recovery rekeying not supported'))
  await expect(rekey.status('recovery')).rejects.toMatchObject(bad('recovery rekeying not supported'))
  await expect(rekey.rotateRoot()).rejects.toMatchObject(bad(/expected an auto seal, got shares/))
  await expect(rekey.update('root', 'n', keys[0]!)).rejects.toMatchObject(bad('no rekey in progress'))
  const { nonce } = await rekey.init('root', { ...asked, shares: 1, threshold: 1 })
  await expect(rekey.init('root', asked)).rejects.toMatchObject(bad('rekey already in progress'))
  await rekey.update('root', nonce, keys[0]!)
  await expect(rekey.update('root', nonce, '00'.repeat(33))).rejects.toMatchObject({ code: 'ERR_BAD_SHARE' })
  await expect(rekey.update('root', nonce, keys[0]!)).rejects.toMatchObject(bad(/already been provided/))
  await expect(rekey.verify('root', nonce, keys[0]!)).rejects.toMatchObject(bad('no rekey verification in progress'))
  await expect(rekey.restartVerification('root', null)).rejects.toMatchObject(bad('no rekey verification in progress'))
  expect(await rekey.update('root', nonce, keys[1]!)).toMatchObject({ keys: [expect.any(Uint8Array)] })
})

test('shares for PGP holders, kept as a backup until it is deleted', async () => {
  const [one, two] = [await pgpHolder('one'), await pgpHolder('two')]
  const { seal, barrier, keys, rekey, open } = await shareCluster(1)
  expect(rekey.backup('root')).toBeNull()
  const request = { shares: 3, threshold: 2, pgpKeys: [one.base64, two.armored, one.base64], backup: true }
  const result = await rekeyed(rekey, keys.slice(0, 2), request)
  expect(result.pgpFingerprints).toEqual([one.fingerprint, two.fingerprint, one.fingerprint])
  const shares = [await one.open(result.keys[0]!), await two.open(result.keys[1]!), await one.open(result.keys[2]!)]
  expect(shares).toEqual(shares.map(() => expect.stringMatching(/^[0-9a-f]{66}$/) as string))
  expect(rekey.backup('root')).toEqual({
    nonce: result.nonce,
    keys: { [one.fingerprint]: [hex(result.keys[0]), hex(result.keys[2])], [two.fingerprint]: [hex(result.keys[1])] },
  })
  expect(Buffer.from(barrier.readBare(bareNames.unsealKeysBackup)!).toString('latin1')).not.toContain(one.fingerprint)
  await rekey.deleteBackup('root')
  expect(rekey.backup('root')).toBeNull()
  seal.seal()
  await expect(one.open(result.keys[1]!)).rejects.toThrow()
  expect(await open({ seal, barrier } as never, shares.slice(1))).toBe(true)
})

describe('the leader in the middle', () => {
  test('an attempt ends with leadership, and with a seal; who asks is told why', async () => {
    const { at, fake, keys, settle, open } = await shareCluster(2)
    const { nonce } = await at(0).rekey.init('root', asked)
    await at(0).rekey.update('root', nonce, keys[0]!)
    await expect(at(1).rekey.status('root')).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
    fake.elect('node-2')
    await settle()
    await expect(at(0).rekey.update('root', nonce, keys[1]!)).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })
    await expect(at(1).rekey.update('root', nonce, keys[1]!)).rejects.toMatchObject({
      ...bad('no rekey in progress'),
      hint: expect.stringContaining("leader's memory") as string,
    })
    fake.elect('node-1')
    await settle()
    expect((await at(0).rekey.status('root')).started).toBe(false)
    await at(0).rekey.init('root', asked)
    at(0).seal.seal()
    await expect(at(0).rekey.status('root')).rejects.toMatchObject({ code: 'ERR_SEALED' })
    expect(await open(at(0))).toBe(true)
    expect((await at(0).rekey.status('root')).started).toBe(false)
  })

  test('leadership that is lost and won again while PGP keys are read leaves no attempt behind', async () => {
    const holder = await pgpHolder('slow')
    const { at, fake, settle } = await shareCluster(2)
    const moved = async (): Promise<void> => {
      fake.elect('node-2')
      fake.elect('node-1')
      await settle()
    }
    const begun = at(0).rekey.init('root', { ...asked, shares: 1, threshold: 1, pgpKeys: [holder.base64] })
    const generation = at(0).rootGeneration.init({ otp: '', pgpKey: holder.base64 })
    const ends = Promise.all([begun, generation].map((each) => expect(each).rejects.toMatchObject({ code: 'ERR_NOT_LEADER' })))
    await Promise.resolve()
    await moved()
    await ends
    expect([(await at(0).rekey.status('root')).started, (await at(0).rootGeneration.status()).started]).toEqual([false, false])
  })

  test('a change that fails leaves the old shares; so does a change of the seal in between', async () => {
    const { at, fake, keys, rekey, barrier, open } = await shareCluster(1)
    fake.node(0).failNextPropose = new HoldfastError('ERR_BUSY', 'planted')
    await expect(rekeyed(rekey, keys.slice(0, 2))).rejects.toMatchObject({ code: 'ERR_BUSY' })
    expect((await rekey.status('root')).started).toBe(false)
    const { nonce } = await rekey.init('root', asked)
    await rekey.update('root', nonce, keys[0]!)
    await barrier.writeBare({ [bareNames.rootKey]: new Uint8Array(61).fill(9) })
    await expect(rekey.update('root', nonce, keys[1]!)).rejects.toMatchObject({ code: 'ERR_CONFLICT' })
    expect(parseSealConfig(barrier.readBare(bareNames.sealConfig)!).retired).toBeUndefined()
    expect([await open(at(0)), barrier.sealed]).toEqual([true, false])
  })

  test('a rotation of the keyring that slips in is kept', async () => {
    const { made, fake, keys, rekey, barrier, settle, value, open } = await shareCluster(2)
    let once = true
    fake.node(0).beforePropose = async () => {
      if (!once) return
      once = false
      await barrier.rotate()
    }
    const result = await rekeyed(rekey, keys.slice(0, 2))
    await settle()
    for (const node of made) {
      expect([node.barrier.status().keyringTerm, await value(node)]).toEqual([2, 'kept'])
      node.seal.seal()
      expect([await open(node, result.keys.slice(0, 3).map(hex)), await value(node)]).toEqual([true, 'kept'])
    }
  })

  test.each([true, false])('where the outcome is unknown at first it is found out from the next leader (done: %s)', async (done) => {
    const { at, fake, keys, rekey, settle, open } = await shareCluster(2)
    const { nonce } = await rekey.init('root', { ...asked, shares: 3, threshold: 2 })
    await rekey.update('root', nonce, keys[0]!)
    fake.node(0).beforePropose = (proposal) => {
      fake.node(0).beforePropose = null
      fake.node(0).failNextPropose = new HoldfastError('ERR_OUTCOME_UNKNOWN', 'planted')
      if (done)
        fake.append(
          proposal.sections.flatMap(({ ops }) => ops),
          proposal.timeMs,
        )
      fake.elect('node-2')
    }
    const last = rekey.update('root', nonce, keys[1]!)
    if (!done)
      await expect(last).rejects.toMatchObject({ code: 'ERR_NOT_LEADER', hint: expect.stringContaining('nothing was changed') as string })
    const shares = done ? ((await last) as RekeyResult).keys.map(hex) : keys
    await settle()
    at(1).seal.seal()
    expect(await open(at(1), shares.slice(0, 2))).toBe(true)
  })
})

test('shares given to a sealed node before a rekey are forgotten, not combined with the new ones', async () => {
  const { at, keys, rekey, settle, open } = await shareCluster(2)
  at(1).seal.seal()
  await at(1).seal.unseal({ key: keys[0]!, reset: false })
  const result = await rekeyed(rekey, keys.slice(0, 2), { shares: 3, threshold: 2 })
  await settle()
  expect(await at(1).seal.unseal({ key: hex(result.keys[0]), reset: false })).toMatchObject({ progress: 1, sealed: true })
  expect(await open(at(1), [hex(result.keys[1])])).toBe(true)
})

describe('with an auto seal', () => {
  test('recovery keys are rekeyed: the seal opens as before, the old ones are refused', async () => {
    const { at, keys, made, rekey, settle, value } = await shareCluster(2, { autoSeal: staticSeal() })
    const result = await rekeyed(rekey, keys.slice(0, 2), { shares: 5, threshold: 3 }, 'recovery')
    expect(result.keys).toHaveLength(5)
    await settle()
    await expect(rekeyed(rekey, keys.slice(0, 1), {}, 'recovery')).rejects.toThrow(/replaced by a rekey/)
    await rekey.cancel('recovery', null)
    const again = await rekeyed(rekey, result.keys.slice(0, 3).map(hex), { shares: 3, threshold: 2, requireVerification: true }, 'recovery')
    await rekey.verify('recovery', again.verificationNonce, hex(again.keys[0]))
    expect(await rekey.verify('recovery', again.verificationNonce, hex(again.keys[2]))).toMatchObject({ status: null })
    for (const node of made) {
      node.barrier.seal()
      expect(await node.seal.autoUnseal()).toBe(true)
      expect(await value(node)).toBe('kept')
    }
    at(1).seal.seal()
    await at(1).seal.unseal({ key: hex(again.keys[0]), reset: false })
    expect(await at(1).seal.unseal({ key: hex(again.keys[1]), reset: false })).toMatchObject({ sealed: false })
  })

  test('the root key is replaced by holders or by itself, and hands out no shares', async () => {
    const { keys, made, rekey, settle, value, barrier } = await shareCluster(2, { autoSeal: staticSeal() })
    await expect(rekey.init('root', { ...asked, shares: 3, threshold: 2 })).rejects.toMatchObject(
      bad(/expected one share and nothing else/),
    )
    const first = barrier.readBare(bareNames.rootKey)
    expect((await rekeyed(rekey, keys.slice(0, 2), { shares: 1, threshold: 1 })).keys).toEqual([])
    const second = barrier.readBare(bareNames.rootKey)
    await rekey.rotateRoot()
    expect(new Set([first, second, barrier.readBare(bareNames.rootKey)].map((each) => hex(each!))).size).toBe(3)
    await settle()
    for (const node of made) {
      expect([node.barrier.sealed, await value(node)]).toEqual([false, 'kept'])
      node.barrier.seal()
      expect([await node.seal.autoUnseal(), await value(node)]).toEqual([true, 'kept'])
    }
  })

  test('recovery keys that somebody wrote onto the disk speak for nobody', async () => {
    const { rekey, rootGeneration, barrier, fake, tokens } = await shareCluster(1, { autoSeal: staticSeal() })
    const thief = await shareCluster(1, { autoSeal: staticSeal() })
    const key = Buffer.concat([Buffer.from([0x40]), Buffer.from(bareNames.sealConfig)])
    fake.node(0).tamper(key, thief.barrier.readBare(bareNames.sealConfig))
    expect(parseSealConfig(barrier.readBare(bareNames.sealConfig)!)).toMatchObject({ proof: expect.any(String) as string })
    await expect(rekeyed(rekey, thief.keys.slice(0, 2), {}, 'recovery')).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
    const { nonce } = await rootGeneration.init({ otp: '', pgpKey: '' })
    await rootGeneration.update(nonce, thief.keys[0]!)
    await expect(rootGeneration.update(nonce, thief.keys[1]!)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
    expect(tokens).toEqual([])
  })

  test('a root token makes the first recovery keys, once; they agree from then on', async () => {
    const { at, rekey, settle } = await shareCluster(2, { autoSeal: staticSeal(), init: { recoveryShares: 0, recoveryThreshold: 0 } })
    const request = { ...asked, shares: 3, threshold: 2 }
    await expect(rekey.init('recovery', { ...request, requireVerification: true }, true)).rejects.toMatchObject(
      bad(/expected no verification/),
    )
    const first = (await rekey.init('recovery', request, true)) as RekeyResult
    expect([first.keys.length, first.warnings, (await rekey.status('recovery')).required]).toEqual([3, [], 2])
    await settle()
    at(1).seal.seal()
    await at(1).seal.unseal({ key: hex(first.keys[0]), reset: false })
    expect(await at(1).seal.unseal({ key: hex(first.keys[2]), reset: false })).toMatchObject({ sealed: false })
    expect(await rekey.init('recovery', request, true)).toMatchObject({ started: true, progress: 0 })
    await rekey.cancel('recovery', null)
    expect((await rekeyed(rekey, first.keys.slice(1).map(hex), request, 'recovery')).keys).toHaveLength(3)
  })

  test('without recovery keys nobody can agree', async () => {
    const { rekey } = await shareCluster(1, { autoSeal: staticSeal(), init: { recoveryShares: 0, recoveryThreshold: 0 } })
    await expect(rekey.init('recovery', asked)).rejects.toMatchObject(bad(/made without/))
    await expect(rekey.status('root')).rejects.toMatchObject(bad(/made without/))
    await expect(rekey.init('root', { ...asked, shares: 1, threshold: 1 }, true)).rejects.toMatchObject(bad(/made without/))
  })
})

test('hashes of shares that somebody wrote onto the disk open nothing', async () => {
  const { rekey, fake, barrier } = await shareCluster(1)
  const thief = await shareCluster(1)
  const key = Buffer.concat([Buffer.from([0x40]), Buffer.from(bareNames.sealConfig)])
  fake.node(0).tamper(key, thief.barrier.readBare(bareNames.sealConfig))
  await expect(rekeyed(rekey, thief.keys.slice(0, 2))).rejects.toMatchObject({ code: 'ERR_BAD_SHARE' })
  const rootKey = Buffer.concat([Buffer.from([0x40]), Buffer.from(bareNames.rootKey)])
  fake.node(0).tamper(rootKey, thief.barrier.readBare(bareNames.rootKey))
  await rekey.cancel('root', null)
  await expect(rekeyed(rekey, thief.keys.slice(0, 2))).rejects.toThrow(/another root key than the one in use/)
  expect(barrier.sealed).toBe(false)
})
