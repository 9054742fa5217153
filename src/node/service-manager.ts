/**
 * What a service manager is told of this process (systemd's sd_notify(3), unit of Type=notify): that it serves its ports, and that it is about to end.
 * Node has no datagram sockets of a machine's own, so systemd's own program says it; the unit lets children speak (NotifyAccess=all).
 */
import { spawn } from 'node:child_process'
import type { Logger } from '#base/logger.ts'

export type ServiceState = 'READY=1' | 'STOPPING=1'

const program = 'systemd-notify'
/** systemd-notify waits until the manager has read it, which a manager that hangs never does. */
const notifyMsMax = 5_000

/**
 * Does nothing where nobody asked to be told (NOTIFY_SOCKET). Never throws and keeps nobody waiting: what goes wrong is logged, and the manager's own time
 * limit decides then.
 */
export function tellServiceManager(state: ServiceState, log: Logger, environment: NodeJS.ProcessEnv = process.env): void {
  const { NOTIFY_SOCKET: socket, PATH: path } = environment
  if (socket === undefined || socket === '') return
  const failed = (reason: string): void =>
    log.warn(
      { state, reason },
      `the service manager could not be told: is ${program} in the PATH, and does the unit have NotifyAccess=all?`,
    )
  const child = spawn(program, [state], {
    env: { NOTIFY_SOCKET: socket, ...(path === undefined ? {} : { PATH: path }) },
    stdio: 'ignore',
    timeout: notifyMsMax,
    killSignal: 'SIGKILL',
  })
  child.on('error', (error: NodeJS.ErrnoException) => failed(error.code ?? error.message))
  child.on('exit', (code, signal) => void (code !== 0 && failed(signal ?? `exit code ${code}`)))
  child.unref()
}
