/**
 * The fault table of the design, row by row, and the counters that show that each happened. A run of 1,000 seeds or more fails where one of them
 * stands at zero; docs/internals/simulator.md has the same table, and a test holds the two together.
 */
import type { FaultRows } from '../result.ts'

export const faultRows: FaultRows = {
  'loss, delay': ['loss', 'late', 'reorder'],
  'reordered, duplicated, very late delivery': ['reorder', 'duplicate', 'late', 'late-after-restart', 'late-after-removal'],
  'symmetric partition': ['partition-halves', 'partition-isolate'],
  'asymmetric partition': ['partition-asymmetric', 'partition-link'],
  'non-transitive partition (bridge)': ['partition-bridge'],
  'flapping links, broken streams': ['flap', 'unreachable'],
  'crash with loss of unsynced writes': ['power', 'power-all', 'unsynced-lost'],
  'crash at a step of the disk': ['crash-point'],
  'killed process': ['kill'],
  'torn batch': ['torn-write'],
  'bit rot': ['bit-rot', 'silent-hole', 'wrong-value'],
  'misdirected record': ['misdirected'],
  'stale record, stale file': ['stale-record', 'stale-file'],
  'dropped record': ['dropped-record'],
  'lost file': ['lost-file'],
  'truncated tail': ['truncated-tail'],
  'damage detected': ['damage-detected'],
  'fsync error, then a clean page': ['fsync-error'],
  'disk full': ['disk-full'],
  'EIO on read': ['read-error'],
  'slow disk': ['slow-disk'],
  'process pause, tick burst': ['pause'],
  'clock skew and jumps': ['clock-rate', 'clock-jump'],
  'membership changes': ['membership-add', 'membership-remove', 'membership-demote', 'membership-promote', 'replaced'],
  'transfer, snapshot, compaction, restart': ['transfer', 'snapshot-installed', 'compaction', 'restart', 'stop'],
  'broken or changed snapshot': ['snapshot-broken', 'snapshot-rots'],
  'sealing and unsealing': ['seal', 'unseal'],
  'disk wipe with the same id': ['wipe'],
  "a member's identity without the key": ['forged-command', 'forged-membership', 'forged-read', 'forged-snapshot', 'forged-term'],
  'mixed versions, rolling upgrade and back': [
    'upgrade',
    'downgrade',
    'mixed',
    'downgrade-too-late',
    'upgrade-required',
    'level-raised',
    'next-format-snapshot',
  ],
  'mixed settings': ['mixed-settings'],
  'permanent minority loss, then liveness': ['minority-lost'],
}
