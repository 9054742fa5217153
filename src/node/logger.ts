/** The process's log: JSON lines on standard output, a level for each part of the server, and readers of it through the API. */
import { pino, type Level, type Logger as Pino } from 'pino'
import { HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import { currentRequest } from '#base/tracing.ts'
import type { LogControl, LogLevel, LogTap } from '#engines/sys/logs.ts'

/** The process's logger, and the handle that changes its level while it runs. */
export interface ProcessLogger extends LogControl {
  readonly log: Logger
  /** The logger of one part of the server, whose level can be set by its name. The same one for the same name. */
  part(name: string): Logger
  /** The level of the configuration, as it was read again: of every part. */
  setConfigured(level: string): void
}

const levels: Readonly<Record<string, LogLevel>> = {
  trace: 'trace',
  debug: 'debug',
  info: 'info',
  notice: 'info',
  warn: 'warn',
  warning: 'warn',
  error: 'error',
  err: 'error',
}
const order: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error']
const tapsMax = 8
/** What a reader that is slow has waiting for it; more is dropped, and counted. */
const tapLinesMax = 1_000
/** An idle stream says nothing for long, and a proxy between would cut it. */
const tapIdleMs = 15_000
const rootName = 'server'
/** Its loop works for all requests at once, in the context of whichever woke it: a line of it belongs to none. */
const sharedPart = 'raft'

interface Part {
  readonly logger: Pino
  level: LogLevel
}

/** `level` by Vault's names; an unknown one means info. `write` gets each line: standard output, unless a test looks. */
export function createProcessLogger(level: string, nodeId: string, write?: (line: string) => void): ProcessLogger {
  return new NodeLog(level, nodeId, write)
}

class NodeLog implements ProcessLogger {
  readonly #parts = new Map<string, Part>()
  readonly #taps = new Set<Tap>()
  readonly #root: Pino
  readonly #write: (line: string) => void
  #configured: LogLevel

  constructor(level: string, nodeId: string, write: ((line: string) => void) | undefined) {
    this.#configured = levels[level] ?? 'info'
    const standard = write === undefined ? pino.destination({ fd: 1, sync: true }) : null
    this.#write = write ?? ((line) => void standard!.write(line))
    const take = (line: string, level: number, logger: Pino | null): void => this.#line(line, level, logger)
    const destination = {
      // pino sets these before each line where this mark asks for them: the line itself need not be parsed to know its level.
      [Symbol.for('pino.metadata')]: true,
      lastLevel: 0,
      lastLogger: null as Pino | null,
      write(line: string): void {
        take(line, this.lastLevel, this.lastLogger)
      },
    }
    this.#root = pino(
      {
        level: this.#configured,
        base: { node: nodeId },
        timestamp: pino.stdTimeFunctions.isoTime,
        mixin: (_fields, _level, logger) => idsOfRequest(logger as unknown as Pino),
      },
      destination,
    )
    this.#parts.set(rootName, { logger: this.#root, level: this.#configured })
  }

  get log(): Logger {
    return this.#root
  }

  part(name: string): Logger {
    const known = this.#parts.get(name)
    if (known !== undefined) return known.logger
    const logger = this.#root.child({ part: name })
    this.#parts.set(name, { logger, level: this.#configured })
    this.#apply()
    return logger
  }

  levels(): Record<string, LogLevel> {
    return Object.fromEntries([...this.#parts].map(([name, { level }]) => [name, level]))
  }

  setLevel(name: string | null, level: LogLevel): boolean {
    const parts = name === null ? [...this.#parts.values()] : [this.#parts.get(name)].filter((part) => part !== undefined)
    for (const part of parts) part.level = level
    this.#apply()
    return parts.length > 0
  }

  reset(name: string | null): boolean {
    return this.setLevel(name, this.#configured)
  }

  setConfigured(level: string): void {
    this.#configured = levels[level] ?? 'info'
    this.reset(null)
  }

  tap(level: LogLevel): LogTap {
    if (this.#taps.size >= tapsMax) throw new HoldfastError('ERR_BUSY', `expected at most ${tapsMax} readers of the log, got another`)
    const tap = new Tap(pino.levels.values[level]!, () => {
      this.#taps.delete(tap)
      this.#apply()
    })
    this.#taps.add(tap)
    this.#apply()
    return tap
  }

  /** While somebody follows at a lower level the loggers make lines that standard output does not get. */
  #apply(): void {
    const followed = Math.min(Infinity, ...[...this.#taps].map((tap) => tap.level))
    for (const { logger, level } of this.#parts.values()) {
      const wanted = order.find((name) => pino.levels.values[name]! >= Math.min(followed, pino.levels.values[level]!)) ?? level
      logger.level = wanted satisfies Level
    }
  }

  #line(line: string, level: number, logger: Pino | null): void {
    if (level >= this.#threshold(logger)) this.#write(line)
    for (const tap of this.#taps) if (level >= tap.level) tap.push(line)
  }

  /** Of the part that wrote; children of a part (a request's own) are not among the parts, and count as the server's own. */
  #threshold(logger: Pino | null): number {
    for (const part of this.#parts.values()) if (part.logger === logger) return pino.levels.values[part.level]!
    return this.#taps.size === 0 ? 0 : pino.levels.values[this.#parts.get(rootName)!.level]!
  }
}

/** What a line says of the request that the running code works for. A line that names one itself says what it says. */
function idsOfRequest(logger: Pino): object {
  const request = currentRequest()
  if (request === null || (logger.bindings() as { part?: string }).part === sharedPart) return {}
  const { requestId, traceId } = request
  return traceId === null ? { request_id: requestId } : { request_id: requestId, trace_id: traceId }
}

/** One reader: a bounded queue, so that one who does not read costs a thousand lines and no more. */
class Tap implements LogTap {
  readonly level: number
  readonly #onClose: () => void
  #waiting: string[] = []
  #dropped = 0
  #closed = false
  #wake: (() => void) | null = null

  constructor(level: number, onClose: () => void) {
    this.level = level
    this.#onClose = onClose
  }

  push(line: string): void {
    if (this.#waiting.length >= tapLinesMax) this.#dropped += 1
    else this.#waiting.push(line)
    this.#wake?.()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#waiting = []
    this.#onClose()
    this.#wake?.()
  }

  get lines(): AsyncIterable<string> {
    return this.#read()
  }

  async *#read(): AsyncGenerator<string> {
    while (!this.#closed) {
      const lines = this.#waiting
      const dropped = this.#dropped
      this.#waiting = []
      this.#dropped = 0
      yield* lines
      if (dropped > 0) {
        yield `${JSON.stringify({ level: 40, time: new Date().toISOString(), dropped, msg: 'this reader of the log was too slow: lines are missing' })}\n`
      }
      if (lines.length === 0 && (await this.#next()) === 'idle') yield '\n'
    }
  }

  #next(): Promise<'line' | 'idle'> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#done(resolve, 'idle'), tapIdleMs)
      this.#wake = () => {
        clearTimeout(timer)
        this.#done(resolve, 'line')
      }
      if (this.#waiting.length > 0 || this.#closed) this.#wake()
    })
  }

  #done(resolve: (value: 'line' | 'idle') => void, why: 'line' | 'idle'): void {
    this.#wake = null
    resolve(why)
  }
}
