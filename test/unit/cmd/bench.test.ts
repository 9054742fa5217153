import { expect, test } from 'vitest'
import { argumentsFor } from '#cmd/commands/bench.ts'

test('what the generator is given: every address, the authority, the flags that were; never the token', () => {
  const given: Record<string, string> = { work: 'kv-read', connections: '1,2', token: 's.secret' }
  const flags = { string: (name: string) => given[name] }
  expect(argumentsFor(['https://a:1', 'https://b:1'], '/tmp/ca.pem', flags)).toEqual([
    '--address=https://a:1,https://b:1',
    '--ca=/tmp/ca.pem',
    '--work=kv-read',
    '--connections=1,2',
  ])
  expect(argumentsFor(['http://a:1'], null, { string: () => undefined })).toEqual(['--address=http://a:1'])
})
