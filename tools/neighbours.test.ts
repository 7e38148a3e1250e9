import { expect, test } from "vitest";
import { suitesWithout } from "./neighbours.ts";

const files = [
  "/w/test/e2e/flows.e2e.test.ts",
  "/w/test/e2e/coexistence-docker.e2e.test.ts",
  "/w/test/e2e/coexistence-firewalls.e2e.test.ts",
  "/w/test/e2e/docker-compose.e2e.test.ts",
  "/w/test/e2e/docker-discovery.e2e.test.ts",
];

test("suites whose neighbours are there all run", () => {
  expect(suitesWithout(files, () => [])).toEqual([]);
});

test("a suite without its neighbour is named, with what is missing and how to get it", () => {
  expect(suitesWithout(files.slice(0, 3), () => ["docker.io"])).toEqual([
    {
      file: "coexistence-docker.e2e.test.ts",
      why: "not on this machine: docker.io (FAIRLEAD_TEST_PACKAGES=all npm test installs them, stopped and disabled)",
    },
  ]);
  expect(suitesWithout(files, () => ["firewalld", "docker.io"])?.map(({ file }) => file)).toEqual([
    "coexistence-docker.e2e.test.ts",
    "coexistence-firewalls.e2e.test.ts",
    "docker-compose.e2e.test.ts",
    "docker-discovery.e2e.test.ts",
  ]);
  expect(suitesWithout(files, () => ["docker-compose"])?.map(({ file }) => file)).toEqual(["docker-compose.e2e.test.ts"]);
});

test("nothing is looked for, and so nothing installed, when no suite needs it", () => {
  const never = (): never => {
    throw new Error("asked");
  };
  expect(suitesWithout(["/w/test/e2e/flows.e2e.test.ts"], never)).toEqual([]);
});

test("packages that were to be installed and could not be let nothing run", () => {
  expect(suitesWithout(files, () => undefined)).toBeUndefined();
});
