/** Which namespace a token says that it is of: by its end, 's.RANDOM.ID'. Says nothing of whether there is such a token. */
import { rootNamespace } from '#namespaces/record.ts'

export const rootId = rootNamespace.id

const ofNamespace = /^s\.[0-9A-Za-z]{24}\.([0-9A-Za-z]{6})$/

/** The id of the namespace; the root's for every other text. */
export const namespaceOfToken = (token: string): string => ofNamespace.exec(token)?.[1] ?? rootId
