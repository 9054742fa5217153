import { resolveNamespace, rootNamespace } from '#namespaces/resolve.ts'
import { expect, test } from 'vitest'

test.each(['', 'root', '/', 'root/', '/root/'])('%j is the root', (path) => {
  expect(resolveNamespace(path)).toBe(rootNamespace)
})

test.each(['team', 'root/team', 'ROOT', '.'])('%j is not found', (path) => {
  expect(() => resolveNamespace(path)).toThrow('namespace expected to exist')
})
