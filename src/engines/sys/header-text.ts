/** What may stand in an HTTP header, by the standard's grammar: anything else would be refused when it is sent, long after it was written. */
export const isHeaderName = (name: string): boolean => /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/.test(name)
export const isHeaderValue = (value: string): boolean => /^[\x21-\x7e]([\x20-\x7e\t]{0,2046}[\x21-\x7e])?$/.test(value)
