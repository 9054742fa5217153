// Runs before `npm start` and `npm test`, under whatever Node (>= 20) the machine has; plain JavaScript for that reason.
// It installs the pinned Node first and everything else with it: npm on an older Node silently resolves older packages.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const nodeVersion = manifest.dependencies.node
const stampPath = join(root, 'node_modules', '.holdfast-installed')
const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .update(readFileSync(join(root, 'package.json')))
  .digest('hex')

function installed() {
  return existsSync(stampPath) && readFileSync(stampPath, 'utf8') === wanted && existsSync(join(root, 'node_modules', '.bin', 'node'))
}

function npm(args, cwd, pathFirst) {
  const npmCli = process.env.npm_execpath
  const env = { ...process.env, PATH: `${pathFirst ? `${pathFirst}:` : ''}${process.env.PATH}` }
  // A child npm must decide by its own arguments, not by what the calling npm was told.
  for (const name of Object.keys(env))
    if (/^npm_(config_(local_prefix|prefix|package|omit|include)|lifecycle|command|package)/i.test(name)) delete env[name]
  const [command, first] =
    npmCli && /\.c?js$/.test(npmCli) ? [pathFirst ? join(pathFirst, 'node') : process.execPath, [npmCli]] : ['npm', []]
  try {
    execFileSync(command, [...first, ...args], { cwd, env, stdio: ['ignore', 'inherit', 'inherit'] })
  } catch (error) {
    // npm has said above what is wrong; a stack trace of ours would only hide it.
    console.error(
      `error: expected "npm ${args[0]}" to succeed, got ${error.status === undefined ? error.message : `exit code ${error.status}`}`,
    )
    console.error('hint: read what npm says above; is the package registry reached from here (npm ping)? Then run the same command again')
    process.exit(1)
  }
}

/** `npm ci` would refuse a lock that does not belong to the manifest; `npm install` would quietly resolve anew. */
function expectMatchingLock() {
  const [locked] = Object.values(JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages)
  for (const kind of ['dependencies', 'devDependencies', 'optionalDependencies']) {
    const [asked, given] = [manifest[kind] ?? {}, locked[kind] ?? {}]
    const name = [...Object.keys(asked), ...Object.keys(given)].find((each) => asked[each] !== given[each])
    if (name === undefined) continue
    console.error(`error: package-lock.json expected ${name} ${asked[name]}, got ${given[name]}`)
    console.error('hint: run "npm install --package-lock-only" and commit the lock with package.json')
    process.exit(1)
  }
}

if (!installed()) {
  expectMatchingLock()
  const started = Date.now()
  const tools = join(root, '.tools')
  rmSync(tools, { recursive: true, force: true })
  mkdirSync(tools)
  console.log(`holdfast: installing Node ${nodeVersion} (pinned), then the rest with it ...`)
  writeFileSync(join(tools, 'package.json'), JSON.stringify({ private: true, allowScripts: { node: true, [`node@${nodeVersion}`]: true } }))
  npm(['install', '--no-save', '--no-package-lock', '--loglevel=error', `node@${nodeVersion}`], tools, null)
  // Not `npm ci`: since npm 11.16 it refuses a lock that npm itself wrote when a registry lacks some optional package (another
  // platform's build of a tool). This takes the same versions and checks the same hashes; --no-save leaves the lock as it is.
  npm(['install', '--no-save', '--loglevel=error'], root, join(tools, 'node_modules', '.bin'))
  rmSync(tools, { recursive: true, force: true })
  writeFileSync(stampPath, wanted)
  console.log(`holdfast: installed in ${((Date.now() - started) / 1000).toFixed(0)} s`)
}
