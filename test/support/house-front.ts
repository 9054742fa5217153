/** A core of the tests behind a plain HTTP server: what a listener does, as far as clients in tests need it. */
import type { openHouse } from './core-house.ts'
import { StubServer, type Asked, type Reply } from './stub-server.ts'

const operations: Readonly<Record<string, 'read' | 'update' | 'patch' | 'delete'>> = {
  GET: 'read',
  PUT: 'update',
  POST: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
}

export type House = Awaited<ReturnType<typeof openHouse>>

/** `instead`: answers before the core is asked; undefined from it: the core answers. The caller stops the server. */
export const frontOf = (house: House, instead: (asked: Asked) => Reply | undefined = () => undefined): Promise<StubServer> =>
  StubServer.start(async (asked) => {
    const reply = instead(asked)
    if (reply !== undefined) return reply
    const { method, path, query, headers, body } = asked
    const listing = query['list'] === 'true'
    const answer = await house.node.ask({
      operation: listing ? 'list' : (operations[method] ?? 'read'),
      method,
      path: listing && !path.endsWith('/') ? `${path}/` : path,
      query,
      token: String(headers['x-vault-token'] ?? ''),
      namespace: String(headers['x-vault-namespace'] ?? ''),
      body: (body ?? {}) as Record<string, unknown>,
      clientAddress: '127.0.0.1',
    })
    return { status: answer.status, text: answer.text }
  })
