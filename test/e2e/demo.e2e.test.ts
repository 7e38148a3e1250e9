import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { createFleet } from "#test/fleet/fleet.ts";
import { removeFleet, standingOf } from "#test/fleet/teardown.ts";

/** The name of the demo's fleet: there is one on a machine. */
const DEMO = "demo";
const demo = (...args: string[]) => execa(process.execPath, ["test/demo/main.ts", ...args], { reject: false });

test("the demo holds to its end and leaves nothing, also when its reader has enough", { timeout: 120_000 }, async () => {
  expect(await standingOf(DEMO), "somebody's demo is up: fairlead demo --down").toBe("none");
  const { stdout, stderr, exitCode } = await execa(
    "bash",
    ["-c", 'set -o pipefail; "$1" test/demo/main.ts | head -3', "bash", process.execPath],
    { reject: false },
  );
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
  expect(stdout.split("\n")).toHaveLength(3);
  expect(await standingOf(DEMO)).toBe("none");
});

test("a demo that was kept is not destroyed by the next one, and --down says what it did", { timeout: 60_000 }, async () => {
  expect(await standingOf(DEMO), "somebody's demo is up: fairlead demo --down").toBe("none");
  const fleet = await createFleet({ hosts: 1, name: DEMO });
  onTestFinished(() => removeFleet(DEMO));
  expect(await demo()).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("another demo is running") as string });
  await fleet.keep();
  const refused = await demo();
  expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/still up[^]*hint: .* --down/) as string });
  expect((await fleet.hosts[0].run("true")).exitCode).toBe(0);
  expect(await demo("--down")).toMatchObject({ exitCode: 0, stdout: "the demo's hosts are gone" });
  expect(await demo("--down")).toMatchObject({ exitCode: 0, stdout: "there is no demo up" });
});

test("an unknown option of the demo is refused in one line, with a hint", async () => {
  const { exitCode, stderr } = await demo("--bogus");
  expect(exitCode).toBe(2);
  expect(stderr).toBe("error: Unknown option '--bogus'\nhint: fairlead demo --help tells what there is");
});
