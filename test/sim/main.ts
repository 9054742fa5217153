/** The simulator of the core alone: `node test/sim/main.ts`, with the options that cli.ts tells. */
import { runSimulator } from './cli.ts'
import { faultRows } from './options.ts'
import { runSeed } from './world.ts'

process.exitCode = await runSimulator({ program: 'test/sim/main.ts', ticks: 500, rows: faultRows, runSeed }, process.argv.slice(2))
