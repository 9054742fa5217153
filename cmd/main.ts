/** The `holdfast` command, once the right Node runs it (cmd/holdfast.mjs sees to that). */
import { processIo } from './cli/io.ts'
import { runCli } from './cli/run.ts'
import { commands } from './commands/index.ts'

// Whoever reads us may stop reading (`| head`): that is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
process.exitCode = await runCli(process.argv.slice(2), commands, processIo)
