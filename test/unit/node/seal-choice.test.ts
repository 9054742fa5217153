import { expect, test } from 'vitest'
import { expectShamir } from '#node/seal-choice.ts'

test('a configured seal that this version cannot use is refused, not ignored', () => {
  expect(() => expectShamir([])).not.toThrow()
  expect(() => expectShamir([{ kind: 'shamir', disabled: false, options: {} }])).not.toThrow()
  for (const kind of ['awskms', 'pkcs11', 'transit', 'static'] as const) {
    expect(() => expectShamir([{ kind, disabled: false, options: { pin: 'marked-secret' } }])).toThrow(`seal expected shamir, got ${kind}`)
  }
})
