/** The policy that one request needs, for `-output-policy`. */
import type { Call, RawAnswer } from '#client/types.ts'

function capabilitiesOf({ method, query }: Call): readonly string[] {
  if (query?.['scan'] === 'true') return ['scan']
  if (query?.['list'] === 'true') return ['list']
  // Whether a write makes something or changes it is the server's to find: a policy that is to allow it has both.
  if (method === 'POST' || method === 'PUT') return ['create', 'update']
  return { GET: ['read'], HEAD: ['read'], PATCH: ['patch'], DELETE: ['delete'] }[method]
}

/** True if the server says of the path that it needs sudo; false where nobody can be asked. */
async function needsSudo(path: string, send: (call: Call) => Promise<RawAnswer>): Promise<boolean> {
  try {
    const answer = await send({ method: 'GET', path, query: { help: '1' }, retry: false, wrapTtl: '' })
    return JSON.stringify(answer.json?.['openapi'] ?? answer.json?.data?.['openapi'] ?? null).includes('"x-vault-sudo":true')
  } catch {
    return false // No server: the policy is right but for sudo, which few paths need.
  }
}

export async function policyFor(call: Call, namespace: string | undefined, send: (call: Call) => Promise<RawAnswer>): Promise<string> {
  const asked = call.path.replace(/^\/+/, '')
  const needed = capabilitiesOf(call)
  // A LIST is matched with its slash, which the server adds where it is missing.
  const path = /^(?:list|scan)$/.test(needed[0] ?? '') ? `${asked.replace(/\/+$/, '')}/` : asked
  const capabilities = [...needed, ...((await needsSudo(path, send)) ? ['sudo'] : [])]
  const where = namespace === undefined ? '' : `# in the namespace ${namespace}/\n`
  return `${where}path ${JSON.stringify(path)} {\n  capabilities = [${capabilities.map((one) => `"${one}"`).join(', ')}]\n}\n`
}
