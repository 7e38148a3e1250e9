import { Z } from "./world.ts";

/**
 * The table: who asks what, and what he gets. Names are below the cluster domain, or end with a dot. An answer is its code, its records in order of their
 * text, behind `|` the owner of the SOA, behind `+` the additional records. TTLs are 5 unless written. All of it over UDP and over TCP.
 */
export type Row = readonly [sentence: string, question: string, answer: string];

const NX = `NXDOMAIN | ${Z}`;
const NODATA = `NOERROR | ${Z}`;
const web = `web.default.svc.${Z}`;

const schema: readonly Row[] = [
  ["the schema's version", "dns-version TXT", 'NOERROR TXT "1.1.0" 28800'],
  ["no address of the schema's version", "dns-version A", NODATA],
  ["SOA at the apex", `${Z}. SOA`, `NOERROR SOA ns.dns.${Z} hostmaster.${Z} 7200 1800 86400 5`],
  ["NS at the apex, with its addresses", `${Z}. NS`, `NOERROR NS ns.dns.${Z} + A 10.96.0.10 + AAAA fd10::a`],
  ["the apex has no address", `${Z}. A`, NODATA],
  ["nor a text", `${Z}. TXT`, NODATA],
  ["the name server's IPv4", "ns.dns A", "NOERROR A 10.96.0.10"],
  ["the name server's IPv6", "ns.dns AAAA", "NOERROR AAAA fd10::a"],
  ["what the name server is below exists", "dns A", NODATA],
  ["svc exists", "svc A", NODATA],
  ["pod exists", "pod AAAA", NODATA],
  ["a namespace exists", "default.svc A", NODATA],
  ["a namespace exists below pod", "default.pod A", NODATA],
  ["a namespace without services exists", "empty.svc A", NODATA],
  ["and below pod", "empty.pod TXT", NODATA],
  ["no such namespace", "nope.svc A", NX],
  ["no such namespace below pod", "nope.pod A", NX],
  ["another first label", "foo A", NX],
  ["deep below another first label", "a.b.foo A", NX],
  ["pods by address are not served", "10-0-0-1.default.pod A", NX],
  ["SOA below the apex is NODATA", "svc SOA", NODATA],
  ["NS below the apex is NODATA", "default.svc NS", NODATA],
];

const virtual: readonly Row[] = [
  ["a virtual IP", "web.default.svc A", "NOERROR A 10.96.1.1"],
  ["in capitals", "WEB.DEFAULT.SVC A", "NOERROR A 10.96.1.1"],
  ["mixed, as resolvers do it against forgers", "wEb.dEfAuLt.SvC A", "NOERROR A 10.96.1.1"],
  ["AAAA of an IPv4 service is NODATA: musl takes NXDOMAIN for both families", "web.default.svc AAAA", NODATA],
  ["HTTPS is NODATA", "web.default.svc HTTPS", NODATA],
  ["TXT is NODATA", "web.default.svc TXT", NODATA],
  ["CNAME is NODATA", "web.default.svc CNAME", NODATA],
  ["SOA is NODATA", "web.default.svc SOA", NODATA],
  ["MX is NODATA", "web.default.svc MX", NODATA],
  ["a type that nobody knows is NODATA", "web.default.svc TYPE4711", NODATA],
  ["ANY gets one record that says no (RFC 8482)", "web.default.svc ANY", "NOERROR HINFO RFC8482"],
  ["SRV at the bare name has all ports", "web.default.svc SRV", `NOERROR SRV 0 50 53 ${web} SRV 0 50 80 ${web} + A 10.96.1.1`],
  ["a named port", "_http._tcp.web.default.svc SRV", `NOERROR SRV 0 100 80 ${web} + A 10.96.1.1`],
  ["a named port of UDP", "_dns._udp.web.default.svc SRV", `NOERROR SRV 0 100 53 ${web} + A 10.96.1.1`],
  ["port and protocol in capitals", "_HTTP._TCP.web.default.svc SRV", `NOERROR SRV 0 100 80 ${web} + A 10.96.1.1`],
  ["a port has no address", "_http._tcp.web.default.svc A", NODATA],
  ["a protocol with ports exists", "_tcp.web.default.svc SRV", NODATA],
  ["a protocol without ports does not", "_sctp.web.default.svc SRV", NX],
  ["no such port", "_ftp._tcp.web.default.svc SRV", NX],
  ["a port of the other protocol", "_http._udp.web.default.svc SRV", NX],
  ["an unnamed port has no name", "_._tcp.six.default.svc SRV", NX],
  ["an endpoint by its address", "192-168-56-11.web.default.svc A", "NOERROR A 192.168.56.11"],
  ["an endpoint by its host name", "b.web.default.svc A", "NOERROR A 192.168.56.12"],
  ["who has a host name has no name by address", "192-168-56-12.web.default.svc A", NX],
  ["an endpoint's other family", "b.web.default.svc AAAA", NODATA],
  ["no such endpoint", "c.web.default.svc A", NX],
  ["below an endpoint is nothing", "x.b.web.default.svc A", NX],
  ["no such service", "nope.default.svc A", NX],
  ["no such service, the other family", "nope.default.svc AAAA", NX],
  ["the service of another namespace", "web2.default.svc A", NX],
  ["is there", "web2.prod.svc A", "NOERROR A 10.96.1.5"],
  ["a service without endpoints has its address", "idle.default.svc A", "NOERROR A 10.96.1.3"],
  ["and its port", "_http._tcp.idle.default.svc SRV", `NOERROR SRV 0 100 80 idle.default.svc.${Z} + A 10.96.1.3`],
  ["a search path's first try", "www.example.com.default.svc A", NX],
  ["its second", "www.example.com.svc A", NX],
  ["its third", `www.example.com.${Z}. A`, NX],
  ["its last, as it is", "www.upstream.test. AAAA", "NOERROR | upstream.test"],
  ["a service with the name of a namespace", "default.default.svc A", NX],
  ["a service without its namespace", "web.svc A", NX],
  ["a service at the apex", "web A", NX],
  ["PTR of a name", "web.default.svc PTR", NODATA],
  ["many labels", "a.b.c.d.e.f.g.h.web.default.svc A", NX],
  ["an empty SRV-like name", "_tcp.default.svc SRV", NX],
];

const dual: readonly Row[] = [
  ["dual stack: IPv4", "dual.default.svc A", "NOERROR A 10.96.1.2"],
  ["dual stack: IPv6", "dual.default.svc AAAA", "NOERROR AAAA fd10::12"],
  [
    "a port of both families",
    "_http._tcp.dual.default.svc SRV",
    `NOERROR SRV 0 100 80 dual.default.svc.${Z} + A 10.96.1.2 + AAAA fd10::12`,
  ],
  ["an IPv6 endpoint by its address", "fd00--21.dual.default.svc AAAA", "NOERROR AAAA fd00::21"],
  ["an address that ends with colons has a 0 there", "fd00--0.dual.default.svc AAAA", "NOERROR AAAA fd00::"],
  ["its IPv4 endpoint", "192-168-56-21.dual.default.svc A", "NOERROR A 192.168.56.21"],
  ["an IPv6 service", "six.default.svc AAAA", "NOERROR AAAA fd10::16"],
  ["A of an IPv6 service is NODATA", "six.default.svc A", NODATA],
  ["its unnamed port at the bare name", "six.default.svc SRV", `NOERROR SRV 0 100 80 six.default.svc.${Z} + AAAA fd10::16`],
];

const db = `db.default.svc.${Z}`;
const headless: readonly Row[] = [
  ["headless: each ready endpoint", "db.default.svc A", "NOERROR A 192.168.56.31 A 192.168.56.32"],
  ["headless: the other family is NODATA", "db.default.svc AAAA", NODATA],
  ["an endpoint by its host name", "db-0.db.default.svc A", "NOERROR A 192.168.56.31"],
  ["another", "DB-1.db.default.svc A", "NOERROR A 192.168.56.32"],
  ["one that is not ready", "db-2.db.default.svc A", NX],
  ["no name by address beside a host name", "192-168-56-31.db.default.svc A", NX],
  [
    "a port has the endpoints' port, one for each",
    "_http._tcp.db.default.svc SRV",
    `NOERROR SRV 0 50 8080 db-0.${db} SRV 0 50 8080 db-1.${db} + A 192.168.56.31 + A 192.168.56.32`,
  ],
  [
    "and at the bare name",
    "db.default.svc SRV",
    `NOERROR SRV 0 50 8080 db-0.${db} SRV 0 50 8080 db-1.${db} + A 192.168.56.31 + A 192.168.56.32`,
  ],
  ["an endpoint name has no SRV", "db-0.db.default.svc SRV", NODATA],
  ["a host name of both families: IPv4", "n.dbdual.default.svc A", "NOERROR A 192.168.56.41"],
  ["IPv6", "n.dbdual.default.svc AAAA", "NOERROR AAAA fd00::41"],
  ["both at the service", "dbdual.default.svc AAAA", "NOERROR AAAA fd00::41"],
  [
    "one SRV for one name, with both addresses",
    "_http._tcp.dbdual.default.svc SRV",
    `NOERROR SRV 0 100 8080 n.dbdual.default.svc.${Z} + A 192.168.56.41 + AAAA fd00::41`,
  ],
  ["unready ones where they are published", "early.default.svc A", "NOERROR A 192.168.56.51"],
  ["by name, too", "e.early.default.svc A", "NOERROR A 192.168.56.51"],
  ["headless without endpoints does not exist", "none.default.svc A", NX],
  ["nor its ports", "_http._tcp.none.default.svc SRV", NX],
];

const reverse: readonly Row[] = [
  ["a virtual IP", "1.1.96.10.in-addr.arpa. PTR", `NOERROR PTR ${web}`],
  ["in capitals", "1.1.96.10.IN-ADDR.ARPA. PTR", `NOERROR PTR ${web}`],
  ["of both families", "2.1.96.10.in-addr.arpa. PTR", `NOERROR PTR dual.default.svc.${Z}`],
  ["IPv6", `${"2.1.0.0.".concat("0.".repeat(24))}0.1.d.f.ip6.arpa. PTR`, `NOERROR PTR dual.default.svc.${Z}`],
  ["a free virtual IP is not asked elsewhere", "9.9.96.10.in-addr.arpa. PTR", "NXDOMAIN | 96.10.in-addr.arpa"],
  ["a free IPv6 one", `${"9.9.0.0.".concat("0.".repeat(24))}0.1.d.f.ip6.arpa. PTR`, `NXDOMAIN | ${"0.".repeat(24)}0.1.d.f.ip6.arpa`],
  ["its address", "1.1.96.10.in-addr.arpa. A", "NOERROR | 96.10.in-addr.arpa"],
  ["between range and address", "1.96.10.in-addr.arpa. PTR", "NOERROR | 96.10.in-addr.arpa"],
  ["where no address is", "200.96.10.in-addr.arpa. PTR", "NXDOMAIN | 96.10.in-addr.arpa"],
  ["the range itself", "96.10.in-addr.arpa. PTR", "NOERROR | 96.10.in-addr.arpa"],
  ["SOA of the range", "96.10.in-addr.arpa. SOA", `NOERROR SOA ns.dns.${Z} hostmaster.${Z} 7200 1800 86400 5`],
  ["who serves the range", "96.10.in-addr.arpa. NS", `NOERROR NS ns.dns.${Z} + A 10.96.0.10 + AAAA fd10::a`],
  ["of IPv6", `${"0.".repeat(24)}0.1.d.f.ip6.arpa. NS`, `NOERROR NS ns.dns.${Z} + A 10.96.0.10 + AAAA fd10::a`],
  ["too many labels", "5.1.1.96.10.in-addr.arpa. PTR", "NXDOMAIN | 96.10.in-addr.arpa"],
  ["letters for numbers", "a.b.96.10.in-addr.arpa. PTR", "NXDOMAIN | 96.10.in-addr.arpa"],
  ["an endpoint of a headless service", "31.56.168.192.in-addr.arpa. PTR", `NOERROR PTR db-0.${db}`],
  ["which has no text", "31.56.168.192.in-addr.arpa. TXT", "NOERROR | 31.56.168.192.in-addr.arpa"],
  ["nor an address, in any case", "31.56.168.192.IN-ADDR.arpa. A", "NOERROR | 31.56.168.192.IN-ADDR.arpa"],
  ["nor anything else", "31.56.168.192.in-addr.arpa. ANY", "NOERROR HINFO RFC8482"],
  ["what is above it exists", "56.168.192.in-addr.arpa. A", "NOERROR | 168.192.in-addr.arpa"],
  ["an address that nobody has", "99.56.168.192.in-addr.arpa. PTR", "NXDOMAIN | 168.192.in-addr.arpa"],
  ["more than an address", "9.31.56.168.192.in-addr.arpa. PTR", "NXDOMAIN | 168.192.in-addr.arpa"],
  ["what is above one of IPv6 exists", `0.${"0.".repeat(24)}0.0.d.f.ip6.arpa. PTR`, "NOERROR | d.f.ip6.arpa"],
  ["one of IPv6 that nobody has", `9.9.9.9.${"0.".repeat(24)}0.0.d.f.ip6.arpa. PTR`, "NXDOMAIN | d.f.ip6.arpa"],
  ["its IPv6", `1.4.0.0.${"0.".repeat(24)}0.0.d.f.ip6.arpa. PTR`, `NOERROR PTR n.dbdual.default.svc.${Z}`],
];

const aliases: readonly Row[] = [
  ["an alias inside", "inside.default.svc A", `NOERROR CNAME ${web} A 10.96.1.1`],
  ["its other family", "inside.default.svc AAAA", `NOERROR CNAME ${web} | ${Z}`],
  ["the alias itself", "inside.default.svc CNAME", `NOERROR CNAME ${web}`],
  ["other types get the alias", "inside.default.svc TXT", `NOERROR CNAME ${web}`],
  ["HTTPS, too", "inside.default.svc HTTPS", `NOERROR CNAME ${web}`],
  ["an alias of an alias", "second.default.svc A", `NOERROR CNAME inside.default.svc.${Z} CNAME ${web} A 10.96.1.1`],
  ["nothing is below an alias", "_http._tcp.inside.default.svc SRV", NX],
  ["no endpoint either", "192-168-56-61.inside.default.svc A", NX],
  ["an alias to nothing", "nowhere.default.svc A", `NXDOMAIN CNAME missing.default.svc.${Z} | ${Z}`],
  ["an alias to elsewhere", "outside.default.svc A", "NOERROR CNAME www.upstream.test A 198.51.100.7"],
  ["its alias alone", "outside.default.svc CNAME", "NOERROR CNAME www.upstream.test"],
  ["an alias to what is not there, elsewhere", "gone.default.svc A", "NXDOMAIN CNAME nope.upstream.test | upstream.test"],
  ["its other family elsewhere", "outside.default.svc AAAA", "NOERROR CNAME www.upstream.test | upstream.test"],
];

const beyond: readonly Row[] = [
  ["a workload by its name, which its endpoint has as host name", "b.web.default.svc A", "NOERROR A 192.168.56.12"],
  ["node exists", "node A", NODATA],
  ["a host", "h1.node A", "NOERROR A 192.168.56.1"],
  ["its IPv6", "h1.node AAAA", "NOERROR AAAA fd00::1"],
  ["a host whose name has a dot", "rack1.h2.node A", "NOERROR A 192.168.56.2"],
  ["what is before the dot exists", "h2.node A", NODATA],
  ["no such host", "h9.node A", NX],
  ["a host without IPv6", "rack1.h2.node AAAA", NODATA],
  ["the second domain: SOA", "corp.example. SOA", "NOERROR SOA ns.dns.corp.example hostmaster.corp.example 7200 1800 86400 5"],
  ["a service", "web.default.svc.corp.example. A", "NOERROR A 10.96.1.1"],
  ["its port", "_dns._udp.web.default.svc.corp.example. SRV", "NOERROR SRV 0 100 53 web.default.svc.corp.example + A 10.96.1.1"],
  ["an endpoint", "db-0.db.default.svc.corp.example. A", "NOERROR A 192.168.56.31"],
  ["an alias keeps its target", "inside.default.svc.corp.example. A", `NOERROR CNAME ${web} A 10.96.1.1`],
  ["whose zone says what there is not", "inside.default.svc.corp.example. AAAA", `NOERROR CNAME ${web} | ${Z}`],
  ["and that it is not there", "nowhere.default.svc.corp.example. A", `NXDOMAIN CNAME missing.default.svc.${Z} | ${Z}`],
  ["no such service", "nope.default.svc.corp.example. A", "NXDOMAIN | corp.example"],
  ["the schema's version", "dns-version.corp.example. TXT", 'NOERROR TXT "1.1.0" 28800'],
  ["a host", "h1.node.corp.example. A", "NOERROR A 192.168.56.1"],
];

const others: readonly Row[] = [
  ["a name elsewhere", "www.upstream.test. A", "NOERROR A 198.51.100.7"],
  ["none there", "nope.upstream.test. A", "NXDOMAIN | upstream.test"],
  ["a name that ends like ours", "www.xcluster.local. A", "NXDOMAIN | local"],
  ["the parent of ours is not ours", "local. A", "NXDOMAIN | ."],
];

export const questions: Readonly<Record<string, readonly Row[]>> = {
  "names of the domain itself": schema,
  "services with a virtual IP": virtual,
  "two families": dual,
  "headless services": headless,
  "reverse names": reverse,
  aliases,
  "beyond the specification": beyond,
  "other names": others,
};
