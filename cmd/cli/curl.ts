/** A request as a curl command. The token is left to a variable: a command line is seen by every process of the machine. */
interface Shown {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | null
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

export function curlCommand({ method, url, headers, body }: Shown): string {
  const shown = Object.entries(headers).map(([name, value]) =>
    name === 'x-vault-token' ? '-H "X-Vault-Token: $HOLDFAST_TOKEN"' : `-H ${quote(`${name}: ${value}`)}`,
  )
  return ['curl', '-X', method, ...shown, ...(body === null ? [] : ['-d', quote(body)]), quote(url)].join(' ')
}
