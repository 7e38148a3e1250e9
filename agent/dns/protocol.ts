/** Numbers of the DNS protocol. Registry: IANA "Domain Name System (DNS) Parameters". */

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  DS: 43,
  DNSKEY: 48,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

export const RCODE = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16 } as const;
export type Rcode = (typeof RCODE)[keyof typeof RCODE];

/** OPT without options. */
export const OPT_OCTETS = 11;
/** The option in OPT that says why (RFC 8914). */
export const EDE_OPTION = 15;

export const CLASS_IN = 1;
export const HEADER_OCTETS = 12;

export const FLAG = { QR: 0x8000, AA: 0x0400, TC: 0x0200, RD: 0x0100, RA: 0x0080, CD: 0x0010 } as const;
export const OPCODE_MASK = 0x7800;
export const RCODE_MASK = 0x000f;

/** Largest UDP answer that we send and promise to take: fits every path without fragments (DNS flag day 2020). */
export const MAX_UDP_OCTETS = 1232;
/** What a client without EDNS takes (RFC 1035). */
export const MIN_UDP_OCTETS = 512;
export const MAX_TCP_OCTETS = 65_535;

/** Of everything in our zones: the price of staleness after an address changed. */
export const TTL_SECONDS = 5;
