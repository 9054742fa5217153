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
  execFileSync(command, [...first, ...args], { cwd, env, stdio: ['ignore', 'inherit', 'inherit'] })
}

if (!installed()) {
  const started = Date.now()
  const tools = join(root, '.tools')
  rmSync(tools, { recursive: true, force: true })
  mkdirSync(tools)
  console.log(`holdfast: installing Node ${nodeVersion} (pinned), then the rest with it ...`)
  writeFileSync(join(tools, 'package.json'), JSON.stringify({ private: true, allowScripts: { node: true, [`node@${nodeVersion}`]: true } }))
  npm(['install', '--no-save', '--no-package-lock', '--loglevel=error', `node@${nodeVersion}`], tools, null)
  npm(['ci', '--loglevel=error'], root, join(tools, 'node_modules', '.bin'))
  rmSync(tools, { recursive: true, force: true })
  writeFileSync(stampPath, wanted)
  console.log(`holdfast: installed in ${((Date.now() - started) / 1000).toFixed(0)} s`)
}
