/** `holdfast server`: one node. All of it is node/'s; here are only its flags. */
import v8 from 'node:v8'
import { type Command, exitCodes, UsageError } from '../cli/types.ts'

/**
 * Before it collects, V8 lets what is alive grow by so many percent: unasked four times over on a machine with much memory, so that 80 MiB took 330,
 * and three nodes on one machine as much as their data ten times. A name that V8 no longer knows changes nothing but one line on standard error.
 */
const heapGrowingPercent = 50

export const serverCommand: Command = {
  path: ['server'],
  synopsis: 'Run one node',
  args: '',
  argsMin: 0,
  argsMax: 0,
  local: true,
  description:
    'Every key of the configuration can be set by the environment too: HOLDFAST_ and its path in capitals. ' +
    'SIGTERM steps down, drains and ends with 0; SIGHUP reads certificates and the log level again. A development cluster is "npm start".',
  examples: ['holdfast server -config=/etc/holdfast/holdfast.hcl', 'holdfast server -config=base.hcl -config=site.json'],
  flags: {
    config: { type: 'list', placeholder: 'FILE', description: 'Configuration, HCL or JSON; several are merged in order.' },
    'stay-sealed': {
      type: 'bool',
      description:
        'Start as if an operator had sealed it: no auto seal is asked until recovery keys are given, or it restarts without this.',
    },
    'log-level': { type: 'string', values: ['debug', 'info', 'warn', 'error'], description: 'Overrides the configuration.' },
  },
  run: async ({ flags }) => {
    const configPaths = flags.list('config')
    if (configPaths.length === 0)
      throw new UsageError('server expected -config=FILE, got none', 'a development cluster needs none: npm start')
    v8.setFlagsFromString(`--heap-growing-percent=${heapGrowingPercent}`)
    const { runServer } = await import('#node/server.ts')
    const logLevel = flags.string('log-level')
    const code = await runServer({
      configPaths,
      staySealed: flags.bool('stay-sealed'),
      ...(logLevel === undefined ? {} : { logLevel }),
    })
    return code ?? exitCodes.ok
  },
}
