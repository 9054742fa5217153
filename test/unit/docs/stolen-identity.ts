/** What somebody can do who has copied a member's identity and does not have the barrier's key: the rows of docs/internals/stolen-identity.md. */
import type { Shown } from './shown.ts'

export interface Deed {
  readonly tries: string
  /** What comes of it. */
  readonly gets: string
  readonly shown: readonly Shown[]
}

const unproven = 'unit/replica/unproven.test.ts'
const trust = 'unit/transport/trust.test.ts'
const forwarding = 'unit/node/forwarding.test.ts'
const forged = 'unit/barrier/forged.test.ts'
const renewal = 'unit/node/renewal.test.ts'
const thief = 'e2e/thief.test.ts'
const simulator = 'unit/simulator/cluster.test.ts::a few seeds are clean, and do what they are for'

const deed = (tries: string, gets: string, ...shown: readonly Shown[]): Deed => ({ tries, gets, shown })

/** What works. */
export const could: readonly Deed[] = [
  deed(
    'connects to the other nodes as the member',
    'is served, for as long as the membership names its key: an expired certificate does not end that',
    `${trust}::a member is served; strangers of the same CA, of another CA, and without a certificate are not`,
    `${trust}::an expired certificate, or one of another CA, of a member's key warns and connects`,
  ),
  deed(
    'listens to what a member is sent: entries, snapshots, addresses',
    'sees ciphertext, lengths, times, members and addresses; no name, value, token or path',
    'unit/barrier/barrier.test.ts::what is written is read back, here and on a follower; nothing of it is readable below',
    `${forwarding}::shows the network, and whoever leads without the key, neither token nor answer`,
    `${thief}::is sent ciphertext: what he acknowledges as a member holds no value, name or token`,
  ),
  deed(
    'votes, acknowledges, campaigns and leads in its name',
    'is followed, as long as it says nothing: progress stops, what it acknowledged falsely may be lost, and it serves nobody',
    `${unproven}::still takes an empty entry of whoever leads: it says nothing`,
  ),
  deed(
    'asks for votes in far terms',
    'raises the term by a million at once, and from then on no faster than elections could',
    `${unproven}::raises its term no faster than elections can, however far a peer's request reaches`,
    simulator,
  ),
  deed(
    'leaves a genuine command out before a node that lags',
    'stops that node, which says why; it serves nothing of it',
    `${unproven}::follows nobody who leaves a link out: a genuine command that does not continue what is applied stops it`,
  ),
  deed(
    'leads nodes that are sealed',
    'has them apply what it likes, until somebody wants to open them: then they stay sealed and say so, also after a restart',
    `${unproven}::applies what it is told, and finds out when it is opened: it stays sealed and says so`,
    `${unproven}::finds out after a restart as well, and in what it took from a leader that left links out`,
  ),
  deed(
    'puts an entry into the log of a node that is sealed, or that waits for the state of an order to restore',
    'has it take the genuine one of that index and term for what it holds already: what it acknowledges from there on is as false as what the thief acknowledges himself, and may be lost',
    `${unproven}::takes the genuine entry of the same index and term for what it holds already, and acknowledges it`,
  ),
  deed(
    'asks for a new certificate',
    'gets one for the key that it stole, and for no other',
    `${renewal}::no member gets a certificate for a key that is not its own`,
    `${thief}::forwards requests of his own making, and is refused by every node; a new certificate is of the key that he stole`,
  ),
]

/** What does not. */
export const couldNot: readonly Deed[] = [
  deed(
    'leads, and answers who renews its certificate by an authority of its own',
    'is not believed: members know the authority from behind their own barrier, and let in nobody whom another one certifies',
    `${renewal}::a leader that sends its authority along is not believed; of what it sends the certificate alone is kept`,
    `${renewal}::nobody is believed about the authority: neither the leader, nor whatever else lies there`,
  ),
  deed(
    'forges commands: unsigned, under a key of its own, of another index or term, with a section changed',
    "none gets into an unsealed node's log",
    `${unproven}::takes no command %s into its log`,
    simulator,
    `${thief}::leads for a moment, and nothing that he says is taken: no command, no membership, no snapshot`,
  ),
  deed(
    'changes the membership, or slips an update into the leaving of a joint one',
    'nobody joins, leaves or changes its key',
    `${unproven}::takes no change of the membership that no unsealed leader made, and no update beside the leaving of a joint one`,
    simulator,
  ),
  deed(
    'answers read indexes, by itself or with what it overheard',
    'nobody believes them: no stale read',
    `${unproven}::believes no read index without its proof, nor one that was made for another question`,
    simulator,
    `${thief}::holds a node as its leader and answers its questions: no read of it is older than what was acknowledged`,
  ),
  deed(
    'sends a snapshot of its own making, or a genuine one with something moved, cut, left out or put in',
    'it is refused as a whole',
    `${unproven}::installs no snapshot without a proof, nor with that of another state`,
    `${forged}::snapshots: with anything moved, cut, left out or put in, of another state or cluster, or broken on the way`,
    simulator,
  ),
  deed(
    'gives sealed nodes a snapshot, and hopes that they open with it',
    'without a proof nobody takes it; with a forged one a sealed node does, and does not open',
    `${unproven}::takes no snapshot that nobody vouches for: it keeps what it can check itself, and takes one that somebody does`,
  ),
  deed(
    'forwards requests, with client addresses and certificates of its choice, or answers those that it is forwarded',
    'refused before they are read; who forwarded to it learns that the outcome is not known',
    `${forwarding}::is believed only from a node that holds the barrier's key, for whom and from whom it was made`,
    `${forged}::forwarded requests: cut, bent, of another sender, receiver, direction or cluster`,
    `${thief}::forwards requests of his own making, and is refused by every node; a new certificate is of the key that he stole`,
  ),
  deed(
    'says again what was once said: at another place of the log, of a snapshot, of a forwarding',
    'it is bound to its place, and refused elsewhere',
    `${unproven}::takes no command %s into its log`,
    `${forged}::values: every record at every other place`,
    `${forged}::names: a key under another folder, mount or namespace, bent or cut, is listed by nobody`,
  ),
  deed(
    'alters what lies on the disk that it stole with it: values, names, keyring, wrapped root key',
    'nothing opens that was not made for its place',
    `${forged}::values: cut at every length, lengthened, and with bits flipped anywhere`,
    `${forged}::name keys: cut, bent, or those of another namespace`,
    `${forged}::the keyring and the wrapped root key: whatever stands in their place opens nothing`,
    `${forged}::root keys that an auto seal wrapped: not of another place, not cut, not bent`,
  ),
  deed(
    'asks for the key of a namespace with its own seal, or says again what another node asked',
    "nothing: no request that was not made under a key of the barrier is answered. Another node's, said again under that node's name, is answered with bytes that the thief can't open, that no other question takes, and that hold no key once the namespace was sealed in between",
    `unit/node/namespace-keys.test.ts::a thief with a node's identity who says once more what that node said gets an answer that he can't read, and that no other question takes`,
    `unit/node/namespace-keys.test.ts::who has no key of the barrier is told nothing; another asker, an old request and another generation get nothing`,
  ),
  deed(
    'speaks as another member, or for another cluster',
    'refused: a key speaks for one node',
    `${trust}::a member may not speak as another node, nor for another cluster`,
  ),
  deed(
    'waits at the address of another member',
    'nobody speaks to it: the key is looked at in both directions',
    `${trust}::a server with another key than that of the peer dialled is not spoken to`,
  ),
  deed(
    'goes on after `operator raft remove-peer`',
    'its connections end at once, in both directions, and it may not come back',
    `${trust}::a peer that is removed is cut off at once, in both directions, and may not come back`,
    `${thief}::is cut off by remove-peer: from then on he hears nothing and is answered nothing`,
  ),
]
