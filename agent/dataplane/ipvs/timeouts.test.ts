import { expect, test } from "vitest";
import { MARKS, serverMark } from "./names.ts";
import { othersIn } from "./timeouts.ts";

const RANGES = ["10.96.0.0/16", "fd00:96::/112"];
const OURS = `-A -t 10.96.0.10:80 -s rr
-a -t 10.96.0.10:80 -r 10.200.2.11:8080 -m -w 5
-A -u [fd00:96::10]:53 -s wrr
-A -f ${serverMark(0, "TCP")} -s rr
-A -f ${serverMark(1, "UDP")} -6 -s rr
-A -f ${MARKS.trial} -6 -s lc
`;

test("virtual servers of ours, of either family, are nobody else's", () => {
  expect(othersIn({ servers: "", sets: "" }, RANGES)).toEqual([]);
  expect(othersIn({ servers: OURS, sets: "" }, RANGES)).toEqual([]);
});

test("one of keepalived's is seen by the drivers of both families", () => {
  expect(othersIn({ servers: `${OURS}-A -t 192.0.2.1:80 -s wlc\n`, sets: "" }, RANGES)).toEqual(["-t 192.0.2.1:80"]);
  expect(othersIn({ servers: `-A -u [2001:db8::1]:53 -s wlc\n-A -f 7 -s rr\n${OURS}`, sets: "" }, RANGES)).toEqual([
    "-f 7",
    "-u [2001:db8::1]:53",
  ]);
});

test("one in a range that the fleet had before is ours by its entry", () => {
  const servers = "-A -t 10.97.0.10:80 -s rr\n";
  const sets = `create FLV-4-PLACES hash:ip,port family inet skbinfo\nadd FLV-4-PLACES 10.97.0.10,tcp:80 skbmark 0x${MARKS.plain.toString(16)}/0xffffffff\n`;
  expect(othersIn({ servers, sets }, RANGES)).toEqual([]);
  expect(othersIn({ servers, sets: "" }, RANGES)).toEqual(["-t 10.97.0.10:80"]);
});
