/** Seeded bugs in what a peer without the barrier's key is not believed in. */
import type { Mutant } from './types.ts'

const file = 'test/unit/replica/unproven.test.ts'
const links = 'src/replica/links.ts'
const chain = 'src/replica/chain.ts'

export const unprovenMutants: readonly Mutant[] = [
  {
    id: 'mac-not-compared',
    failures: [34],
    file: links,
    find: '  if (link.parts === null) return false\n',
    replace: '  if (link.parts === null || link.mac.length > 0) return link.parts !== null\n',
    breaks: 'whatever a peer calls a command is one',
    killedBy: { simulator: true, test: `${file}::takes no command` },
  },
  {
    id: 'mac-of-any-place',
    failures: [34],
    file: links,
    find: 'return isProven(authenticator, link.statement, scope, [entry.index, entry.term, link.prev, ...link.parts], link.mac)',
    replace:
      'return [0, 1, -1].some((by) => isProven(authenticator, link.statement, scope, [entry.index + by, entry.term, link.prev, ...(link.parts ?? [])], link.mac))',
    breaks: 'what was once said at one place is believed at the next',
    killedBy: { test: `${file}::takes no command` },
  },
  {
    id: 'links-left-out',
    failures: [34],
    file: chain,
    find: '|| begins(link)\n',
    replace: '|| link.mac.length > 0\n',
    breaks: 'a leader may leave out commands that others have',
    killedBy: {
      test: `${file}::follows nobody who leaves a link out: a genuine command that does not continue what is applied stops it`,
    },
  },
  {
    id: 'membership-unsigned',
    failures: [34],
    file: links,
    find: "change.joint === 'leave' && change.steps.length === 0 && change.context.length === 0",
    replace: 'change.steps.length < 2',
    breaks: 'anybody who leads changes who the members are',
    killedBy: {
      simulator: true,
      test: `${file}::takes no change of the membership that no unsealed leader made, and no update beside the leaving of a joint one`,
    },
  },
  {
    id: 'opened-unchecked',
    failures: [34],
    file: chain,
    find: '    this.#check(meta, authenticator)\n    this.#authenticator = authenticator\n',
    replace: '    if (meta.applied < 0) this.#check(meta, authenticator)\n    this.#authenticator = authenticator\n',
    breaks: 'a node serves what it took while it was sealed, whoever made it',
    killedBy: { test: `${file}::applies what it is told, and finds out when it is opened: it stays sealed and says so` },
  },
  {
    id: 'read-index-unproven',
    failures: [10, 34],
    file: 'src/replica/driver.ts',
    find: "if (isProven(authenticator, 'read index', this.#scope(), answerParts(message), proof)) return true",
    replace: "if (proof === undefined || isProven(authenticator, 'read index', this.#scope(), answerParts(message), proof)) return true",
    breaks: 'somebody in the name of the leader has an unsealed node serve what is no longer true',
    killedBy: { test: `${file}::believes no read index without its proof, nor one that was made for another question` },
  },
  {
    id: 'snapshot-unproven',
    failures: [34],
    file: chain,
    find: 'if (authenticator === null || proof === null || !isStateProof(proof, authenticator, this.#options.scope()))\n      throw refusedSnapshot',
    replace:
      'if (proof !== null && (authenticator === null || !isStateProof(proof, authenticator, this.#options.scope())))\n      throw refusedSnapshot',
    breaks: 'an unsealed node installs the state of whoever sends one',
    killedBy: { simulator: true, test: `${file}::installs no snapshot without a proof, nor with that of another state` },
  },
  {
    id: 'snapshot-of-another-proof',
    failures: [34],
    file: chain,
    find: 'if (proof === null || !speaksOf(proof, meta)) throw',
    replace: 'if (proof !== null && proof.length === 0) throw',
    breaks: 'an old proof carries any state in',
    killedBy: { test: `${file}::installs no snapshot without a proof, nor with that of another state` },
  },
  {
    id: 'terms-without-bound',
    failures: [7],
    file: 'src/replica/term-guard.ts',
    find: 'return term <= own + this.#allowance',
    replace: 'return term >= 0 && own >= 0',
    breaks: 'one message brings the cluster to the end of all terms',
    killedBy: {
      simulator: true,
      test: `${file}::raises its term no faster than elections can, however far a peer's request reaches`,
    },
  },
  {
    id: 'log-dropped-unchecked',
    failures: [21],
    file: chain,
    find: 'return markFrom(this.#options.state.meta.chain).base?.index ?? Infinity',
    replace: 'return Infinity + (markFrom(this.#options.state.meta.chain).base?.index ?? 0)',
    breaks: 'a node that was sealed for long can never be opened again: what it must check is gone',
    killedBy: {
      test: `${file}::keeps of its log what it has not checked, until a leader has vouched for a state that it had too`,
    },
  },
]
