/** `holdfast monitor`: a node's log as it is written, until Ctrl-C. */
import { printable } from '../cli/table.ts'
import type { Command, CommandContext } from '../cli/types.ts'

const levels = ['trace', 'debug', 'info', 'warn', 'error'] as const

async function monitor(context: CommandContext): Promise<void> {
  const { flags, io } = context
  const query = { log_level: flags.string('log-level') ?? 'info', log_format: context.output.format === 'table' ? 'standard' : 'json' }
  const { body } = await (await context.client()).download({ method: 'GET', path: 'sys/monitor', query })
  const decoder = new TextDecoder()
  for await (const piece of body) {
    const text = decoder.decode(piece, { stream: true })
    // An empty line only says that the node is there: it keeps the connection open.
    if (text.trim() === '') continue
    await io.outBytes(Buffer.from(io.stdoutIsTty ? printable(text) : text))
  }
}

export const monitorCommand: Command = {
  path: ['monitor'],
  synopsis: "Show a node's log as it is written",
  args: '',
  argsMin: 0,
  argsMax: 0,
  description: 'Ctrl-C ends it. The node goes on writing its own log as before.',
  examples: ['holdfast monitor -log-level=debug -address=https://node2:8200', 'holdfast monitor -format=json | jq .msg'],
  flags: { 'log-level': { type: 'string', values: levels, description: 'From which level on; info.' } },
  run: monitor,
}
