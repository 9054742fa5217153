/** From a parsed value to the type that its key has, or what was wrong with it. */
import ipaddr from 'ipaddr.js'
import { parseDurationMs } from '#base/duration.ts'
import type { HclNode } from '#base/hcl.ts'
import { parseHostPort } from '#base/host-port.ts'
import type { KeyDef } from './key.ts'

export type Converted = { readonly value: unknown } | { readonly expected: string; readonly got: string }

/** The value as the key's type; null stays null (absent). Never quotes a secret. */
export function convert(node: HclNode, def: KeyDef<unknown>): Converted {
  if (def.kind === 'any') return { value: true }
  if (node.kind === 'null') return { value: null }
  const value = valueOf(node, def)
  return value === undefined ? { expected: expectation(def), got: shown(node, def) } : { value }
}

function valueOf(node: HclNode, def: KeyDef<unknown>): unknown {
  switch (def.kind) {
    case 'string':
      return node.kind === 'number' ? String(node.value) : node.kind === 'string' ? node.value : undefined
    case 'choice':
      return node.kind === 'string' && def.choices?.includes(node.value) ? node.value : undefined
    case 'bool':
      return boolOf(node)
    case 'int':
      return intOf(node, def)
    case 'duration':
      return durationOf(node)
    case 'list':
      return listOf(node)
    case 'cidrs': {
      const entries = listOf(node)
      return entries?.every(isCidr) ? entries : undefined
    }
    case 'url':
      return node.kind === 'string' ? urlOf(node.value) : undefined
    case 'address':
      return node.kind === 'string' && isAddress(node.value) ? node.value : undefined
    case 'any':
      return true
  }
}

const yes = new Set(['true', '1', 't', 'yes', 'on'])
const no = new Set(['false', '0', 'f', 'no', 'off'])

function boolOf(node: HclNode): boolean | undefined {
  if (node.kind === 'bool') return node.value
  if (node.kind !== 'string' && node.kind !== 'number') return undefined
  const word = String(node.value).toLowerCase()
  return yes.has(word) ? true : no.has(word) ? false : undefined
}

function intOf(node: HclNode, def: KeyDef<unknown>): number | undefined {
  const number =
    node.kind === 'number' ? node.value : node.kind === 'string' && /^-?\d{1,15}$/.test(node.value) ? Number(node.value) : Number.NaN
  const inRange = Number.isSafeInteger(number) && number >= (def.min ?? -Infinity) && number <= (def.max ?? Infinity)
  return inRange ? number : undefined
}

function durationOf(node: HclNode): number | undefined {
  if (node.kind !== 'string' && node.kind !== 'number') return undefined
  try {
    return parseDurationMs(node.value)
  } catch {
    return undefined
  }
}

function listOf(node: HclNode): string[] | undefined {
  if (node.kind === 'string') {
    const entries = node.value.split(',').map((entry) => entry.trim())
    return entries.filter((entry) => entry !== '')
  }
  if (node.kind !== 'list') return undefined
  const entries: string[] = []
  for (const element of node.elements) {
    if (element.kind !== 'string') return undefined
    entries.push(element.value)
  }
  return entries
}

function isCidr(entry: string): boolean {
  if (entry.includes('/')) return ipaddr.IPv6.isValidCIDR(entry) || ipaddr.IPv4.isValidCIDRFourPartDecimal(entry)
  return ipaddr.IPv6.isValid(entry) || ipaddr.IPv4.isValidFourPartDecimal(entry)
}

function urlOf(text: string): string | undefined {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) return undefined
  const url = new URL(text)
  if (url.username !== '' || url.search !== '' || url.hash !== '') return undefined
  return text.replace(/\/+$/, '')
}

function isAddress(text: string): boolean {
  try {
    parseHostPort(text)
    return true
  } catch {
    return false
  }
}

function expectation(def: KeyDef<unknown>): string {
  switch (def.kind) {
    case 'choice':
      return `one of ${(def.choices ?? []).map((word) => JSON.stringify(word)).join(', ')}`
    case 'bool':
      return 'true or false'
    case 'int':
      return `a whole number${def.min === undefined ? '' : ` of at least ${def.min}`}${def.max === undefined ? '' : ` and at most ${def.max}`}`
    case 'duration':
      return 'a duration such as "30s", "1h30m" or seconds'
    case 'list':
      return 'a list of strings'
    case 'cidrs':
      return 'a list of addresses or CIDRs such as "10.0.0.0/8"'
    case 'url':
      return 'a URL such as "https://node1.example:8200"'
    case 'address':
      return 'HOST:PORT such as "0.0.0.0:8200"'
    case 'string':
    case 'any':
      return 'a string'
  }
}

const shownCharsMax = 60

function shown(node: HclNode, def: KeyDef<unknown>): string {
  const article = node.kind === 'object' ? 'an' : 'a'
  if (def.secret === true || node.kind === 'list' || node.kind === 'object') return `${article} ${node.kind}`
  return JSON.stringify(node.value).slice(0, shownCharsMax)
}
