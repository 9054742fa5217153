/**
 * Every code of the table in src/base/errors.ts, by script: documented with what to do about it, expected by a test, and thrown with a hint somewhere. What has
 * no hint says so here, with the reason; codes that no other test names are reached below.
 */
import { globSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { errorCodes, type ErrorCode } from '#base/errors.ts'
import { checkIssuer } from '#auth/jwt/claims.ts'
import { checkPatchType, parseBody } from '#http/request.ts'
import { clientError } from '#http/respond.ts'
import { inspectSnapshotFile } from '#snapshots/inspect.ts'
import { expectedCodes } from '#test/support/expected-codes.ts'
import { openHouse } from '#test/support/core-house.ts'

const codes = Object.keys(errorCodes) as ErrorCode[]
const docs = readFileSync('docs/errors.md', 'utf8')

/** No hint, on purpose. */
const withoutHint: Partial<Readonly<Record<ErrorCode, string>>> = {
  ERR_INTERNAL: "a fault of the server's own: its log has the details, and the answer never does",
  ERR_BAD_CREDENTIALS: 'a hint would tell which of name and password is wrong',
}

/** Thrown by a function that is given the code: its hints stand in these files. */
const hintedIn: Partial<Readonly<Record<ErrorCode, string>>> = { ERR_POLICY_SYNTAX: 'src/policies/parse.ts' }

/** Text of each `new HoldfastError('CODE', ...)`, with what is between its brackets. */
function thrown(): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const path of globSync('{raft,src,cmd}/**/*.ts')) {
    const text = readFileSync(path, 'utf8')
    for (const match of text.matchAll(/'(ERR_\w+)'/g)) {
      const from = text.lastIndexOf('(', match.index)
      const call = bracketed(text, from)
      found.set(match[1]!, [...(found.get(match[1]!) ?? []), call])
    }
  }
  return found
}

function bracketed(text: string, from: number): string {
  let depth = 0
  for (let at = from; at < text.length && at < from + 1_500; at += 1) {
    if (text[at] === '(') depth += 1
    if (text[at] === ')' && --depth === 0) return text.slice(from, at)
  }
  return text.slice(from, from + 1_500)
}

describe('each code', () => {
  const sites = thrown()
  const tests = globSync('test/**/*.test.ts').filter((path) => !path.endsWith('house/errors.test.ts'))
  const expected = new Set(tests.flatMap((path) => [...expectedCodes(readFileSync(path, 'utf8'))]))

  test.each(codes)('%s is documented, with what it means or what to do', (code) => {
    const section = new RegExp(`^## ${code} \\(${errorCodes[code]}\\)\\n+((?:(?!^## )[^])+)`, 'm').exec(docs)
    expect(section?.[1]?.trim().length ?? 0, `docs/errors.md expected a section of ${code}`).toBeGreaterThan(30)
  })

  test.each(codes)('%s is expected by a test', (code) => {
    expect(expected.has(code), 'by a test that compares an answer or an error with it').toBe(true)
  })

  test.each(codes)('%s is thrown with a hint, or says why not', (code) => {
    const calls = sites.get(code) ?? []
    expect(calls.length, 'thrown somewhere').toBeGreaterThan(0)
    const hinted = calls.some((call) => /\bhint\b|hintFor|Hint\(/.test(call))
    const apart = hintedIn[code]
    if (apart !== undefined) expect(readFileSync(apart, 'utf8')).toMatch(/hintFor\(/)
    else if (withoutHint[code] === undefined) expect(hinted).toBe(true)
  })
})

/** The script above is worth what it refuses to count. */
describe('what counts as expected', () => {
  const seen = (source: string): string[] => [...expectedCodes(source)]

  test('a code that an assertion compares with', () => {
    expect(seen("expect(answer).toMatchObject({ code: 'ERR_ONE' })")).toEqual(['ERR_ONE'])
    expect(seen("expect(\n  () => run(')'),\n).toThrow(expect.objectContaining({ code: 'ERR_ONE' }))")).toEqual(['ERR_ONE'])
    expect(seen("expect([1, code]).toEqual([400, 'ERR_ONE'])\nexpect(a / 2).toBe('ERR_TWO') // 'x")).toEqual(['ERR_ONE', 'ERR_TWO'])
  })

  test('not one that is only mentioned: in a title, a comment, a sentence, a regular expression, an error of the test itself', () => {
    expect(seen("test('ERR_ONE', () => { expect(1).toBe(1) })")).toEqual([])
    expect(seen("// expect(code).toBe('ERR_ONE')\n/* expect(code).toBe('ERR_ONE') */ expect(1).toBe(1)")).toEqual([])
    expect(seen("expect(text).toContain('never an ERR_ONE')")).toEqual([])
    expect(seen("expect(text).toMatch(/'ERR_ONE'/)")).toEqual([])
    expect(seen("expect(told(new HoldfastError('ERR_ONE', 'x'))).toBe('x')")).toEqual([])
    expect(seen("expect(told(sites.get('ERR_ONE'))).toBe('x')")).toEqual([])
    expect(seen("expect(x).toEqual(told(new HoldfastError('ERR_ONE', 'x')))")).toEqual([])
  })
})

/** What is refused, and the code that it has: of those that are answered without a hint the code is not in the body, so they are told by what throws them. */
describe('reached through the API', () => {
  const refused = (answer: { body: { code?: string } }): string | undefined => answer.body.code

  test('ERR_MOUNT_EXISTS: something is mounted there, above or below', async () => {
    const { node } = await openHouse()
    await node.write('sys/mounts/team/kv', { type: 'kv' })
    const answer = await node.write('sys/mounts/team', { type: 'kv' })
    expect([answer.status, refused(answer)]).toEqual([400, 'ERR_MOUNT_EXISTS'])
  })

  test('ERR_UNSUPPORTED_OPERATION: the path is there, the method is not', async () => {
    const { node } = await openHouse()
    const answer = await node.remove('sys/mounts')
    expect([answer.status, refused(answer)]).toEqual([405, 'ERR_UNSUPPORTED_OPERATION'])
    expect(answer.body.errors).toEqual(['unsupported operation'])
  })

  test('ERR_NAMESPACE_LOCKED: an administrator has locked it', async () => {
    const { node } = await openHouse()
    await node.write('sys/namespaces/team')
    await node.write('sys/namespaces/api-lock/lock/team')
    const answer = await node.ask({ path: 'sys/mounts', namespace: 'team' })
    expect([answer.status, refused(answer)]).toEqual([503, 'ERR_NAMESPACE_LOCKED'])
  })

  test('ERR_CAS_MISMATCH and ERR_CAS_REQUIRED: with the text that clients know', async () => {
    const { node } = await openHouse()
    await node.write('sys/mounts/kv', { type: 'kv', options: { version: '2' } })
    const mismatch = await node.write('kv/data/a', { data: { a: 1 }, options: { cas: 3 } })
    expect([mismatch.status, refused(mismatch), mismatch.body.errors]).toEqual([
      400,
      'ERR_CAS_MISMATCH',
      ['check-and-set parameter did not match the current version'],
    ])
    await node.write('kv/config', { cas_required: true })
    const required = await node.write('kv/data/a', { data: { a: 1 } })
    expect([refused(required), required.body.errors]).toEqual(['ERR_CAS_REQUIRED', ['check-and-set parameter required for this call']])
  })

  test('ERR_BAD_CREDENTIALS: a wrong password, without a hint', async () => {
    const { node } = await openHouse()
    await node.write('sys/auth/userpass', { type: 'userpass' })
    await node.write('auth/userpass/users/ada', { password: 'correct horse' })
    const answer = await node.write('auth/userpass/login/ada', { password: 'wrong' }, null)
    expect([answer.status, Object.keys(answer.body)]).toEqual([400, ['errors']])
    // Not in the answer, on purpose: told by what throws it.
    expect(() => checkIssuer({ iss: 'https://elsewhere' }, 'https://here')).toThrow(
      expect.objectContaining({ code: 'ERR_BAD_CREDENTIALS', hint: undefined }),
    )
  })
})

describe('reached through files', () => {
  const stream = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.from('no snapshot, but text that is longer than the preamble of one would be')
  }

  test('ERR_SNAPSHOT_DAMAGED: a file that is no snapshot', async () => {
    await expect(inspectSnapshotFile(stream())).rejects.toMatchObject({ code: 'ERR_SNAPSHOT_DAMAGED', hint: expect.any(String) })
  })
})

describe('reached through HTTP', () => {
  test('ERR_TIMEOUT: a request that does not arrive', () => {
    expect(clientError('ERR_HTTP_REQUEST_TIMEOUT')).toMatchObject({ code: 'ERR_TIMEOUT' })
  })

  test('ERR_UNSUPPORTED_MEDIA_TYPE: a PATCH of another type', () => {
    expect(() => checkPatchType('application/json')).toThrow(
      expect.objectContaining({ code: 'ERR_UNSUPPORTED_MEDIA_TYPE', hint: expect.any(String) }),
    )
  })

  test('ERR_HEADERS_TOO_LARGE: what the parser gives up on', () => {
    expect(clientError('HPE_HEADER_OVERFLOW')).toMatchObject({ code: 'ERR_HEADERS_TOO_LARGE', hint: expect.any(String) })
  })

  test('ERR_BAD_REQUEST: a body that is none', () => {
    expect(() => parseBody(Buffer.from('{'), 'application/json', false, 10)).toThrow(expect.objectContaining({ code: 'ERR_BAD_REQUEST' }))
  })
})
