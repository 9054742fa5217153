/**
 * `npm run build:client`: src/client as a package of its own in dist/client, as JavaScript with its types, since Node strips no types under
 * node_modules. The sources lose their types and nothing else: lines and columns of a stack trace stay, and what was tested is what is shipped.
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { dirname, join, relative, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const source = join(root, 'src')
const target = process.argv[2] ?? join(root, 'dist', 'client')
const entry = 'client/index.ts'
/** At the beginning of a line: an example in a comment is none. */
const specifier = /(^(?:import|export|\})[^'\n]* from |^import |\bimport\()'([^']+)'/gm

/** As a path below src/; null: another package. */
function resolved(from: string, name: string): string | null {
  const room = /^#(\w+)\/(.*)$/.exec(name)
  if (room) return `${room[1]}/${room[2]}`
  return name.startsWith('.') ? relative(source, resolve(source, dirname(from), name)) : null
}

/** Every file that the entry reaches, and the packages that they need. */
function reachable(): { readonly files: readonly string[]; readonly packages: readonly string[] } {
  const files = new Set([entry])
  const packages = new Set<string>()
  for (const file of files) {
    for (const [, , name = ''] of readFileSync(join(source, file), 'utf8').matchAll(specifier)) {
      const path = resolved(file, name)
      if (path !== null) files.add(path)
      else if (!name.startsWith('node:')) packages.add(name)
    }
  }
  return { files: [...files].toSorted(), packages: [...packages].toSorted() }
}

/** `#base/clock.ts` as './../base/clock.js': what every runtime and bundler resolves. */
function rewritten(file: string, code: string): string {
  return code.replace(specifier, (whole, before: string, name: string) => {
    const path = resolved(file, name)
    if (path === null) return whole
    const near = relative(dirname(file), path).replace(/\.ts$/, '.js')
    return `${before}'${near.startsWith('.') ? near : `./${near}`}'`
  })
}

function writeTypes(files: readonly string[], scratch: string): void {
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: {
      noEmit: false,
      declaration: true,
      emitDeclarationOnly: true,
      rootDir: source,
      outDir: scratch,
      typeRoots: [join(root, 'node_modules', '@types')],
    },
    include: [],
    files: [join(source, entry)],
  }
  const path = join(scratch, 'tsconfig.json')
  writeFileSync(path, JSON.stringify(config))
  execFileSync(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', path], { stdio: 'inherit' })
  for (const file of files) {
    const declaration = file.replace(/\.ts$/, '.d.ts')
    writeFileSync(join(scratch, 'out', declaration), rewritten(file, readFileSync(join(scratch, declaration), 'utf8')))
  }
}

function manifest(packages: readonly string[]): string {
  const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    version: string
    license: string
    author: string
    dependencies: Record<string, string>
  }
  const dependencies = Object.fromEntries(
    packages.map((name) => {
      const version = own.dependencies[name]
      if (version === undefined) throw new Error(`${name} expected to be a dependency in package.json, got none`)
      return [name, version]
    }),
  )
  const description = {
    name: '@holdfast/client',
    version: own.version,
    description: "The typed client of Holdfast's /v1 API, and of Vault's and OpenBao's where they agree",
    license: own.license,
    author: own.author,
    type: 'module',
    exports: { '.': { types: './client/index.d.ts', default: './client/index.js' } },
    engines: { node: '>=22.19' },
    dependencies,
  }
  return `${JSON.stringify(description, null, 2)}\n`
}

function build(): void {
  const { files, packages } = reachable()
  const scratch = mkdtempSync(join(root, '.build-client-'))
  const out = join(scratch, 'out')
  try {
    for (const file of files) {
      mkdirSync(dirname(join(out, file)), { recursive: true })
      const code = stripTypeScriptTypes(readFileSync(join(source, file), 'utf8'))
      writeFileSync(join(out, file.replace(/\.ts$/, '.js')), rewritten(file, code))
    }
    writeTypes(files, scratch)
    writeFileSync(join(out, 'package.json'), manifest(packages))
    for (const name of ['LICENSE', 'NOTICE']) copyFileSync(join(root, name), join(out, name))
    copyFileSync(join(root, 'docs', 'client.md'), join(out, 'README.md'))
    rmSync(target, { recursive: true, force: true })
    mkdirSync(dirname(target), { recursive: true })
    // Whole or not at all: an application may be importing it.
    renameSync(out, target)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
  console.log(`built ${files.length} files into ${relative(process.cwd(), target)}; needs ${packages.join(', ')}`)
}

build()
