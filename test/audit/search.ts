/**
 * Looks for secrets in all audit files that the end-to-end tests left (test/support/keep-audit.ts): every token, key, password and value of a secret that went
 * between them and their servers, as it is, in hex and base64. A mark that is planted in a copy of one of these files must be found by the same search.
 *
 *   AUDIT_KEEP=/tmp/kept npm run e2e
 *   node test/audit/search.ts /tmp/kept [OUT.json]
 */
import { appendFileSync, copyFileSync, globSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { keepFigures } from '#test/support/figures.ts'
import { Searcher, textMark } from '#test/support/search.ts'

const [folder = '', out] = process.argv.slice(2)
const files = globSync(join(folder, '*.audit'))
const names = new Set<string>()
const secrets = new Set<string>()
for (const path of globSync(join(folder, '*.secrets.json'))) {
  const kept = JSON.parse(readFileSync(path, 'utf8')) as { names: string[]; secrets: string[] }
  for (const name of kept.names) names.add(name)
  for (const secret of kept.secrets) secrets.add(secret)
}
// A test may write a value that is the name of something too: a record is for names. A folder's stands in a list with its slash.
const isName = (secret: string): boolean => names.has(secret) || names.has(secret.replace(/\/$/, ''))
// When a version was made is no secret, and a record of the same millisecond says the same.
const isTime = (secret: string): boolean => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(secret)
const times = [...secrets].filter(isTime).length
const needles = [...secrets].filter((secret) => !isName(secret) && !isTime(secret))
const planted = `what-is-put-there-${'is-found'.repeat(2)}`
const searcher = new Searcher(
  [planted, ...needles].map((secret, at) => textMark(`secret ${at} (${secret.slice(0, 3)}..., ${secret.length} characters)`, secret)),
)
const hits = files.flatMap((file) => [...searcher.findInFile(file).keys()].map((hit) => `${file}: ${hit}`))
const bytes = searcher.searchedBytes
const copy = join(folder, 'copy.planted')
copyFileSync(files[0] ?? '', copy)
appendFileSync(copy, `{"time":"x","request":{"path":"secret/${planted}"}}\n`)
const plantedHits = [...searcher.findInFile(copy).keys()]
rmSync(copy)
keepFigures(out, 'audit-search', 'AUDIT_KEEP=FOLDER npm run e2e; node test/audit/search.ts FOLDER', {
  files: files.length,
  bytes,
  lines: files.reduce((sum, file) => sum + readFileSync(file, 'latin1').split('\n').length - 1, 0),
  secrets: needles.length,
  secrets_that_are_names_too: secrets.size - needles.length - times,
  times_left_out: times,
  needles: searcher.needles,
  hits: hits.length,
  planted_found: plantedHits.length,
})
for (const hit of hits.slice(0, 50)) console.log(hit)
if (hits.length > 0 || plantedHits.length === 0 || files.length === 0 || needles.length === 0) process.exitCode = 1
