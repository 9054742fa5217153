/** Under which name wrong tries at a directory count. */
import { expect, test } from 'vitest'
import { lockName } from '#auth/ldap/index.ts'
import type { HandlerContext } from '#core/types.ts'

const nameOf = (username: string): string => lockName({ fields: { username } } as unknown as HandlerContext)

test.each([
  ['letter case', 'Ann Strauss', ['ann strauss', 'ANN STRAUSS', 'Ann Strau\u00df', 'ANN STRAU\u1e9e']],
  ['spaces', 'ann strauss', [' ann strauss ', 'ann  strauss', 'ann\u00a0strauss']],
  ['compatibility forms', 'ann', ['\uff41nn', '\u24d0nn', 'a\u207fn']],
  ['accents, by themselves or not', 'ann', ['\u00e1nn', 'a\u0301nn', 'an\u0303n', '\u00c4NN']],
  ['kana of either kind', 'たなかヽ', ['タナカヽ', 'ﾀﾅｶヽ', 'たナかゝ']],
  ['what nobody sees', 'ann', ['a\u00adnn', 'an\u200bn', 'ann\ufeff', '\u2060ann', 'an\ufe0fn']],
])('%s make no other name to count', (_what, name, spellings) => {
  for (const spelling of spellings) expect(nameOf(spelling), JSON.stringify(spelling)).toBe(nameOf(name))
})

test('other names stay others, and one of nothing to be seen is counted too', () => {
  expect(new Set(['ann', 'anna', 'an n', 'ann1', 'bob'].map(nameOf)).size).toBe(5)
  expect(nameOf('\u00ad')).not.toBe('')
  expect(nameOf('\u0301')).not.toBe('')
})
