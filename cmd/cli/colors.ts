/** Colours, on a terminal only, and not where NO_COLOR is set. */
import type { Io } from './io.ts'
import { fromEnvironment } from './settings.ts'

const codes = { red: 31, green: 32, yellow: 33, cyan: 36, dim: 2, bold: 1 } as const
export type Color = keyof typeof codes

export type Paint = (color: Color, text: string) => string

/** Of standard output, or of standard error. */
export function paintOf(io: Io, stream: 'stdout' | 'stderr' = 'stdout'): Paint {
  const tty = stream === 'stdout' ? io.stdoutIsTty : io.stderrIsTty
  const wanted = tty && (io.env['NO_COLOR'] ?? '') === '' && fromEnvironment(io, 'CLI_NO_COLOR') === undefined && io.env['TERM'] !== 'dumb'
  return wanted ? (color, text) => `\u001b[${codes[color]}m${text}\u001b[0m` : (_, text) => text
}
