/**
 * Cubbyhole: storage of a token's own. Everything lies under the hash of the token's id, so no other token reaches it, and
 * revoking the token deletes it (tokens do that in the same transaction).
 */
import { HoldfastError } from '#base/errors.ts'
import type { EngineDef, HandlerContext, PathDef } from '#core/types.ts'
import { pageOf } from '../kv/list.ts'

const fields = {
  path: { type: 'string', in: 'path', description: 'Where in the cubbyhole.', example: 'mine' },
} as const

function ownPath(context: HandlerContext): string {
  // Of a token of a namespace above nothing would take it away here when that token ends.
  if (context.token?.namespaceId !== context.mount.namespaceId) throw new HoldfastError('ERR_PERMISSION_DENIED', 'permission denied')
  if (context.token.type === 'batch') {
    throw new HoldfastError('ERR_BAD_REQUEST', 'cubbyhole operations are only supported by "service" type tokens')
  }
  const path = (context.fields.path as string | undefined) ?? ''
  return path === '' ? context.token.idHash : `${context.token.idHash}/${path}`
}

const paths: readonly PathDef[] = [
  {
    pattern: ':path*?',
    fields,
    freeForm: true,
    help: { synopsis: "A secret of the token's own.", description: 'Only the token that wrote it can read it; it ends with the token.' },
    exists: async (context) => (await context.storage.get(ownPath(context))) !== null,
    operations: {
      read: {
        summary: 'Read a secret',
        writes: false,
        handler: async (context) => {
          const data = await context.storage.getJson<Record<string, unknown>>(ownPath(context))
          return data === null ? null : { data }
        },
      },
      update: {
        summary: 'Write a secret',
        example: { note: 'for me' },
        writes: true,
        handler: async (context) => {
          if (!context.fields.path) throw new HoldfastError('ERR_BAD_REQUEST', 'missing path')
          if (Object.keys(context.data).length === 0) throw new HoldfastError('ERR_BAD_REQUEST', 'missing data fields')
          context.storage.putJson(ownPath(context), context.data)
          return null
        },
      },
      delete: {
        summary: 'Delete a secret',
        writes: true,
        handler: async (context) => {
          context.storage.delete(ownPath(context))
          return null
        },
      },
      list: {
        summary: 'List keys (query: after, limit)',
        writes: false,
        // Read by hand, as in kv version 1: declared as fields they would be taken out of the secrets that use these names.
        handler: async (context) => {
          const { after, limit } = context.request.query
          return { data: { keys: await context.storage.list(ownPath(context), pageOf(after, limit)) } }
        },
      },
    },
  },
]

export const cubbyholeEngine: EngineDef = {
  type: 'cubbyhole',
  kind: 'secret',
  description: 'per-token private secret storage',
  paths: () => paths,
}
