import { pino, type Level } from 'pino'
import type { Logger } from '#base/logger.ts'

/** The process's logger, and the handle that changes its level while it runs. */
export interface ProcessLogger {
  readonly log: Logger
  setLevel(level: string): void
}

const levels: Readonly<Record<string, Level>> = {
  trace: 'trace',
  debug: 'debug',
  info: 'info',
  notice: 'info',
  warn: 'warn',
  warning: 'warn',
  error: 'error',
  err: 'error',
}

/** JSON lines on standard output, as pino writes them. `level` by Vault's names; an unknown one means info. */
export function createProcessLogger(level: string, nodeId: string): ProcessLogger {
  const logger = pino({ level: levels[level] ?? 'info', base: { node: nodeId }, timestamp: pino.stdTimeFunctions.isoTime })
  return { log: logger, setLevel: (next) => (logger.level = levels[next] ?? 'info') }
}
