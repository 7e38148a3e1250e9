import { expect, test } from "vitest";
import { linesOf } from "./dump.ts";

test("two dumps of the same rules are equal, whatever was written last and in which order chains came", () => {
  const first =
    "# now\n*nat\n:B - [1:2]\n:A - [0:0]\n-A B -j one\n-A B -j two\n-A A -j three\n-A FL-CANARY -m recent --name FL-nat-1\nCOMMIT\n";
  const second = "*nat\n:A - [5:6]\n:B - [0:0]\n-A A -j three\n-A B -j one\n-A B -j two\n-A FL-CANARY -m recent --name FL-nat-2\nCOMMIT\n";
  expect(linesOf(first)).toEqual(linesOf(second));
});

test("rules of a chain in another order are not the same", () => {
  expect(linesOf("-A B -j one\n-A B -j two\n")).not.toEqual(linesOf("-A B -j two\n-A B -j one\n"));
});

test("elements of a map of nftables are in no order, and belong to their map", () => {
  const one = "table ip t {\n\tmap a {\n\t\telements = { 1 : 2,\n\t\t\t3 : 4 }\n\t}\n\tmap b {\n\t\telements = { 5 : 6 }\n\t}\n}\n";
  const other = "table ip t {\n\tmap a {\n\t\telements = { 3 : 4, 1 : 2 }\n\t}\n\tmap b {\n\t\telements = { 5 : 6 }\n\t}\n}\n";
  const swapped = "table ip t {\n\tmap a {\n\t\telements = { 1 : 2, 5 : 6 }\n\t}\n\tmap b {\n\t\telements = { 3 : 4 }\n\t}\n}\n";
  expect(linesOf(one)).toEqual(linesOf(other));
  expect(linesOf(one)).not.toEqual(linesOf(swapped));
});

test("what the kernel draws for a set of ipset, and how large its table is, is no difference", () => {
  const set = (hashsize: number, seed: string) =>
    `create FLV-4-BACKENDS hash:ip,port family inet hashsize ${hashsize} maxelem 1048576 bucketsize 12 initval ${seed}\n`;
  expect(linesOf(set(1024, "0xa2f4e1a7"))).toEqual(linesOf(set(4096, "0x00000001")));
  expect(linesOf(set(1024, "0x1"))).not.toEqual(linesOf(set(1024, "0x1").replace("hash:ip,port", "hash:ip")));
});
