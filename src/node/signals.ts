import type { Logger } from '#base/logger.ts'

export interface SignalOptions {
  readonly log: Logger
  /** SIGHUP: read certificates, log level and audit files again. What it throws is logged; the old ones stay in use. */
  readonly onHangup: () => void
}

/**
 * Resolves once the process is told to stop: SIGTERM, SIGINT, or the end of its lifeline (standard input, when HOLDFAST_LIFELINE says so: a
 * development cluster must not outlive the launcher, however that dies).
 */
export function waitForSignals({ log, onHangup }: SignalOptions): Promise<void> {
  process.on('SIGHUP', () => {
    try {
      onHangup()
      log.info({}, 'read again on SIGHUP: certificates, log level, audit files')
    } catch (error) {
      log.error({ error: (error as Error).message }, 'SIGHUP: could not read everything again; the old stays in use')
    }
  })
  const lifeline = process.env['HOLDFAST_LIFELINE'] === 'stdin'
  return new Promise((resolve) => {
    const stop = (why: string) => (): void => {
      log.info({ why }, 'stopping')
      // As long as it is read, it keeps the process alive: after an orderly stop the node would wait until its launcher kills it.
      if (lifeline) process.stdin.pause()
      resolve()
    }
    // Stay registered: a second signal while draining must not kill the process half-way.
    process.on('SIGTERM', stop('SIGTERM'))
    process.on('SIGINT', stop('SIGINT'))
    if (!lifeline) return
    process.stdin.on('error', stop('lifeline broke'))
    process.stdin.on('end', stop('lifeline ended'))
    process.stdin.resume()
  })
}
