/** True in `npm run test:full` (HOLDFAST_FULL=1): what only repeats a finding, more often or behind another part, is left out of CI's half hour. */
export const full = process.env['HOLDFAST_FULL'] === '1'
