import type { Logger } from '#base/logger.ts'

export interface SignalOptions {
  readonly log: Logger
  /** SIGHUP: what is to be read again, by its name in the log. Each on its own: a broken certificate must not keep the audit from a new file. */
  readonly onHangup: readonly (readonly [what: string, readAgain: () => void | Promise<void>])[]
}

export interface SignalWatch {
  /** Resolves once the process is told to stop. */
  readonly told: Promise<'told'>
  wasTold(): boolean
  /** Lets the process end by itself; for a start that failed. */
  release(): void
}

/**
 * Listens for the signals: told to stop is SIGTERM, SIGINT, or the end of its lifeline (standard input, when HOLDFAST_LIFELINE says so: a
 * development cluster must not outlive the launcher, however that dies).
 */
export function watchSignals({ log, onHangup }: SignalOptions): SignalWatch {
  process.on('SIGHUP', () => void hangup(log, onHangup))
  const lifeline = process.env['HOLDFAST_LIFELINE'] === 'stdin'
  // As long as it is read, it keeps the process alive: a node that has stopped would wait until its launcher kills it.
  const release = (): void => void (lifeline && process.stdin.pause())
  let wasTold = false
  const told = new Promise<'told'>((resolve) => {
    const stop = (why: string) => (): void => {
      log.info({ why }, 'stopping')
      wasTold = true
      release()
      resolve('told')
    }
    // Stay registered: a second signal while draining must not kill the process half-way.
    process.on('SIGTERM', stop('SIGTERM'))
    process.on('SIGINT', stop('SIGINT'))
    if (!lifeline) return
    process.stdin.on('error', stop('lifeline broke'))
    process.stdin.on('end', stop('lifeline ended'))
    process.stdin.resume()
  })
  return { told, wasTold: () => wasTold, release }
}

/** Never rejects. */
async function hangup(log: Logger, steps: SignalOptions['onHangup']): Promise<void> {
  for (const [what, readAgain] of steps) {
    try {
      await readAgain()
      log.info({ what }, 'read again on SIGHUP')
    } catch (error) {
      log.error({ what, error: (error as Error).message }, 'SIGHUP: could not be read again; the old stays in use')
    }
  }
}
