// Suites that run us beside other people's daemons. Where those are not on the machine, and nobody has asked for them, the suites are not run, loudly.
import { spawnSync } from "node:child_process";
import { basename } from "node:path";

const NEEDED: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^(coexistence-docker|docker-discovery)/, ["docker.io"]],
  [/^docker-compose/, ["docker.io", "docker-compose"]],
  [/^coexistence-firewalls/, ["ufw", "firewalld", "dbus"]],
];

export interface Withheld {
  readonly file: string;
  readonly why: string;
}

// Debian packages that are not there; undefined = they were to be installed, and could not be.
export type Missing = () => readonly string[] | undefined;

// Of these files, those that cannot run here; `missing` is asked only when it matters, because it may install. undefined = nothing may run.
export function suitesWithout(files: readonly string[], missing: Missing): readonly Withheld[] | undefined {
  const needs = files.flatMap((file) => {
    const packages = NEEDED.find(([pattern]) => pattern.test(basename(file)))?.[1];
    return packages ? [{ file: basename(file), packages }] : [];
  });
  if (needs.length === 0) return [];
  const absent = missing();
  return (
    absent &&
    needs.flatMap(({ file, packages }) =>
      withhold(
        file,
        packages.filter((name) => absent.includes(name)),
      ),
    )
  );
}

// tools/setup.sh decides whether it may install them.
export function missingNeighbours(): readonly string[] | undefined {
  const asked = spawnSync("sh", ["tools/setup.sh", "neighbours"], { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" });
  return asked.status === 0 ? asked.stdout.split("\n").filter(Boolean) : undefined;
}

function withhold(file: string, absent: readonly string[]): readonly Withheld[] {
  if (absent.length === 0) return [];
  return [
    { file, why: `not on this machine: ${absent.join(", ")} (FAIRLEAD_TEST_PACKAGES=all npm test installs them, stopped and disabled)` },
  ];
}
