/** Holdfast's own version. A test holds it and package.json together (a room imports nothing from outside the rooms). */
export const holdfastVersion = '0.1.0'

/** What `sys/health` and `sys/seal-status` answer: clients gate features on the API level before the plus sign. */
export const apiVersion: string = `2.6.0+holdfast.${holdfastVersion}`

/** Answered as both `build_date` and `commit_date`: the two names that clients of either peer read. */
export const buildDate: string = '2026-11-22T00:00:00Z'
