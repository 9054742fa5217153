/** What every room logs through. `fields` are structured, and never carry a secret, a token, a key or a request body. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
  /** A logger that adds `fields` to each of its lines. */
  child(fields: object): Logger
}

/** Swallows everything: for tests and for code that is given no logger. */
export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLogger,
}
