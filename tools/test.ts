// `npm test`: runs the vitest projects and ends with the line `N passed, N failed, N skipped`. See test/README.md.
import { spawnSync } from "node:child_process";
import { createVitest, parseCLI, type TestModule, type Vitest } from "vitest/node";
import { missingNeighbours, suitesWithout } from "./neighbours.ts";
import { closingLine, complaints, kernelProjects, type ProjectCounts, type Run, succeeded } from "./tally.ts";

const skipKernelSuites = process.env["FAIRLEAD_SKIP_E2E"] === "1";
const skippedLoudly = "!!! The kernel suites (e2e) are NOT run: FAIRLEAD_SKIP_E2E=1. This says nothing about the data plane.";

let notRun: readonly string[] = [];
const run = await runTests(process.argv.slice(2)).catch((error: unknown): Run => {
  console.error("npm test: the test runner itself failed:", error);
  return { counts: {}, strayErrors: 1, partial: true };
});
for (const complaint of complaints(run)) console.error(`npm test: ${complaint}`);
if (skipKernelSuites) console.error(skippedLoudly);
for (const suite of notRun) console.error(`!!! NOT run: ${suite}`);
process.stdout.write(`\n${closingLine(run)}\n`);
process.exit(succeeded(run) ? 0 : 1); // a handle that a test left open does not keep the run from ending

async function runTests(argv: string[]): Promise<Run> {
  const { filter, options } = parseCLI(["vitest", "run", ...argv]);
  const projects = [options.project ?? []].flat();
  if (skipKernelSuites) {
    console.error(skippedLoudly);
    projects.push(...kernelProjects.map((name) => `!${name}`));
  }
  const settings = { ...options, project: projects, watch: false, run: true };
  let vitest = await createVitest(settings);
  try {
    let files = await vitest.globTestSpecifications(filter);
    const partial = filter.length > 0 || vitest.config.testNamePattern !== undefined;
    const asked = vitest.projects
      .map((project) => project.name)
      .filter((name) => !partial || files.some((file) => file.project.name === name));
    let refused = asked.some((name) => kernelProjects.includes(name)) && !prepareKernelSuites();
    const withheld = refused
      ? []
      : suitesWithout(
          files.map(({ moduleId }) => moduleId),
          missingNeighbours,
        );
    if (withheld === undefined) refused = true;
    else if (withheld.length > 0) {
      notRun = withheld.map(({ file, why }) => `${file}: ${why}`);
      await vitest.close();
      vitest = await createVitest({ ...settings, cliExclude: withheld.map(({ file }) => `**/${file}`) });
      files = await vitest.globTestSpecifications(filter);
    }
    if (!refused && files.length > 0) await vitest.start(filter);
    return { counts: countByProject(vitest, asked), strayErrors: vitest.state.getUnhandledErrors().length, partial };
  } finally {
    await Promise.race([vitest.close(), new Promise((resolve) => setTimeout(resolve, 10_000))]);
  }
}

// The kernel suites make network namespaces, which takes root, and run the system's own network programs.
function prepareKernelSuites(): boolean {
  const packages = spawnSync("sh", ["tools/setup.sh", "packages"], { stdio: ["ignore", "inherit", "inherit"] });
  const isRoot = process.getuid?.() === 0;
  if (!isRoot) console.error("npm test: the kernel suites (e2e) make network namespaces and need root");
  if (isRoot && packages.status === 0) return true;
  console.error("npm test: nothing was run. FAIRLEAD_SKIP_E2E=1 npm test runs all but the kernel suites.");
  return false;
}

function countByProject(vitest: Vitest, asked: string[]): Record<string, ProjectCounts> {
  const counts = Object.fromEntries(asked.map((name): [string, ProjectCounts] => [name, { passed: 0, failed: 0, skipped: 0 }]));
  for (const module of vitest.state.getTestModules()) {
    const project = (counts[module.project.name] ??= { passed: 0, failed: 0, skipped: 0 });
    addModule(project, module);
  }
  return counts;
}

function addModule(project: ProjectCounts, module: TestModule): void {
  for (const suite of [module, ...module.children.allSuites()]) if (suite.errors().length > 0) project.failed += 1;
  for (const test of module.children.allTests()) {
    const { state } = test.result();
    if (state === "passed") project.passed += 1;
    else if (state === "skipped") project.skipped += 1;
    else project.failed += 1; // pending at the end is a test that was torn down
  }
}
