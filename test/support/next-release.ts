/**
 * `holdfast server` as the next release will be: it understands one format level more, a rehearsal (src/base/formats.ts). No configuration makes a server
 * do so; tests run this in its place.
 */
import { parseArgs } from 'node:util'
import { rehearsalLevel, releasedFormats } from '#base/formats.ts'
import { runServer } from '#node/server.ts'

const { values } = parseArgs({ args: process.argv.slice(3), options: { config: { type: 'string' }, 'stay-sealed': { type: 'boolean' } } })
if (values.config === undefined) throw new Error('expected server --config FILE')
process.exitCode = await runServer({
  configPaths: [values.config],
  staySealed: values['stay-sealed'] === true,
  formats: { min: releasedFormats.min, max: rehearsalLevel },
}).catch(() => 1)
