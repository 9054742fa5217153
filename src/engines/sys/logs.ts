/** The log of this node while it runs: its levels, and itself as a stream. */
import { HoldfastError } from '#base/errors.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { answer, field, inPath, inQuery, path, reads, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

/** Vault's names of levels, from the most talkative. */
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof logLevels)[number]

/** One line of the log, as it was written: JSON. */
export interface LogTap {
  readonly lines: AsyncIterable<string>
  close(): void
}

/** What the system engine needs of the process's logger. Levels are this process's own: a restart has those of the configuration again. */
export interface LogControl {
  /** Name of each part of the server -> its level. */
  levels(): Readonly<Record<string, LogLevel>>
  /** null: every part. False when there is no part of this name. */
  setLevel(name: string | null, level: LogLevel): boolean
  /** Back to what the configuration says. False as above. */
  reset(name: string | null): boolean
  /** Lines of this level and above, from now on. @throws ERR_BUSY when too many are read already. */
  tap(level: LogLevel): LogTap
}

const nothing = new Uint8Array(0)
const synonyms: Readonly<Record<string, LogLevel>> = { notice: 'info', warning: 'warn', err: 'error' }

export function logPaths({ logs }: SystemServices): PathDef[] {
  const level = field('string', `One of ${logLevels.join(', ')}.`, { required: true, example: 'info' })
  const name = inPath('Which part of the server: see the list.', 'server')
  const known = (found: boolean): null => {
    if (found) return null
    throw new HoldfastError('ERR_BAD_REQUEST', `logger expected one of ${Object.keys(logs.levels()).join(', ')}, got another`)
  }
  return [
    path(
      'loggers',
      'Levels of the log, for each part of this node.',
      { local: true, rootNamespaceOnly: true, fields: { level } },
      {
        read: reads('Read', async () => answer(logs.levels())),
        update: writes('Set every part to one level', async (context) => known(logs.setLevel(null, levelOf(context)))),
        delete: writes('Back to the level of the configuration', async () => known(logs.reset(null))),
      },
      'Each node has its own levels, and a restarted node those of its configuration.',
    ),
    path(
      'loggers/:name',
      'Level of the log of one part of this node.',
      { local: true, rootNamespaceOnly: true, fields: { name, level } },
      {
        read: reads('Read', async (context) => {
          const found = Object.entries(logs.levels()).find(([part]) => part === text(context, 'name'))
          return found === undefined ? null : answer({ [found[0]]: found[1] })
        }),
        update: writes('Set', async (context) => known(logs.setLevel(text(context, 'name'), levelOf(context)))),
        delete: writes('Back to the level of the configuration', async (context) => known(logs.reset(text(context, 'name')))),
      },
    ),
    path(
      'monitor',
      'The log of this node as it is written.',
      {
        local: true,
        rootNamespaceOnly: true,
        fields: {
          log_level: { ...inQuery('string', 'From this level on, whatever the node writes elsewhere.'), default: 'info', example: 'debug' },
          log_format: {
            ...inQuery('string', 'One JSON object a line, or a line to read.'),
            enum: ['json', 'standard'],
            default: 'standard',
          },
        },
      },
      { read: reads('Follow', async (context) => monitor(logs, context)) },
      'The answer does not end by itself. A reader that is too slow loses lines, and is told how many.',
    ),
  ]
}

function levelOf(context: HandlerContext, name = 'level'): LogLevel {
  const asked = text(context, name).trim().toLowerCase()
  const found = logLevels.find((level) => level === asked) ?? (Object.hasOwn(synonyms, asked) ? synonyms[asked] : undefined)
  if (found !== undefined) return found
  throw new HoldfastError('ERR_BAD_REQUEST', `${name} expected one of ${logLevels.join(', ')}, got another`)
}

function monitor(logs: LogControl, context: HandlerContext): LogicalResponse {
  const tap = logs.tap(levelOf(context, 'log_level'))
  const json = text(context, 'log_format') === 'json'
  const chunks = async function* (): AsyncGenerator<Uint8Array> {
    for await (const line of tap.lines) yield Buffer.from(json || line === '\n' ? line : readable(line))
  }
  return {
    raw: {
      contentType: json ? 'application/x-ndjson' : 'text/plain; charset=utf-8',
      body: nothing,
      stream: { chunks: chunks(), close: () => tap.close() },
    },
  }
}

const hidden = new Set(['time', 'level', 'msg', 'node', 'part'])
const names: Readonly<Record<number, string>> = { 10: 'TRACE', 20: 'DEBUG', 30: 'INFO', 40: 'WARN', 50: 'ERROR' }

/** A JSON line as people read it. */
function readable(line: string): string {
  const parsed = JSON.parse(line) as Record<string, unknown>
  const rest = Object.entries(parsed).flatMap(([key, value]) => (hidden.has(key) ? [] : [` ${key}=${JSON.stringify(value)}`]))
  const word = (key: string, otherwise: string): string => (typeof parsed[key] === 'string' ? parsed[key] : otherwise)
  const head = `${word('time', '')} [${names[parsed['level'] as number] ?? 'INFO'}]`
  return `${head} ${word('part', 'server')}: ${word('msg', '')}${rest.join('')}\n`
}
