import { expect, test } from "vitest";
import { isOurJump, oursOf, parseActivity, parseRules, parseServers, parseSets, parseSetSizes } from "./listing.ts";
import { MARKS, readMark, serverMark } from "./names.ts";

// As ipvsadm 1.31 on Linux 6.1 prints it.
const SERVERS = `-A -t 10.96.0.10:80 -s rr -p 60
-a -t 10.96.0.10:80 -r 10.200.2.11:8080 -m -w 5
-a -t 10.96.0.10:80 -r 10.200.3.11:8080 -g -w 1
-A --sctp-service 10.96.0.10:99 -s wlc
-A -u [fd00:96::10]:53 -s wrr
-A -f 260046864 -s sh -b sh-fallback
-a -f 260046864 -r 10.200.2.11:8080 -m -w 3
-A -f 260046864 -6 -s mh -b mh-fallback
-a -f 260046864 -6 -r [fd30::2]:8080 -m -w 0
-A -t 192.0.2.1:80 -s wlc -o
-A -f 7 -s rr
-A -t 192.0.2.2:80 -s sh -p 60 -b sh-fallback,flag-3
-A -t 192.0.2.3:80 -s sh -p 60 -b sh-fallback
`;

const NAMED = "-t 192.0.2.2:80";

test("virtual servers are read, each family its own", () => {
  const servers = parseServers(SERVERS, "IPv4");
  expect([...servers.keys()]).toEqual(["-t 10.96.0.10:80", "--sctp-service 10.96.0.10:99", 260046864, "-t 192.0.2.1:80", 7, NAMED, "-t 192.0.2.3:80"]); // prettier-ignore
  expect(servers.get("-t 10.96.0.10:80")).toEqual({
    scheduler: "rr",
    flags: "",
    persistence: 60,
    address: undefined,
    reals: new Map([
      ["10.200.2.11:8080", 5],
      ["10.200.3.11:8080", -1], // not forwarded as we do: written anew
    ]),
  });
  expect(servers.get(260046864)).toMatchObject({ scheduler: "sh", flags: "sh-fallback" });
  expect(servers.get("-t 192.0.2.1:80")).toMatchObject({ flags: "-o" });
  expect(parseServers(SERVERS, "IPv6").get(260046864)?.reals).toEqual(new Map([["[fd30::2]:8080", 0]]));
  expect([...parseServers(SERVERS, "IPv6").keys()]).toEqual(["-u [fd00:96::10]:53", 260046864]);
});

test("ours are known by their mark, by the flag that no scheduler has, by the range, or by an entry of ours", () => {
  const servers = parseServers(SERVERS, "IPv4");
  const nothing = { ranges: [], sets: new Map() };
  expect([...oursOf(servers, nothing).keys()]).toEqual([260046864, NAMED]);
  expect([...oursOf(servers, { ...nothing, ranges: ["192.0.2.1"] }).keys()]).toEqual([260046864, "-t 192.0.2.1:80", NAMED]);
  expect([...oursOf(servers, { ...nothing, ranges: ["10.96.0.0/16"] }).keys()]).toEqual(["-t 10.96.0.10:80", "--sctp-service 10.96.0.10:99", 260046864, NAMED]); // prettier-ignore
  const sets = new Map([["PLACES" as const, new Map([["10.96.0.10,tcp:80", MARKS.plain]])]]);
  expect([...oursOf(servers, { ranges: [], sets }).keys()]).toEqual(["-t 10.96.0.10:80", 260046864, NAMED]);
});

test("sets are read, each family its own, whatever others have", () => {
  const text = `create FLV-4-PLACES hash:ip,port family inet hashsize 1024 maxelem 1048576 skbinfo bucketsize 12 initval 0x4cc2c730
add FLV-4-PLACES 10.96.0.10,tcp:80 skbmark 0xf800002
add FLV-4-PLACES 10.96.0.11,sctp:80 skbmark 0xf800100/0xffffffff
create fail2ban hash:ip family inet hashsize 1024 maxelem 65536
add fail2ban 192.0.2.1
create FLV-4-VIPS hash:net family inet hashsize 1024 maxelem 65536
add FLV-4-VIPS 10.96.0.0/16
create FLV-6-PING hash:ip family inet6 hashsize 1024 maxelem 65536
add FLV-6-PING fd00:96::0010
`;
  expect(parseSets(text, "IPv4")).toEqual(
    new Map([
      ["PLACES", new Map([["10.96.0.10,tcp:80", 0xf800002], ["10.96.0.11,sctp:80", 0xf800100]])], // prettier-ignore
      ["VIPS", new Map([["10.96.0.0/16", 0]])],
    ]),
  );
  expect(parseSets(text, "IPv6")).toEqual(new Map([["PING", new Map([["fd00:96::10", 0]])]]));
  const headers = "Name: fail2ban\nNumber of entries: 9\n\nName: FLV-4-PING\nType: hash:ip\nNumber of entries: 2\n";
  expect(parseSetSizes(headers, "IPv4")).toEqual(new Map([["PING", 2]]));
});

test("open connections are told from those that begin or end", () => {
  const text = "TCP  0A60000A:0050 rr\n  -> 0AC8020B:1F90      Masq    5      2          3\n";
  expect(parseActivity(text, "IPv4", "open").get("-t 10.96.0.10:80")).toEqual(new Map([["10.200.2.11:8080", 2]]));
});

test("connections are read from the kernel's file, also from a part of it", () => {
  const text = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A60000A:0050 rr  persistent 6000 FFFFFFFF
  -> 0AC8020B:1F90      Masq    5      2          3         
UDP  [fd00:0096:0000:0000:0000:0000:0000:0010]:0035 wrr 
FWM  0F800010 mh 
  -> [fd30:0000:0000:0000:0000:0000:0000:0002]:1F90      Masq    3      0          1         
FWM  0F800010 sh 
  -> 0AC8020B:1F90      Masq    3      0          0         
  -> 0AC80`;
  const v4 = parseActivity(text, "IPv4");
  expect(v4.get("-t 10.96.0.10:80")).toEqual(new Map([["10.200.2.11:8080", 5]]));
  expect(v4.get(0x0f800010)).toEqual(new Map([["10.200.2.11:8080", 0]]));
  expect(v4.has("-u [fd00:96::10]:53")).toBe(false);
  expect(parseActivity(text, "IPv6").get(0x0f800010)).toEqual(new Map([["[fd30::2]:8080", 1]]));
});

test("of the rules, ours are told from others'", () => {
  const { filter: listing, nat } = parseRules(`# Generated by iptables-save
*mangle
:INPUT ACCEPT [0:0]
COMMIT
*filter
:INPUT DROP [0:0]
:FLV-INPUT - [0:0]
:DOCKER-USER - [0:0]
:ufw-user - [0:0]
-A INPUT -m mark --mark 0xf800000/0xff800000 -j FLV-INPUT
-A INPUT -p tcp -j ufw-user
-A FLV-INPUT -j ACCEPT
-A ufw-user -j ACCEPT
COMMIT
`);
  expect(nat).toEqual({ chains: new Map(), hooks: new Map() }); // a table that nobody has made
  expect(listing.chains).toEqual(new Map([["FLV-INPUT", ["-j ACCEPT"]]]));
  expect([...listing.hooks.keys()]).toEqual(["INPUT", "DOCKER-USER"]);
  expect(listing.hooks.get("INPUT")?.map(isOurJump)).toEqual([true, false]);
});

test("a mark says number and protocol, and stays clear of the bits of others", () => {
  for (const n of [0, 1, 0x3fff, 0x4000, 100_000, 500_000])
    for (const protocol of ["TCP", "UDP", "SCTP"] as const) {
      const mark = serverMark(n, protocol);
      expect(readMark(mark)).toEqual({ number: n, protocol });
      expect(mark & 0xc000).toBe(0);
      expect(mark).toBeLessThan(2 ** 31);
    }
  for (const mark of [...Object.values(MARKS), 0, 1, 0x4000, 0xffffffff]) expect(readMark(mark)).toBeUndefined();
});
