import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { replay } from '#test/sim/scenario.ts'

const paths = globSync('test/sim/scenarios/*.txt').toSorted((a, b) => a.localeCompare(b))

test('there are scenarios', () => {
  expect(paths.length).toBeGreaterThan(9)
})

// On failure read the diff, and run `vitest run --update=all test/unit/raft` only if you can say why every changed line is now right.
test.each(paths)('%s', async (path) => {
  const now = replay(readFileSync(path, 'utf8'))
  expect(now.match(/\n----\n/g)?.length ?? 0, 'a scenario shows something').toBeGreaterThan(1)
  await expect(now).toMatchFileSnapshot(`../../../${path}`)
})
