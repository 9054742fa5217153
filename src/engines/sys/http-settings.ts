/** Cross-origin rules, and headers for a web interface. */
import { HoldfastError } from '#base/errors.ts'
import { corsHeadersAlways, readCors, writeCors } from '#core/cors.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { isHeaderName, isHeaderValue } from './header-text.ts'
import { answer, field, flag, inPath, optional, path, reads, text, writes } from './table.ts'

const flags = { rootNamespaceOnly: true, sudo: true } as const
const originsMax = 256

export function httpSettingPaths(): PathDef[] {
  return [corsPath(), ...uiHeaderPaths()]
}

function corsPath(): PathDef {
  const fields = {
    enable: field('bool', 'Accepted; writing the rules is what switches them on.', { default: true, deprecated: true }),
    allowed_origins: field('list', 'Origins of pages that may read answers; "*" alone means any.', {
      required: true,
      example: ['https://console.example.com'],
    }),
    allowed_headers: field('list', 'Headers that such pages may send besides the usual ones.', { default: [], example: ['X-Custom'] }),
  }
  return path(
    'config/cors',
    'Which web pages may use this API from a browser.',
    { ...flags, injected: true, fields },
    {
      read: reads('Read', async (context) => {
        const rules = await readCors(scopeOf(context).view)
        if (rules === null) return answer({ enabled: false })
        return answer({ enabled: true, allowed_origins: rules.origins, allowed_headers: [...corsHeadersAlways, ...rules.headers] })
      }),
      update: writes('Allow these origins', async (context) => {
        writeCors(transactionOf(context), { origins: originsOf(context), headers: headersOf(context) })
        return null
      }),
      delete: writes('Allow none', async (context) => {
        writeCors(transactionOf(context), null)
        return null
      }),
    },
  )
}

function originsOf(context: HandlerContext): string[] {
  const origins = [...new Set(optional<string[]>(context, 'allowed_origins') ?? [])]
  if (origins.length === 0) throw new HoldfastError('ERR_BAD_REQUEST', 'at least one origin or the wildcard must be provided')
  if (origins.length > originsMax)
    throw new HoldfastError('ERR_BAD_REQUEST', `allowed_origins expected at most ${originsMax}, got ${origins.length}`)
  if (origins.includes('*') && origins.length > 1) {
    throw new HoldfastError('ERR_BAD_REQUEST', "to allow all origins the '*' must be the only value for allowed_origins")
  }
  if (!origins.every((origin) => origin === '*' || /^[a-z][a-z0-9+.-]*:\/\/[\x21-\x7e]{1,255}$/i.test(origin))) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'allowed_origins expected origins such as https://console.example.com, got something else')
  }
  return origins
}

function headersOf(context: HandlerContext): string[] {
  const headers = optional<string[]>(context, 'allowed_headers') ?? []
  if (headers.length <= originsMax && headers.every(isHeaderName)) return headers
  throw new HoldfastError('ERR_BAD_REQUEST', `allowed_headers expected at most ${originsMax} names of headers, got something else`)
}

interface StoredHeader {
  readonly version: 1
  readonly values: readonly string[]
}

const headerPath = (name: string): string => `ui-headers/${name.toLowerCase()}`
const headerValuesMax = 16

function uiHeaderPaths(): PathDef[] {
  const fields = {
    header: inPath('Its name.', 'X-Frame-Options'),
    values: field('list', 'Its values.', { required: true, example: ['DENY'] }),
    multivalue: field('bool', 'Answer all values, not only the first.', { default: false }),
  }
  return [
    path('config/ui/headers', 'Headers of the web interface.', flags, {
      list: reads('List', async (context) => answer({ keys: await context.storage.list('ui-headers') })),
    }),
    path(
      'config/ui/headers/:header',
      'One header of the web interface.',
      { ...flags, fields },
      {
        read: reads('Read', readHeader),
        update: writes('Write', writeHeader),
        delete: writes('Delete', async (context) => {
          context.storage.delete(headerPath(text(context, 'header')))
          return null
        }),
      },
      'Kept for the pages of a web interface; there is none yet, and answers of the API do not carry them.',
    ),
  ]
}

async function readHeader(context: HandlerContext): Promise<LogicalResponse | null> {
  const stored = await context.storage.getJson<StoredHeader>(headerPath(text(context, 'header')))
  if (stored === null) return null
  return answer(flag(context, 'multivalue') ? { values: stored.values } : { value: stored.values[0] ?? '' })
}

async function writeHeader(context: HandlerContext): Promise<null> {
  const name = text(context, 'header')
  const values = optional<string[]>(context, 'values') ?? []
  if (!isHeaderName(name)) throw new HoldfastError('ERR_BAD_REQUEST', 'header expected the name of an HTTP header, got something else')
  if (/^x-vault-/i.test(name)) throw new HoldfastError('ERR_BAD_REQUEST', 'X-Vault headers cannot be set')
  if (values.length === 0 || values.length > headerValuesMax || !values.every(isHeaderValue)) {
    throw new HoldfastError('ERR_BAD_REQUEST', `values expected 1 to ${headerValuesMax} printable texts, got something else`)
  }
  context.storage.putJson(headerPath(name), { version: 1, values } satisfies StoredHeader)
  return null
}
