/** The simulator of whole replicas: `node test/sim/cluster/main.ts`, with the options that ../cli.ts tells. */
import { runSimulator } from '../cli.ts'
import { faultRows } from './rows.ts'
import { runSeed } from './world.ts'

process.exitCode = await runSimulator(
  { program: 'test/sim/cluster/main.ts', ticks: 2_000, rows: faultRows, runSeed },
  process.argv.slice(2),
)
