import { createHash, createHmac, randomBytes } from 'node:crypto'
import { appendFileSync, chmodSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { createAuditBroker, type ManagedAuditBroker } from '#audit/broker.ts'
import { openFileSink } from '#audit/file-sink.ts'
import { verifyAuditFile } from '#audit/verify.ts'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { none, record } from './helpers.ts'

let folder = ''
let files = 0
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-audit-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const key = randomBytes(32)
const newPath = (): string => join(folder, `${(files += 1)}.log`)

async function open(path: string, fsync = false, nodeId = 'n1'): Promise<ManagedAuditBroker> {
  const sink = await openFileSink({ path, fsync })
  const broker = createAuditBroker({
    nodeId,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    devices: [{ name: 'file', sink }],
  })
  broker.setKey(key)
  return broker
}

async function writeSome(path: string, from: number, to: number, fsync = false): Promise<void> {
  const broker = await open(path, fsync)
  for (let i = from; i < to; i += 1) await broker.record(record(`p${i}`), none)
  await broker.close()
}

const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n').slice(0, -1)

/** The chain as its description has it, checked by other code than ours: null when whole, else the first bad line. */
function slowVerify(text: string): number | null {
  const lines = text.split('\n')
  if (lines.pop() !== '') return lines.length + 1
  const macKey = createHmac('sha256', key).update('audit chain').digest()
  let previous: { seq: number; boot: string; node: string } | null = null
  for (const [i, line] of lines.entries()) {
    let chain
    try {
      chain = JSON.parse(line).chain
    } catch {
      return i + 1
    }
    const { node, boot, seq, prev, mac } = chain ?? {}
    if (typeof node !== 'string' || typeof boot !== 'string' || typeof seq !== 'number' || prev === undefined || mac === undefined)
      return i + 1
    if (
      i > 0 &&
      chain.prev !==
        createHash('sha256')
          .update(lines[i - 1]!)
          .digest('hex')
    )
      return i + 1
    if (previous && seq !== (boot === previous.boot ? previous.seq + 1 : 1)) return i + 1
    if (previous && boot === previous.boot && node !== previous.node) return i + 1
    const covered = line.slice(0, line.lastIndexOf(',"mac":'))
    if (mac !== null && mac !== createHmac('sha256', macKey).update(covered).digest('hex')) return i + 1
    previous = { node, boot, seq }
  }
  return null
}

test('lines arrive, in a file for its owner only, and verify', async () => {
  const path = newPath()
  const broker = await open(path)
  await Promise.all(Array.from({ length: 200 }, (_, i) => broker.record(record(`p${i}`), none)))
  await broker.close()
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(linesOf(path)).toHaveLength(200)
  expect(await verifyAuditFile(path, key)).toMatchObject({ ok: true, lines: 200, provenLines: 200, firstPrev: null })
  expect(await verifyAuditFile(path, null)).toMatchObject({ ok: true, lines: 200, provenLines: 0 })
  expect(slowVerify(readFileSync(path, 'utf8'))).toBeNull()
  expect(await verifyAuditFile(path, randomBytes(32))).toEqual({ ok: false, line: 1, reason: 'forged' })
})

test('a file that others could read is closed to them', async () => {
  const path = newPath()
  writeFileSync(path, '')
  chmodSync(path, 0o644)
  await writeSome(path, 0, 1)
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test('the chain goes on over restarts, with a new boot', async () => {
  const path = newPath()
  for (let boot = 0; boot < 3; boot += 1) await writeSome(path, boot * 5, boot * 5 + 5, boot === 1)
  expect(await verifyAuditFile(path, key)).toMatchObject({ ok: true, lines: 15 })
  const chains = linesOf(path).map((line) => JSON.parse(line).chain)
  expect(chains.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5])
  expect(new Set(chains.map(({ boot }) => boot)).size).toBe(3)
})

test('half a line left by a crash is cut off; a whole one never is', async () => {
  const path = newPath()
  await writeSome(path, 0, 3)
  const whole = readFileSync(path)
  appendFileSync(path, `{"time":"${'x'.repeat(200_000)}`)
  expect(await verifyAuditFile(path, key)).toEqual({ ok: false, line: 4, reason: 'cut' })
  await writeSome(path, 3, 4)
  expect(readFileSync(path).subarray(0, whole.length)).toEqual(whole)
  expect(await verifyAuditFile(path, key)).toMatchObject({ ok: true, lines: 4 })
  const only = newPath()
  writeFileSync(only, 'no newline at all')
  await writeSome(only, 0, 1)
  expect(await verifyAuditFile(only, key)).toMatchObject({ ok: true, lines: 1, firstPrev: null })
})

test('rotation: the new file goes on where the old one ended', async () => {
  const path = newPath()
  const broker = await open(path)
  const writing = Array.from({ length: 50 }, (_, i) => broker.record(record(`p${i}`), none))
  await writing[0]
  renameSync(path, `${path}.1`)
  await broker.reopen()
  await Promise.all(writing)
  await broker.record(record('after'), none)
  await broker.close()
  const first = await verifyAuditFile(`${path}.1`, key)
  const second = await verifyAuditFile(path, key)
  expect([first.ok, second.ok]).toEqual([true, true])
  expect(second.ok && second.firstPrev).toBe(first.ok && first.head)
  expect(linesOf(`${path}.1`).length + linesOf(path).length).toBe(51)
})

test('a line longer than what is read at once is found again', async () => {
  const path = newPath()
  const data = Object.fromEntries(Array.from({ length: 3_000 }, (_, i) => [`key-${i}`, 'v']))
  const broker = await open(path)
  await broker.record(record('big', { response: { data } }), none)
  await broker.close()
  await writeSome(path, 0, 2)
  expect(linesOf(path)[0]!.length).toBeGreaterThan(200_000)
  expect(await verifyAuditFile(path, key)).toMatchObject({ ok: true, lines: 3 })
})

test('a folder that is not there is an error when the device is opened', async () => {
  await expect(openFileSink({ path: join(folder, 'none', 'a.log') })).rejects.toMatchObject({ code: 'ENOENT' })
})

test('an empty file is whole', async () => {
  const path = newPath()
  writeFileSync(path, '')
  expect(await verifyAuditFile(path, key)).toEqual({ ok: true, lines: 0, provenLines: 0, firstPrev: null, head: null })
})

describe('tampering', () => {
  let original: string[] = []
  beforeAll(async () => {
    const path = newPath()
    await writeSome(path, 0, 8)
    const broker = await open(path)
    broker.setKey(null)
    await broker.record(record('sealed'), none)
    broker.setKey(key)
    await broker.record(record('open'), none)
    await broker.close()
    original = linesOf(path)
  })

  const place = fc.nat({ max: 9 })
  const tamper = fc.oneof(
    fc.record({ kind: fc.constant('flip' as const), at: place, char: fc.nat({ max: 5_000 }) }),
    fc.record({ kind: fc.constantFrom('drop' as const, 'duplicate' as const, 'insert' as const), at: fc.nat({ max: 8 }), char: place }),
    fc.record({ kind: fc.constant('swap' as const), at: place, char: place }),
    fc.record({ kind: fc.constant('chop' as const), at: fc.constant(9), char: fc.integer({ min: 1, max: 600 }) }),
  )

  function apply({ kind, at, char }: { kind: string; at: number; char: number }): string {
    const lines = [...original]
    const line = lines[at] ?? ''
    if (kind === 'flip') {
      const i = char % line.length
      lines[at] = line.slice(0, i) + (line[i] === 'x' ? 'y' : 'x') + line.slice(i + 1)
    } else if (kind === 'drop') lines.splice(at, 1)
    else if (kind === 'duplicate') lines.splice(at, 0, line)
    else if (kind === 'insert') lines.splice(at, 0, lines[char] ?? '')
    else if (kind === 'swap') [lines[at], lines[char]] = [lines[char] ?? '', line]
    const text = `${lines.join('\n')}\n`
    return kind === 'chop' ? text.slice(0, -char) : text
  }

  test('every one of 1,000 is found, at the line where an independent verifier finds it', async () => {
    const path = newPath()
    await fc.assert(
      fc.asyncProperty(tamper, async (how) => {
        const text = apply(how)
        if (text === apply({ kind: 'none', at: 0, char: 0 })) return true
        // The first line's drop leaves a file that begins later: only the file before it can tell, by `firstPrev`.
        if (how.kind === 'drop' && how.at === 0) return true
        writeFileSync(path, text)
        const verdict = await verifyAuditFile(path, key)
        return !verdict.ok && verdict.line === slowVerify(text)
      }),
      { numRuns: 1_000 },
    )
  })

  test('a forger without the key can rebuild the hashes, not the MACs', async () => {
    const path = newPath()
    let head: string | null = null
    const forged = original.map((line, i) => {
      const value = JSON.parse(line)
      if (i >= 3) value.request.path = 'harmless'
      value.chain.prev = head
      const text = JSON.stringify(value)
      head = createHash('sha256').update(text).digest('hex')
      return text
    })
    writeFileSync(path, `${forged.join('\n')}\n`)
    expect(await verifyAuditFile(path, null)).toMatchObject({ ok: true })
    expect(await verifyAuditFile(path, key)).toEqual({ ok: false, line: 4, reason: 'forged' })
    const stripped = forged.map((line) => line.replace(/"mac":"\w+"/, '"mac":null'))
    let rebuilt: string | null = null
    const unproven = stripped.map((line) => {
      const text = line.replace(/"prev":(null|"\w+")/, `"prev":${JSON.stringify(rebuilt)}`)
      rebuilt = createHash('sha256').update(text).digest('hex')
      return text
    })
    writeFileSync(path, `${unproven.join('\n')}\n`)
    // Whole by its hashes, proven by nothing: the caller sees it in `provenLines`.
    expect(await verifyAuditFile(path, key)).toMatchObject({ ok: true, provenLines: 0 })
  })
})
