/** Sends cases and says what is wrong with the answers; counts them by route. */
import type { Case, Document, Sender, Sent } from './sender.ts'

interface Problem {
  readonly what: string
  readonly route: string
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly answer: string
}

/** These end what the run stands on, never end themselves, or take minutes: they are in the last run, or in the tour. */
const apart: ReadonlySet<string> = new Set([
  'POST /sys/seal',
  'POST /sys/step-down',
  'POST /auth/token/revoke-self',
  'GET /sys/monitor',
  'POST /sys/storage/raft/snapshot',
  'POST /sys/storage/raft/snapshot-force',
])

/** For these the password hash is the work, by intention some tens of milliseconds each: a part of the cases is enough. */
const dear = /^\/auth\/people\/(login|users)(\/|$)/

interface Field {
  readonly 'x-vault-displaySensitive'?: boolean
}

/** Every operation of a document: 'METHOD /path'. */
export const operationsOf = ({ paths }: Document): string[] =>
  Object.entries(paths).flatMap(([path, item]) =>
    ['get', 'post', 'patch', 'delete'].flatMap((method) => (method in item ? [`${method.toUpperCase()} ${path}`] : [])),
  )

export class Judge {
  document: Document = { paths: {} }
  readonly problems: Problem[] = []
  /** Of the server that is asked now. */
  #sender: Sender
  readonly #counts = new Map<string, Map<number, number>>()
  #requests = 0
  #serial = 0

  constructor(sender: Sender) {
    this.#sender = sender
  }

  /** Asks another server from now on, which has these routes besides. */
  goOn(sender: Sender, { paths }: Document): void {
    this.#sender = sender
    this.document = { ...this.document, paths: { ...this.document.paths, ...paths } }
  }

  async send(each: Case, who: 'root' | 'limited'): Promise<void> {
    const route = `${each.method} ${each.template}`
    if (apart.has(route) || (dear.test(each.template) && this.#sender.random() < 0.7)) return
    const path = this.#sender.pathOf(each, this.document.paths[each.template])
    const { body, marked } = this.#marked(each)
    try {
      const sent = await this.#sender.request(each.method, path, { body, token: this.#sender.tokenOf(who) })
      this.note(route, sent, { path, body, marked })
    } catch (error) {
      this.problems.push({ what: `no answer: ${(error as Error).message}`, route, path, body, answer: '' })
    }
  }

  /** Counts an answer, and looks at it. */
  note(
    route: string,
    { status, text }: Sent,
    { path, body, marked = [] }: { path: string; body?: unknown; marked?: readonly string[] },
  ): void {
    this.#requests += 1
    const counts = this.#counts.get(route) ?? new Map<number, number>()
    counts.set(status, (counts.get(status) ?? 0) + 1)
    this.#counts.set(route, counts)
    const problem = (what: string): void => void this.problems.push({ what, route, path, body, answer: text.slice(0, 400) })
    if (status === 500) problem('500')
    if (status >= 400 && [...this.#sender.secrets, ...marked].some((secret) => text.includes(secret))) problem('a secret in an error')
  }

  /** Now and then the example's body; what the document calls sensitive carries a mark that no error may repeat. */
  #marked(each: Case): { body: unknown; marked: string[] } {
    const operation = this.document.paths[each.template]?.[each.method.toLowerCase()] as
      | { requestBody?: { content: Record<string, { example?: object; schema?: { properties?: Record<string, Field> } }> } }
      | undefined
    const content = Object.values(operation?.requestBody?.content ?? {})[0]
    const { example, schema } = content ?? {}
    if (typeof each.body !== 'object' || each.body === null || Array.isArray(each.body)) return { body: each.body, marked: [] }
    const body: Record<string, unknown> = {
      ...(each.body as object),
      ...(example !== undefined && this.#sender.random() < 0.4 ? example : {}),
    }
    const marked: string[] = []
    for (const [name, field] of Object.entries(schema?.properties ?? {})) {
      if (field['x-vault-displaySensitive'] !== true || typeof body[name] !== 'string') continue
      const mark = `sensitive-${(this.#serial += 1)}-mark`
      body[name] = mark
      marked.push(mark)
    }
    return { body, marked }
  }

  /** What the server's own log says of requests that failed without a code, or of a process that ended. */
  readLog(text: string): void {
    for (const line of text.split('\n')) {
      if (line.includes('in a way that no error code names') || line.includes('uncaught')) {
        this.problems.push({ what: 'in the log', route: '', path: '', answer: line.slice(0, 600) })
      }
    }
  }

  /** Whether it was ever answered with 2xx. */
  succeeded(route: string): boolean {
    return [...(this.#counts.get(route)?.keys() ?? [])].some((status) => status >= 200 && status < 300)
  }

  get requests(): number {
    return this.#requests
  }

  get operations(): string[] {
    return operationsOf(this.document)
  }

  result() {
    const statuses: Record<string, number> = {}
    for (const counts of this.#counts.values()) for (const [status, count] of counts) statuses[status] = (statuses[status] ?? 0) + count
    const all = this.operations
    return {
      requests: this.#requests,
      operations: all.length,
      statuses,
      problems: this.problems.length,
      without_success: all.filter((route) => !this.succeeded(route)),
      by_route: Object.fromEntries(
        all.map((route) => [route, Object.fromEntries([...(this.#counts.get(route) ?? [])].toSorted(([a], [b]) => a - b))]),
      ),
    }
  }
}
