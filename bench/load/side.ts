/** One server, or cluster of servers, that is measured: Holdfast of this or another work tree, OpenBao, etcd, a bare node:http, or any address. */
import type { Api } from '#cmd/dev/api.ts'
import type { ServerProcess } from './processes.ts'

export interface Side {
  readonly label: string
  /** `v1`: Vault's API. */
  readonly dialect: 'v1' | 'etcd' | 'bare'
  /** What the load goes to, dealt to the connections in turn. */
  readonly addresses: readonly string[]
  /** What is set up through. */
  readonly control: string
  readonly token: string | null
  readonly caPath: string | null
  readonly version: string
  readonly processes: readonly ServerProcess[]
  /** True: started by this run, so that nothing needs to be removed from it. */
  readonly own: boolean
  readonly api: Api
  /** Ends one of its processes, starts it again, and returns the seconds until it served; null: not ours to do. */
  readonly restart: (() => Promise<number>) | null
  stop(): Promise<void>
}

/** One call that must succeed. @throws Error that says what was asked, and what the server said; no token is in it. */
export async function must(side: Side, method: string, path: string, body?: object): Promise<Record<string, unknown>> {
  const options = { timeoutMs: 60_000, ...(side.token === null ? {} : { token: side.token }), ...(body === undefined ? {} : { body }) }
  const answer = await side.api.call(side.control, method, path, options).catch((error: unknown) => {
    const { code, cause } = error as NodeJS.ErrnoException
    const why = code ?? (cause as NodeJS.ErrnoException | undefined)?.code ?? (error as Error).name
    throw new Error(
      `${side.label}: expected an answer from ${side.control}, got ${why}\nhint: is the server up, and is it http or https there?`,
      {
        cause: error,
      },
    )
  })
  if (answer.status < 300) return answer.body ?? {}
  const said = (answer.body?.['errors'] as string[] | undefined)?.join('; ') ?? ''
  throw new Error(`${side.label}: ${method} ${path} expected 2xx, got ${answer.status}: ${said}${hintFor(answer.status)}`)
}

function hintFor(status: number): string {
  if (status === 403)
    return '\nhint: the token was refused; it must be able to mount, to write policies and to create tokens (a root token does)'
  if (status === 404) return '\nhint: is this the address of a server that speaks /v1, without a path?'
  if (status === 503) return '\nhint: the server is sealed, or has no leader just now'
  return ''
}
