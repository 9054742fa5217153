import { expect, test } from 'vitest'
import { secretRows } from '#cmd/cli/output.ts'
import { heading, printable, renderTable, shortDuration, valueText } from '#cmd/cli/table.ts'

test('a table has columns four spaces apart and lines under its header', () => {
  expect(
    renderTable(
      ['Key', 'Value'],
      [
        ['a', '1'],
        ['longer', 'x y'],
        ['empty', ''],
      ],
    ),
  ).toBe('Key       Value\n---       -----\na         1\nlonger    x y\nempty\n')
})

test.each([
  [null, '<nil>'],
  ['text', 'text'],
  [5, '5'],
  [true, 'true'],
  [['a', 'b'], '[a b]'],
  [{ b: null, a: [1] }, 'map[a:[1] b:<nil>]'],
])('%j is shown as %s', (value, text) => {
  expect(valueText(value)).toBe(text)
})

test('a heading stands in the middle', () => {
  expect(heading('Data', 'x'.repeat(14))).toBe('==== Data ====\n')
})

test('control characters do not reach a terminal; lines do', () => {
  expect(printable('a\u001b[2Jb\nc\td\u0007')).toBe('a\\x1b[2Jb\nc\td\\x07')
})

test.each([
  [0, '0s'],
  [2_764_800, '768h'],
  [90, '1m30s'],
  [3_601, '1h1s'],
])('%d seconds are %s', (seconds, text) => {
  expect(shortDuration(seconds)).toBe(text)
})

test('an envelope shows what is wrapped, else who is logged in, else its data with its lease', () => {
  expect(secretRows({ lease_duration: 60, data: { b: 1, a: 2 } })).toEqual([
    ['refresh_interval', '1m'],
    ['a', 2],
    ['b', 1],
  ])
  expect(secretRows({ lease_id: 'l', lease_duration: 60, renewable: true, data: {} })[2]).toEqual(['lease_renewable', true])
  const auth = {
    client_token: 's.x',
    accessor: 'a',
    lease_duration: 0,
    renewable: false,
    token_policies: ['root'],
    policies: ['root'],
    metadata: { k: 'v' },
  }
  expect(secretRows({ auth })).toContainEqual(['token_policies', '["root"]'])
  expect(secretRows({ auth })).toContainEqual(['token_meta_k', 'v'])
  expect(secretRows({ data: null, wrap_info: { token: 's.w', ttl: 60 } })[0]).toEqual(['wrapping_token', 's.w'])
})
