/** The second lock on the floors of the house; the first is the linter. A rule that inspects nothing must fail. */
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { boundaryOverrides, folders, mayImport } from '#test/support/floors.ts'

const rooms = Object.keys(folders).filter((room) => existsSync(folders[room] as string))

/** Specifiers of every import, export-from and dynamic import. */
function importsOf(path: string): string[] {
  return [...readFileSync(path, 'utf8').matchAll(/(?:^|\s)(?:from|import) ?\(? ?'([^']+)'/gm)].map((match) => match[1] as string)
}

function violations(room: string, paths: readonly string[]): string[] {
  const allowed = new Set([room, ...(mayImport[room] ?? [])])
  return paths.flatMap((path) =>
    importsOf(path).flatMap((specifier) => {
      const target = /^#([^/]+)\//.exec(specifier)?.[1]
      if (target !== undefined) return allowed.has(target) ? [] : [`${path} imports ${specifier}`]
      if (room === 'raft' && !specifier.startsWith('.')) return [`${path} imports ${specifier}`]
      // A relative path that climbs out of its room would pass by the rule unseen.
      const inside = join(path, '..', specifier).startsWith(folders[room] as string)
      return specifier.startsWith('.') && !inside ? [`${path} climbs out by ${specifier}`] : []
    }),
  )
}

test.each(rooms)('%s imports only lower rooms', (room) => {
  const paths = globSync(`${folders[room]}/**/*.ts`)
  expect(paths, `${room} has no file to look at`).not.toHaveLength(0)
  expect(violations(room, paths)).toEqual([])
})

test('every folder of src is a room on some floor', () => {
  const known = new Set(Object.values(folders))
  expect(globSync('src/*').filter((path) => !known.has(path))).toEqual([])
})

test('the rule itself sees an upward import and a climbing path', () => {
  const folder = mkdtempSync('src/base/planted-')
  try {
    const path = join(folder, 'planted.ts')
    writeFileSync(path, "import type { Request } from '#core/types.ts'\nimport '../../core/types.ts'\nexport type X = Request\n")
    expect(violations('base', [path])).toHaveLength(2)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test("the linter's overrides are those of the table, and the linter reports a planted violation in each room", () => {
  const config = JSON.parse(readFileSync('.oxlintrc.json', 'utf8')) as { overrides: object[] }
  expect(config.overrides).toEqual(boundaryOverrides())
  const planted = rooms
    .filter((room) => room !== 'cmd')
    .map((room) => {
      const folder = join(folders[room] as string, 'planted-lint')
      mkdirSync(folder, { recursive: true })
      const path = join(folder, 'planted.ts')
      writeFileSync(path, "import { main } from '#cmd/main.ts'\nexport const x = main\n")
      return { folder, path }
    })
  try {
    const run = spawnSync('node_modules/.bin/oxlint', ['--format', 'json', ...planted.map(({ path }) => path)], { encoding: 'utf8' })
    const report = JSON.parse(run.stdout) as { diagnostics: { code: string; filename: string }[] }
    const seen = new Set(report.diagnostics.filter(({ code }) => code.includes('no-restricted-imports')).map(({ filename }) => filename))
    expect([...seen].toSorted()).toEqual(planted.map(({ path }) => path).toSorted())
  } finally {
    for (const { folder } of planted) rmSync(folder, { recursive: true })
  }
})
